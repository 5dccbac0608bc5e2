"""The mini profile's generated videos, and an image set to pre-train on.

Two objects cross a grey ground, one red and one cyan, of different shapes and in different directions. In a corner,
away from both, a lamp is lit for a moment, red or cyan. The class is the shape and the direction of the object that
has the lamp's colour. A single frame does not show directions (played backwards a video belongs to another class), most
frames do not show the lamp's colour, and nothing near an object shows whether it is the one that counts.

Everything is drawn from a `numpy.random.Generator`, in integers or compared with exactly rounded floats: the same
pixels on every machine. The videos are encoded by H.264 at a constant, fine quantiser, by one thread and without the
build's name and the time: the same bytes wherever the codec is the same build.
`repro.experiments.mini.kinetics.DATASET_KEY` is made of what is drawn and of the codec's parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from repro.data.miniature.content import DrawingHash, hash_samples
from repro.data.miniature.drawing import Point, draw_colour, draw_ground
from repro.data.miniature.whole import write_whole
from repro.experiments.mini.kinetics import CLASSES, VIDEOS, GeneratedVideos

#: Independent random streams of one seed.
_STREAMS = {"train": 0, "val": 1, "images": 2}
_STEPS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}  #: (x, y)
_PLACES = 128  #: arrangements that are drawn at once, the first that fits is taken
_CORNER = 3  #: pixels that the lamp's place varies by


@dataclass(frozen=True)
class MovingObject:
    """An object of a video."""

    shape: int  #: index in `GeneratedVideos.shapes`
    motion: int  #: index in `GeneratedVideos.motions`
    hue: int  #: index in `GeneratedVideos.hues`
    side: int  #: pixels
    path: np.ndarray  #: float64 (T, 2): its centre, pixels (x, y), in each frame


@dataclass(frozen=True)
class DrawnVideo:
    """One video and what is in it."""

    frames: np.ndarray  #: uint8 (T, side, side, 3), RGB
    things: tuple[MovingObject, MovingObject]  #: first the one that names the video
    lamp: Point  #: its centre, pixels (x, y)
    lit: range  #: the frames that have it

    @property
    def label(self) -> int:
        """Index in `CLASSES`."""
        return self.things[0].shape * len(VIDEOS.motions) + self.things[0].motion


def generate(directory: Path) -> None:
    """Write both splits in Kinetics' layout: `<split>/<class>/<11 characters>_<start>_<end>.mp4`.

    A directory that exists is left as it is. The set appears under its name when it is whole, and of two processes
    one generates and the other waits.

    Raises:
        ReproError: the directory cannot be written.
    """

    def write(whole: Path, hashed: DrawingHash) -> None:
        for split, items in (("train", VIDEOS.train_videos), ("val", VIDEOS.val_videos)):
            _write_split(whole / split, VIDEOS, split, items, hashed)
        hash_samples(PretrainingFrames(VIDEOS), hashed)

    write_whole(directory, write)


def draw_video(videos: GeneratedVideos, split: str, index: int) -> DrawnVideo:
    """Draw the video at `index` of a split; classes take turns."""
    rng = np.random.default_rng([videos.seed, _STREAMS[split], index])
    shape, motion = divmod(index % (len(videos.shapes) * len(videos.motions)), len(videos.motions))
    shapes = (shape, (shape + int(rng.integers(1, len(videos.shapes)))) % len(videos.shapes))
    motions = (motion, (motion + int(rng.integers(1, len(videos.motions)))) % len(videos.motions))
    hue = int(rng.integers(2))
    begin = int(rng.integers(videos.dark, videos.frames - videos.dark - videos.lit + 1))
    lit = range(begin, begin + videos.lit)
    lamp, sides, paths = _arrange(rng, videos, np.array([_STEPS[videos.motions[motion]] for motion in motions]), lit)
    named, other = (MovingObject(shapes[i], motions[i], (hue + i) % 2, sides[i], paths[i]) for i in range(2))
    frames = np.repeat(draw_ground(rng, videos.side, videos.side, noise=8)[None], videos.frames, axis=0)
    colours = [_draw_colour(rng, videos.hues[i]) for i in range(2)]  # in the order of hues, which tells nothing
    for thing in (named, other):
        frames[find_covered_pixels(videos, thing)] = colours[thing.hue]
    frames[lit.start : lit.stop, _find_lamp_pixels(videos, lamp)] = _draw_colour(rng, videos.hues[hue])
    return DrawnVideo(frames, (named, other), lamp, lit)


class PretrainingFrames:
    """Images of one object, two in three of them with a lamp. The tags are shapes, hues of objects, hues of lamps."""

    def __init__(self, videos: GeneratedVideos = VIDEOS) -> None:
        self.videos = videos

    def __len__(self) -> int:
        return self.videos.images

    def sample(self, index: int, *, seed: int = 0, epoch: int = 0, train: bool = False) -> tuple[Tensor, Tensor]:
        """Draw the image, uint8 (3, H, W), and its tags, float32 (T,), 0 or 1, whatever the seed and the epoch."""
        videos = self.videos
        rng = np.random.default_rng([videos.seed, _STREAMS["images"], index])
        shape, hue, light = (int(rng.integers(n)) for n in (len(videos.shapes), 2, 3))
        lamp, (side,), (path,) = _arrange(rng, videos, np.zeros((1, 2)), range(1))
        image = draw_ground(rng, videos.side, videos.side, noise=8)
        (pixels,) = find_covered_pixels(videos, MovingObject(shape, 0, hue, side, path[:1]))
        image[pixels] = _draw_colour(rng, videos.hues[hue])
        tags = torch.zeros(len(videos.shapes) + 4)
        tags[[shape, len(videos.shapes) + hue]] = 1
        if light < 2:
            image[_find_lamp_pixels(videos, lamp)] = _draw_colour(rng, videos.hues[light])
            tags[len(videos.shapes) + 2 + light] = 1
        return torch.from_numpy(image).permute(2, 0, 1).contiguous(), tags


def find_covered_pixels(videos: GeneratedVideos, thing: MovingObject) -> np.ndarray:
    """bool (T, side, side): the pixels that an object covers."""
    rows, columns = np.arange(videos.side)[None, :, None], np.arange(videos.side)[None, None, :]
    x, y = columns - thing.path[:, 0, None, None], rows - thing.path[:, 1, None, None]
    half = thing.side / 2
    if videos.shapes[thing.shape] == "disc":
        return x * x + y * y <= half * half
    across, down = np.abs(x), np.abs(y)
    if videos.shapes[thing.shape] == "cross":
        return (np.minimum(across, down) <= half / 3) & (np.maximum(across, down) <= half)
    return (down <= half) & (2 * across <= y + half)  # a triangle that points up


def encode(frames: np.ndarray, path: Path, videos: GeneratedVideos = VIDEOS) -> None:
    """Write uint8 (T, H, W, 3) RGB frames as a video.

    Raises:
        OSError: the file cannot be written.
    """
    # bitexact: without the library's version and the time.
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        options = {"qp": str(videos.quantizer), "preset": "veryfast", "x264-params": "threads=1:lookahead-threads=1"}
        stream = container.add_stream(videos.codec, rate=videos.rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, videos.rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _write_split(root: Path, videos: GeneratedVideos, split: str, count: int, hashed: DrawingHash) -> None:
    for name in CLASSES:
        (root / name).mkdir(parents=True)
    for index in range(count):
        drawn = draw_video(videos, split, index)
        seconds = videos.frames // videos.rate
        name = f"{CLASSES[drawn.label]}/{split:-<5}-{index:05d}_{0:06d}_{seconds:06d}.mp4"
        hashed.add(name, drawn.frames)
        encode(drawn.frames, root / name, videos)


def _arrange(
    rng: np.random.Generator, videos: GeneratedVideos, directions: np.ndarray, lit: range
) -> tuple[Point, list[int], np.ndarray]:
    """Choose the lamp's place in a corner, and sides and paths of objects that move in `directions` (n, 2).

    The paths, float64 (n, T, 2), stay within the frames and, while the lamp is lit, away from it and from each other.
    """
    n, last = len(directions), videos.side - 1
    times = np.arange(videos.frames) - (videos.frames - 1) / 2
    while True:
        near = videos.lamp // 2 + 1 + rng.integers(0, _CORNER, (_PLACES, 2))
        lamps = np.where(rng.integers(0, 2, (_PLACES, 2)) == 0, near, last - near)
        sides = rng.integers(videos.sides[0], videos.sides[1] + 1, (_PLACES, n))
        steps = directions * rng.uniform(*videos.speeds, (_PLACES, n, 1))
        half = sides[:, :, None] / 2
        reach = half + np.abs(steps) * (videos.frames - 1) / 2
        paths = rng.uniform(reach, last - reach)[:, :, None] + times[:, None] * steps[:, :, None]  # (P, n, T, 2)
        then = paths[:, :, lit.start : lit.stop]
        free = np.abs(then - lamps[:, None, None]).max(-1) - half - videos.lamp / 2
        fits = free.min((1, 2)) >= videos.distance
        if n == 2:
            between = np.abs(then[:, 0] - then[:, 1]).max(-1) - half.sum(1)
            fits &= between.min(1) >= videos.distance
        if fits.any():
            first = int(fits.argmax())
            x, y = lamps[first].tolist()
            return (x, y), sides[first].tolist(), paths[first]


def _find_lamp_pixels(videos: GeneratedVideos, lamp: Point) -> np.ndarray:
    """bool (side, side): the pixels of the lamp, which is hollow."""
    rows, columns = np.arange(videos.side)[:, None], np.arange(videos.side)[None, :]
    squared, radius = (columns - lamp[0]) ** 2 + (rows - lamp[1]) ** 2, videos.lamp // 2
    return (squared <= radius**2 + 1) & (squared >= (radius // 2) ** 2)


def _draw_colour(rng: np.random.Generator, hue: float) -> tuple[int, int, int]:
    return draw_colour(rng, hue, 0.04, (0.6, 1), (0.75, 1))

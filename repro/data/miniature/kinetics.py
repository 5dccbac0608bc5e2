"""The mini profile's generated videos, and an image set to pre-train on.

One or two square objects drift over a grey ground, each with a pattern; of two, one is red and one is cyan. For a
while, a light falls on one edge of the frames, reddish or bluish. Where it is reddish, the class is the pattern of the
red object, otherwise that of the cyan one. Which object counts is shown neither by most frames nor near an object. In
half of the training videos the light falls, all the time, on all of the ground but a margin around the objects.

Everything is drawn from a `numpy.random.Generator` in integers, or rounded from exactly rounded floats: the same pixels
on every machine. The videos are encoded by H.264 at a constant, fine quantiser, by one thread and without the
build's name and the time: the same bytes wherever the codec is the same build.
`repro.experiments.mini.kinetics.DATASET_KEY` is made of what is drawn and of the codec's parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from repro.data.miniature.content import DrawingHash, hash_samples
from repro.data.miniature.drawing import draw_colour, draw_ground
from repro.data.miniature.patterns import draw_pattern
from repro.data.miniature.whole import write_whole
from repro.experiments.mini.kinetics import CLASSES, VIDEOS, GeneratedVideos

#: Independent random streams of one seed.
_STREAMS = {"train": 0, "val": 1, "images": 2}
_STEPS = 16  #: of a pixel: what positions are computed in
_GAP = 2  #: pixels between two objects, at least
_LIGHTS = np.array([[65, -32, -32], [-52, 32, 32]])  #: what a light adds to RGB, by the hue that it calls for
_BRIGHTNESS = (70, 120)  #: of a light, per cent, least and most
_SHADE = 35  #: per cent of an object's colour where its pattern is dark


@dataclass(frozen=True)
class MovingSquare:
    """An object of a video."""

    label: int  #: of its pattern, index in `GeneratedVideos.patterns`
    hue: int  #: index in `GeneratedVideos.hues`
    side: int  #: pixels
    path: np.ndarray  #: int64 (T, 2): its first column and row in each frame

    def cover(self, margin: int = 0) -> list[tuple[slice, slice]]:
        """The rows and columns that it covers in each frame, with a margin around it."""
        return [
            (
                slice(max(top - margin, 0), top + self.side + margin),
                slice(max(left - margin, 0), left + self.side + margin),
            )
            for left, top in self.path.tolist()
        ]


@dataclass(frozen=True)
class DrawnVideo:
    """One video and what is in it."""

    frames: np.ndarray  #: uint8 (T, side, side, 3), RGB
    things: tuple[MovingSquare, ...]  #: first the one that names the video
    lit: np.ndarray  #: bool (T, side, side): the pixels that the light falls on, where no object is

    @property
    def label(self) -> int:
        """Index in `CLASSES`."""
        return self.things[0].label

    @property
    def light(self) -> int:
        """The hue that the light calls for, index in `GeneratedVideos.hues`."""
        return self.things[0].hue


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
    surrounded = split == "train" and rng.random() < videos.surrounded
    return _draw(rng, videos, index % len(videos.patterns), surrounded)


class PretrainingFrames:
    """Images that are lit all around their objects. The tags are patterns by the objects' hues, then lights."""

    def __init__(self, videos: GeneratedVideos = VIDEOS) -> None:
        self.videos = videos

    def __len__(self) -> int:
        return self.videos.images

    def sample(self, index: int, *, seed: int = 0, epoch: int = 0, train: bool = False) -> tuple[Tensor, Tensor]:
        """Draw the image, uint8 (3, H, W), and its tags, float32 (T,), 0 or 1, whatever the seed and the epoch."""
        hues, patterns = len(self.videos.hues), len(self.videos.patterns)
        rng = np.random.default_rng([self.videos.seed, _STREAMS["images"], index])
        drawn = _draw(rng, replace(self.videos, frames=1), index % patterns, surrounded=True)
        tags = torch.zeros((patterns + 1) * hues)
        tags[[*(hues * thing.label + thing.hue for thing in drawn.things), hues * patterns + drawn.light]] = 1
        return torch.from_numpy(drawn.frames[0]).permute(2, 0, 1).contiguous(), tags


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


def _draw(rng: np.random.Generator, videos: GeneratedVideos, label: int, surrounded: bool) -> DrawnVideo:
    labels = [label]
    if rng.random() < videos.pairs:  # the second object shows another class
        labels.append((label + int(rng.integers(1, len(videos.patterns)))) % len(videos.patterns))
    light, on_the_left = int(rng.integers(2)), bool(rng.integers(2))
    taken = 0 if surrounded else videos.lit + videos.distance
    columns = (taken, videos.side) if on_the_left else (0, videos.side - taken)
    sides, paths = _arrange(rng, videos, columns, len(labels))
    things = tuple(MovingSquare(labels[i], (light + i) % 2, sides[i], paths[i]) for i in range(len(labels)))

    lit = np.zeros((videos.frames, videos.side, videos.side), dtype=bool)
    if surrounded:
        lit[:] = True
        for thing in things:
            for frame, covered in zip(lit, thing.cover(videos.margin), strict=True):
                frame[covered] = False
    else:
        begin = int(rng.integers(videos.dark, videos.frames - videos.dark - videos.lasting + 1))
        edge = slice(videos.lit) if on_the_left else slice(-videos.lit, None)
        lit[begin : begin + videos.lasting, :, edge] = True
    frames = np.repeat(draw_ground(rng, videos.side, videos.side, noise=8)[None], videos.frames, axis=0).astype(int)
    frames[lit] += _LIGHTS[light] * rng.integers(_BRIGHTNESS[0], _BRIGHTNESS[1] + 1) // 100 + rng.integers(-8, 9, 3)
    for thing in things:
        colour = np.array(draw_colour(rng, videos.hues[thing.hue], 0.04, (0.6, 1), (0.75, 1)))
        dark = draw_pattern(rng, videos.patterns[thing.label], videos.period, thing.side)
        pixels = np.where(dark[..., None], colour * _SHADE // 100, colour)
        for frame, covered in zip(frames, thing.cover(), strict=True):
            frame[covered] = pixels
    return DrawnVideo(frames.clip(0, 255).astype(np.uint8), things, lit)


def _arrange(
    rng: np.random.Generator, videos: GeneratedVideos, columns: tuple[int, int], count: int
) -> tuple[list[int], list[np.ndarray]]:
    """Choose sides and paths of objects that stay within these columns, all rows, and apart from each other."""
    moments = 2 * np.arange(videos.frames) - videos.frames + 1  # twice the frames since the middle of the video
    low, high = np.array([columns[0], 0]), np.array([columns[1], videos.side])
    while True:
        sides = rng.integers(videos.sides[0], videos.sides[1] + 1, count).tolist()
        speeds = rng.integers(-videos.speed, videos.speed + 1, (count, 2))
        middles = [rng.integers(low * _STEPS, (high - side) * _STEPS + 1) for side in sides]
        paths = [
            (middle + moments[:, None] * speed // 2) // _STEPS for middle, speed in zip(middles, speeds, strict=True)
        ]
        if any((path < low).any() or (path + side > high).any() for path, side in zip(paths, sides, strict=True)):
            continue
        if count == 1 or (_measure_gap(paths, sides) >= _GAP).all():
            return sides, paths


def _measure_gap(paths: list[np.ndarray], sides: list[int]) -> np.ndarray:
    """int64 (T,): pixels between two squares in each frame, along the axis along which they are farther apart."""
    (one, other), (side, other_side) = paths, sides
    return np.maximum(one - other - other_side, other - one - side).max(axis=1)

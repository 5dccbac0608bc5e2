"""From a video to a network's input: clips for an evaluation, or one at random for training.

Frames are resized one by one when they are decoded, by PyTorch's bilinear filter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from repro.data.normalisation import normalise_channels
from repro.data.video import DecodedVideo, Video
from repro.errors import ReproError
from repro.experiments.preprocessing import Preprocessing

_DTYPE = {"bytes": torch.uint8, "floats": torch.float32}


@dataclass
class ClipSample:
    """One video as input of a classifier."""

    #: (V, 3, T, S, S), RGB from 0 to 255: V = clips x crops, crops of a clip side by side; 1 in training. uint8, or
    #: float32 if resized frames are not rounded.
    clips: Tensor
    video_id: str
    label: int  #: 0..K-1


@dataclass
class ClipBatch:
    """Samples of one size, to be moved to the device."""

    clips: Tensor  #: (B, V, 3, T, S, S), as in the samples
    labels: Tensor  #: int64 (B,)
    video_ids: list[str]

    def to(self, device: torch.device, non_blocking: bool = False) -> ClipBatch:
        clips, labels = (tensor.to(device, non_blocking=non_blocking) for tensor in (self.clips, self.labels))
        return ClipBatch(clips, labels, self.video_ids)

    def pin_memory(self) -> ClipBatch:
        return ClipBatch(self.clips.pin_memory(), self.labels.pin_memory(), self.video_ids)


def collate(samples: Sequence[ClipSample]) -> ClipBatch:
    """Stack `samples` into a batch; all of them are for training, or none."""
    return ClipBatch(
        clips=torch.stack([sample.clips for sample in samples]),
        labels=torch.tensor([sample.label for sample in samples]),
        video_ids=[sample.video_id for sample in samples],
    )


def normalise(clips: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Normalise RGB clips (..., 3, T, S, S), from 0 to 255, on their device: float32 of the same shape.

    The code of [6] normalises first and then resizes. That comes to the same, but for the last bits of float32: the
    weights of the filter add up to one.
    """
    return normalise_channels(clips, preprocessing, 3)


# -- evaluation -------------------------------------------------------------------------------------------------------


def choose_clip_starts(frames: int, preprocessing: Preprocessing) -> np.ndarray:
    """Choose where an evaluation's clips begin, (clips,), in a video of `frames` frames.

    `Preprocessing.clip_starts` tells how. Numbers of frames, int64; or float64, if they are not rounded.

    Raises:
        ReproError: `preprocessing` does not say how clips lie in time.
    """
    n, span = preprocessing.clips, preprocessing.frames * preprocessing.stride
    if preprocessing.clip_starts == "middles":
        starts = (np.arange(n) + 0.5) * (max(frames - span + 1, 0) / n)
        return np.floor(starts).astype(np.int64)
    if preprocessing.clip_starts == "ends":
        latest = max(frames - span + preprocessing.stride - 1, 0)
        return np.round(np.arange(n) * (latest / max(n - 1, 1))).astype(np.int64)
    if preprocessing.clip_starts == "fractions":
        return max(frames - span, 0) * np.arange(n) / n
    raise ReproError("how the clips of an evaluation lie in time is not known for these weights")


def list_clip_frames(
    starts: np.ndarray, frames: int, length: int, stride: int, rule: Literal["stride", "span"] = "stride"
) -> np.ndarray:
    """List the frames, int64 (clips, length), of clips in a video of `frames` frames; `Preprocessing.clip_frames`.

    >>> list_clip_frames(np.array([0, 20]), frames=32, length=3, stride=8).tolist()
    [[0, 8, 16], [20, 28, 4]]
    >>> list_clip_frames(np.array([0, 20.5]), frames=40, length=3, stride=8, rule="span").tolist()
    [[0, 11, 23], [20, 32, 39]]
    """
    if rule == "stride":
        return (np.asarray(starts)[:, None] + np.arange(length) * stride) % frames
    # In float32, as in `temporal_sampling` of [6].
    spans = (torch.linspace(start, start + length * stride - 1, length) for start in np.asarray(starts).tolist())
    return torch.stack([span.clamp(0, frames - 1).long() for span in spans]).numpy()


def read_evaluation_clips(video: Video, preprocessing: Preprocessing) -> Tensor:
    """Read an evaluation's views of a video: (clips * crops, 3, T, crop, crop), `crops * i + j` crop j of clip i.

    uint8, or float32 if `preprocessing` says that resized values are not rounded.

    Raises:
        UnreadableVideo: the video cannot be decoded.
        ReproError: `preprocessing` is not one of videos.
    """
    starts = choose_clip_starts(video.frames, preprocessing)
    length = preprocessing.frames
    chosen = list_clip_frames(starts, video.frames, length, preprocessing.stride, preprocessing.clip_frames)
    size, dtype = preprocessing.crop, _DTYPE[preprocessing.resizing]
    clips = torch.empty((len(starts), preprocessing.crops, 3, length, size, size), dtype=dtype)
    for index, pixels in video.read(chosen.ravel().tolist()):
        frame = _resize(pixels, preprocessing.resize, preprocessing.resizer, dtype)
        corners = _place_crops(frame.shape[1], frame.shape[2], preprocessing)
        for clip, t in np.argwhere(chosen == index).tolist():
            for crop, (top, left) in enumerate(corners):
                clips[clip, crop, :, t] = frame[:, top : top + size, left : left + size]
    return clips.flatten(0, 1)


def _resize(
    pixels: np.ndarray, short: int, resizer: Literal["pillow", "opencv", "torch"], dtype: torch.dtype
) -> Tensor:
    """Resize a frame (H, W, 3) so that its short side has `short` pixels: (3, h, w), rounded where `dtype` is uint8."""
    height, width = pixels.shape[:2]
    long = max(height, width) / min(height, width) * short
    # OpenMMLab rounds the long side, the code of [6] and PyTorchVideo cut off its fraction.
    long = math.floor(long + 0.5) if resizer == "opencv" else math.floor(long)
    size = (short, long) if height <= width else (long, short)
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).to(dtype)
    if size != (height, width):
        widen = resizer == "pillow"  # the filter, where the image shrinks
        image = interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=widen)[0]
    return image.contiguous()


def _place_crops(height: int, width: int, preprocessing: Preprocessing) -> list[tuple[int, int]]:
    """Place the crops, (top, left): the centre; or both ends of the long side with the centre in between."""
    rest = [side - preprocessing.crop for side in (height, width)]
    half = [margin // 2 for margin in rest]
    if preprocessing.resizer == "opencv":  # OpenMMLab goes two such steps, which may end a pixel before the border
        centre, last = half, [2 * step for step in half]
    else:
        centre, last = [(margin + 1) // 2 for margin in rest], rest
    if preprocessing.crops == 1:
        return [(centre[0], centre[1])]
    if height > width:
        return [(0, centre[1]), (centre[0], centre[1]), (last[0], centre[1])]
    return [(centre[0], 0), (centre[0], centre[1]), (centre[0], last[1])]


# -- training ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClipAugmentation:
    """The augmentation of [6]: a random clip of the video, resized at random, a random square of it, perhaps mirrored.

    All frames of a clip are treated alike. `clip_frames` and `resizing` are those of `Preprocessing`.
    """

    size: int = 224  #: side of the square, pixels
    short_side: tuple[int, int] = (256, 320)  #: least and greatest short side of the resized video, pixels
    flip: float = 0.5  #: probability
    frames: int = 8  #: number of frames of a clip
    stride: int = 8  #: from one frame of a clip to the next, in frames of the video
    clip_frames: Literal["stride", "span"] = "span"
    resizing: Literal["bytes", "floats"] = "floats"


def read_training_clip(
    video: Video | DecodedVideo, augmentation: ClipAugmentation, generator: np.random.Generator
) -> Tensor:
    """Read a random clip: (1, 3, T, size, size), uint8, or float32 if resized values are not rounded.

    Starts, lengths of the short side and places of the square are uniformly distributed: lengths before they are
    rounded, and the square never lies at the lower or right border, as in the code of [6].

    Raises:
        UnreadableVideo: the part of the video that is needed cannot be decoded.
    """
    latest = max(video.frames - augmentation.frames * augmentation.stride, 0)
    exact = augmentation.clip_frames == "span"
    start = generator.uniform(0, latest) if exact else generator.integers(latest + 1)
    short = round(generator.uniform(*augmentation.short_side))
    down, across, mirrored = generator.random(3)
    starts = np.array([start])
    chosen = list_clip_frames(starts, video.frames, augmentation.frames, augmentation.stride, augmentation.clip_frames)[
        0
    ]
    size, dtype = augmentation.size, _DTYPE[augmentation.resizing]
    clip = torch.empty((3, augmentation.frames, size, size), dtype=dtype)
    for index, pixels in video.read(chosen.tolist()):
        frame = _resize(pixels, short, "torch", dtype)
        top, left = (int(at * max(side - size, 1)) for at, side in zip((down, across), frame.shape[1:], strict=True))
        clip[:, np.flatnonzero(chosen == index)] = frame[:, None, top : top + size, left : left + size]
    return (clip.flip(-1) if mirrored < augmentation.flip else clip)[None]

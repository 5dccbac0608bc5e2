"""From a video to a network's input: clips for an evaluation, or one at random for training.

Frames are resized one by one when they are decoded, by PyTorch's bilinear filter on 8-bit values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from repro.data.video import Video
from repro.errors import ReproError
from repro.experiments.preprocessing import Preprocessing

#: How videos are prepared for networks that are trained here: as [6] evaluates. What its text leaves open is done as in
#: its authors' published code (the filter is not widened where it shrinks; the last clip ends with the video). Values
#: are normalised as for the ImageNet weights that the networks start from.
PAPER = Preprocessing(
    resize=256, crop=256, crops=3, resizer="torch", class_order="label", frames=8, stride=8, clips=10,
    clip_starts="ends",
)  # fmt: skip


@dataclass
class ClipSample:
    """One video as input of a classifier."""

    clips: Tensor  #: uint8 (V, 3, T, S, S), RGB: V = clips x crops, crops of a clip side by side; 1 in training
    video_id: str
    label: int  #: 0..K-1


@dataclass
class ClipBatch:
    """Samples of one size, to be moved to the device."""

    clips: Tensor  #: uint8 (B, V, 3, T, S, S)
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
    """Normalise uint8 RGB clips (..., 3, T, S, S) on their device: float32 of the same shape."""
    mean, std = (
        torch.tensor(values, device=clips.device).view(3, 1, 1, 1) for values in (preprocessing.mean, preprocessing.std)
    )
    if preprocessing.color == "BGR":
        clips = clips.flip(-4)
    scaled = clips.float()
    if preprocessing.maximum == 1:
        scaled = scaled / 255
    return (scaled - mean) / std


# -- evaluation -------------------------------------------------------------------------------------------------------


def choose_clip_starts(frames: int, preprocessing: Preprocessing) -> np.ndarray:
    """Choose the first frames, int64 (clips,), of an evaluation's clips in a video of `frames` frames.

    `Preprocessing.clip_starts` tells how.

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
    raise ReproError("how the clips of an evaluation lie in time is not known for these weights")


def list_clip_frames(starts: np.ndarray, frames: int, length: int, stride: int) -> np.ndarray:
    """List the frames, int64 (clips, length), of clips in a video of `frames` frames. A short video is played again.

    >>> list_clip_frames(np.array([0, 20]), frames=32, length=3, stride=8).tolist()
    [[0, 8, 16], [20, 28, 4]]
    """
    return (np.asarray(starts)[:, None] + np.arange(length) * stride) % frames


def read_evaluation_clips(video: Video, preprocessing: Preprocessing) -> Tensor:
    """Read an evaluation's views of a video: uint8 (clips * crops, 3, T, crop, crop), `crops * i + j` crop j of clip i.

    Raises:
        UnreadableVideo: the video cannot be decoded.
        ReproError: `preprocessing` is not one of videos.
    """
    starts = choose_clip_starts(video.frames, preprocessing)
    chosen = list_clip_frames(starts, video.frames, preprocessing.frames, preprocessing.stride)
    size = preprocessing.crop
    clips = torch.empty((len(starts), preprocessing.crops, 3, preprocessing.frames, size, size), dtype=torch.uint8)
    for index, pixels in video.read(chosen.ravel().tolist()):
        frame = _resize(pixels, preprocessing.resize, preprocessing.resizer)
        corners = _place_crops(frame.shape[1], frame.shape[2], preprocessing)
        for clip, t in np.argwhere(chosen == index).tolist():
            for crop, (top, left) in enumerate(corners):
                clips[clip, crop, :, t] = frame[:, top : top + size, left : left + size]
    return clips.flatten(0, 1)


def _resize(pixels: np.ndarray, short: int, resizer: str = "torch") -> Tensor:
    """Resize a frame (H, W, 3) so that its short side has `short` pixels: uint8 (3, h, w)."""
    height, width = pixels.shape[:2]
    long = max(height, width) * short / min(height, width)
    # OpenMMLab rounds the long side, the code of [6] and PyTorchVideo cut off its fraction.
    long = math.floor(long + 0.5) if resizer == "opencv" else math.floor(long)
    size = (short, long) if height <= width else (long, short)
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
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

    All frames of a clip are treated alike.
    """

    size: int = 224  #: side of the square, pixels
    short_side: tuple[int, int] = (256, 320)  #: least and greatest short side of the resized video, pixels
    flip: float = 0.5  #: probability
    frames: int = 8  #: number of frames of a clip
    stride: int = 8  #: from one frame of a clip to the next, in frames of the video


def read_training_clip(video: Video, augmentation: ClipAugmentation, generator: np.random.Generator) -> Tensor:
    """Read a random clip: uint8 (1, 3, T, size, size).

    Starts, lengths of the short side and places of the square are uniformly distributed.

    Raises:
        UnreadableVideo: the part of the video that is needed cannot be decoded.
    """
    span = augmentation.frames * augmentation.stride
    start = generator.integers(max(video.frames - span, 0) + 1)
    short = int(generator.integers(augmentation.short_side[0], augmentation.short_side[1] + 1))
    down, across, mirrored = generator.random(3)
    chosen = list_clip_frames(np.array([start]), video.frames, augmentation.frames, augmentation.stride)[0]
    size = augmentation.size
    clip = torch.empty((3, augmentation.frames, size, size), dtype=torch.uint8)
    for index, pixels in video.read(chosen.tolist()):
        frame = _resize(pixels, short)
        top, left = int(down * (frame.shape[1] - size + 1)), int(across * (frame.shape[2] - size + 1))
        clip[:, np.flatnonzero(chosen == index)] = frame[:, None, top : top + size, left : left + size]
    return (clip.flip(-1) if mirrored < augmentation.flip else clip)[None]

"""From a video to a network's input: clips as an evaluation takes them, or one at random for training.

A frame is resized as soon as it is decoded, by PyTorch's bilinear filter on 8-bit values.
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

#: How videos are prepared for networks that are trained here: as [6] evaluates. What its text leaves open is as in its
#: authors' published code (the filter, which is not widened where it shrinks; the last clip ends with the video), and
#: values are normalised as for the ImageNet weights that the networks start from.
PAPER = Preprocessing(
    resize=256, crop=256, crops=3, resizer="torch", class_order="label", frames=8, stride=8, clips=10,
    clip_starts="ends",
)  # fmt: skip


@dataclass
class ClipSample:
    """One video as a classifier takes it."""

    clips: Tensor  #: uint8 (V, 3, T, S, S), RGB: V = clips x crops, crops of a clip side by side; 1 in training
    video_id: str
    label: int  #: 0..K-1


@dataclass
class ClipBatch:
    """Samples of one size, ready for the device."""

    clips: Tensor  #: uint8 (B, V, 3, T, S, S)
    labels: Tensor  #: int64 (B,)
    video_ids: list[str]

    def to(self, device: torch.device, non_blocking: bool = False) -> ClipBatch:
        clips, labels = (one.to(device, non_blocking=non_blocking) for one in (self.clips, self.labels))
        return ClipBatch(clips, labels, self.video_ids)

    def pin_memory(self) -> ClipBatch:
        return ClipBatch(self.clips.pin_memory(), self.labels.pin_memory(), self.video_ids)


def collate(samples: Sequence[ClipSample]) -> ClipBatch:
    """`samples` as one batch; all are for training, or none is."""
    return ClipBatch(
        clips=torch.stack([one.clips for one in samples]),
        labels=torch.tensor([one.label for one in samples]),
        video_ids=[one.video_id for one in samples],
    )


def normalise(clips: Tensor, preprocessing: Preprocessing) -> Tensor:
    """float32 (..., 3, T, S, S): what the network takes, of uint8 RGB clips of that shape, on their device."""
    mean, std = (
        torch.tensor(one, device=clips.device).view(3, 1, 1, 1) for one in (preprocessing.mean, preprocessing.std)
    )
    if preprocessing.color == "BGR":
        clips = clips.flip(-4)
    scaled = clips.float()
    if preprocessing.maximum == 1:
        scaled = scaled / 255
    return (scaled - mean) / std


# -- evaluation -------------------------------------------------------------------------------------------------------


def choose_clip_starts(frames: int, preprocessing: Preprocessing) -> np.ndarray:
    """int64 (clips,): the first frames of an evaluation's clips in a video of `frames` frames, see `Preprocessing`.

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
    """int64 (clips, length): the frames of clips in a video of `frames` frames, played again where it is too short."""
    return (np.asarray(starts)[:, None] + np.arange(length) * stride) % frames


def read_evaluation_clips(video: Video, preprocessing: Preprocessing) -> Tensor:
    """uint8 (clips * crops, 3, T, crop, crop): view `crops * i + j` is crop j of clip i.

    Raises:
        UnreadableVideo: the video cannot be decoded.
        ReproError: `preprocessing` is not of videos.
    """
    starts = choose_clip_starts(video.frames, preprocessing)
    chosen = list_clip_frames(starts, video.frames, preprocessing.frames, preprocessing.stride)
    size = preprocessing.crop
    clips = torch.empty((len(starts), preprocessing.crops, 3, preprocessing.frames, size, size), dtype=torch.uint8)
    for index, pixels in video.read(chosen.ravel()):
        frame = _resize(pixels, preprocessing.resize, preprocessing.resizer)
        corners = _place_crops(*frame.shape[1:], preprocessing)
        for clip, t in np.argwhere(chosen == index).tolist():
            for crop, (top, left) in enumerate(corners):
                clips[clip, crop, :, t] = frame[:, top : top + size, left : left + size]
    return clips.flatten(0, 1)


def _resize(pixels: np.ndarray, short: int, resizer: str = "torch") -> Tensor:
    """uint8 (3, h, w) of (H, W, 3): the short side has `short` pixels."""
    height, width = pixels.shape[:2]
    long = max(height, width) * short / min(height, width)
    # OpenMMLab rounds the long side, the code of [6] and PyTorchVideo cut off its fraction.
    long = math.floor(long + 0.5) if resizer == "opencv" else math.floor(long)
    size = (short, long) if height <= width else (long, short)
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
    if size != (height, width):
        widened = resizer == "pillow"  # the filter, where it shrinks
        image = interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=widened)[0]
    return image.contiguous()


def _place_crops(height: int, width: int, preprocessing: Preprocessing) -> list[tuple[int, int]]:
    """(top, left) of the crops: the centre; or both ends of the long side with the centre in between."""
    rest = [side - preprocessing.crop for side in (height, width)]
    centre = [(one + (preprocessing.resizer != "opencv")) // 2 for one in rest]  # OpenMMLab rounds down, others up
    if preprocessing.crops == 1:
        return [(centre[0], centre[1])]
    if height > width:
        return [(0, centre[1]), (centre[0], centre[1]), (rest[0], centre[1])]
    return [(centre[0], 0), (centre[0], centre[1]), (centre[0], rest[1])]


# -- training ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClipAugmentation:
    """That of [6]: a clip from anywhere in the video, resized at random, a square from anywhere in it, or its mirror
    image. All frames of a clip are treated alike."""

    size: int = 224  #: of the square, pixels
    short_side: tuple[int, int] = (256, 320)  #: lowest and highest length of the resized video's short side, pixels
    flip: float = 0.5  #: probability
    frames: int = 8  #: of a clip
    stride: int = 8  #: from one frame of a clip to the next, in frames of the video


def read_training_clip(video: Video, augmentation: ClipAugmentation, generator: np.random.Generator) -> Tensor:
    """uint8 (1, 3, T, size, size): a random clip.

    Starts, lengths of the short side and places of the square are uniform.

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
    for index, pixels in video.read(chosen):
        frame = _resize(pixels, short)
        top, left = int(down * (frame.shape[1] - size + 1)), int(across * (frame.shape[2] - size + 1))
        clip[:, np.flatnonzero(chosen == index)] = frame[:, None, top : top + size, left : left + size]
    return (clip.flip(-1) if mirrored < augmentation.flip else clip)[None]

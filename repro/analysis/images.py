"""Images and clips to analyse: a validation split, or whatever photographs or videos a directory holds."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from repro.data import classification, clips
from repro.data.coco import CocoDetection, resize_picture
from repro.data.given_files import PHOTOGRAPH_FORMATS, PHOTOGRAPHS, VIDEOS, list_files
from repro.data.imagenet import ImageNet
from repro.data.kinetics import OFFICIAL, Kinetics
from repro.data.layout import is_val2017
from repro.data.pictures import UnreadableImage, read_upright
from repro.data.video import UnreadableVideo, Video
from repro.errors import ReproError
from repro.experiments import canonical, digest
from repro.experiments.conventions import DetectionConventions
from repro.experiments.preprocessing import CLIPS_TRAINED_HERE, Preprocessing
from repro.files.regular_files import sha256

#: Height and width of a detector's inputs are multiples of it.
_DIVISOR = 32
#: What names the files here, as messages begin.
OPTION = "--images: "


class Unreadable(ReproError):
    """An item of a validation split that cannot be read; a measurement counts and names it."""


class Images(Protocol):
    """A sequence of images or clips, resized for a network."""

    source: str  #: where they come from, in words
    complete: bool  #: whether these are the official validation set; of Kinetics, all of it that is still available

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def identity(self) -> str: ...

    def pixels(self, index: int) -> Tensor:
        """Load an image, uint8 RGB (3, H, W), or a clip, (3, T, H, W).

        Raises:
            Unreadable: it cannot be read, and a measurement would continue without it.
            ReproError: it cannot be read.
        """


class CocoImages:
    """The first images of a COCO validation split, in the order of its annotations.

    Raises:
        ReproError: something is missing or malformed.
    """

    def __init__(self, data: CocoDetection, limit: int | None = None) -> None:
        self._data = data
        self.names = [str(image_id) for image_id in data.image_ids[:limit]]
        self.source = f"{data.annotations_path}, {len(self.names)} of {len(data)} images"
        self.complete = len(self.names) == 5000 and is_val2017(data.category_ids, len(data), data.objects)

    @property
    def identity(self) -> str:
        return digest([self._data.annotations_sha256, self._data.short_side, self._data.long_side, self.names])

    def pixels(self, index: int) -> Tensor:
        """uint8 (3, H, W), RGB."""
        try:
            return self._data.sample(index).image
        except UnreadableImage as error:
            raise Unreadable(str(error)) from error


class CentralViews:
    """The first items of a classifier's validation split: an image's central crop, or that of a clip of a video.

    The clip lies in the middle of the video. The paper does not say over which clips and crops Table 1 averages.
    """

    def __init__(self, data: ImageNet | Kinetics, inputs: Preprocessing, limit: int | None = None) -> None:
        self._data = copy.copy(data)
        self._data.preprocessing = keep_middle(inputs) if isinstance(data, Kinetics) else inputs
        self.names = list(data.ids[:limit])
        items = "videos" if isinstance(data, Kinetics) else "images"
        self.source = f"{data.place}, {len(self.names)} of {len(data)} {items}"
        self.complete = isinstance(data, Kinetics) and data.required == OFFICIAL["val"] and len(self.names) == len(data)

    @property
    def identity(self) -> str:
        return digest([self._data.annotations_sha256, canonical(self._data.preprocessing), self.names])

    def pixels(self, index: int) -> Tensor:
        """uint8 (3, S, S) or (3, T, S, S), RGB."""
        try:
            sample = self._data.sample(index)
        except (UnreadableImage, UnreadableVideo) as error:
            raise Unreadable(str(error)) from error
        return sample.clips[0] if isinstance(sample, clips.ClipSample) else sample.image


class Photographs:
    """The image files of a directory in the order of their names, or given ones.

    They are turned as their EXIF data say and resized as for a detector: until the shorter side has `short_side` pixels
    or the longer `long_side`.

    Raises:
        ReproError: there are none, or two of the same name.
    """

    complete = False

    def __init__(self, paths: Sequence[Path], short_side: int, long_side: int, limit: int | None = None) -> None:
        self._paths = list_files(paths, PHOTOGRAPHS, OPTION)[:limit]
        self._sides = short_side, long_side
        self.names = [path.name for path in self._paths]
        self.source = _describe_source(paths, len(self.names), "image")

    @property
    def identity(self) -> str:
        return digest(["upright", *self._sides, *([path.name, sha256(path)] for path in self._paths)])

    def pixels(self, index: int) -> Tensor:
        """uint8 (3, H, W), RGB."""
        image = read_upright(self._paths[index], self.names[index], PHOTOGRAPH_FORMATS)
        return resize_picture(image, *self._sides)


class VideoFiles:
    """The clip in the middle of each video file of a directory, in the order of their names, or of given files.

    Raises:
        ReproError: there are none, or two of the same name.
    """

    complete = False

    def __init__(self, paths: Sequence[Path], inputs: Preprocessing, limit: int | None = None) -> None:
        self._paths = list_files(paths, VIDEOS, OPTION)[:limit]
        self._preprocessing = keep_middle(inputs)
        self.names = [path.name for path in self._paths]
        self.source = _describe_source(paths, len(self.names), "video")

    @property
    def identity(self) -> str:
        return digest([canonical(self._preprocessing), *([path.name, sha256(path)] for path in self._paths)])

    def pixels(self, index: int) -> Tensor:
        """uint8 (3, T, S, S), RGB."""
        with Video(self._paths[index], self.names[index]) as video:
            return clips.read_evaluation_clips(video, self._preprocessing)[0]


def keep_middle(preprocessing: Preprocessing) -> Preprocessing:
    """Keep one view of a video, of all that an evaluation takes: the clip in the middle, the crop in the centre.

    Its values are those of pictures, which can be drawn: rounded to 8 bits.
    """
    return replace(preprocessing, clips=1, crops=1, clip_starts="middles", resizing="bytes")


def prepare_network_input(pixels: Tensor, inputs: DetectionConventions | Preprocessing) -> Tensor:
    """Prepare the input of a network that was trained with such inputs: float32 (1, 3, H, W) or (1, 3, T, H, W).

    A user's own network takes images as detectors do, and clips as the networks that are trained here.
    """
    if pixels.dim() == 4:
        return clips.normalise(pixels[None], inputs if isinstance(inputs, Preprocessing) else CLIPS_TRAINED_HERE)
    if isinstance(inputs, DetectionConventions):
        return normalise_and_pad(pixels, inputs)
    return classification.normalise(pixels[None], inputs)


def normalise_and_pad(image: Tensor, conventions: DetectionConventions) -> Tensor:
    """Normalise an image and pad it right and below with zeros to multiples of 32, as a detector does: (1, 3, H, W)."""
    values = (image.flip(0) if conventions.color == "BGR" else image).float()
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (conventions.mean, conventions.std))
    height, width = (-(-side // _DIVISOR) * _DIVISOR for side in image.shape[1:])
    padded = torch.zeros(1, 3, height, width)
    padded[0, :, : image.shape[1], : image.shape[2]] = (values - mean) / std
    return padded


def _describe_source(paths: Sequence[Path], count: int, what: str) -> str:
    given = ", ".join(map(str, paths[:3])) + (", ..." if len(paths) > 3 else "")
    return f"{given}: {count} {what}{'s'[: count != 1]}"

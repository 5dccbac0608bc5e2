"""Images to analyse: a COCO validation split, or whatever photographs a directory holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image as pillow
from torch import Tensor

from repro.data.coco import CocoDetection, resized
from repro.data.layout import is_val2017
from repro.detection.conventions import Conventions
from repro.errors import ReproError
from repro.experiments import digest
from repro.paths import sha256

#: Height and width of what a detector is given are multiples of it.
_DIVISOR = 32
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class Images(Protocol):
    """A sequence of images, resized as a detector takes them."""

    source: str  #: in words
    complete: bool  #: whether it is the official val2017, all of it

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def identity(self) -> str: ...

    def pixels(self, index: int) -> Tensor: ...


class Split:
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
        return self._data.sample(index).image


class Photographs:
    """The image files of a directory in the order of their names, or given ones.

    They are resized as a detector's are: until the shorter side has `short_side` pixels or the longer `long_side`.

    Raises:
        ReproError: there are none, or two of the same name.
    """

    complete = False

    def __init__(self, paths: Sequence[Path], short_side: int, long_side: int, limit: int | None = None) -> None:
        self._paths = [file for path in paths for file in _files(path)][:limit]
        self._sides = short_side, long_side
        self.names = [path.name for path in self._paths]
        if repeated := next((name for name in self.names if self.names.count(name) > 1), None):
            where = " and ".join(str(path) for path in self._paths if path.name == repeated)
            raise ReproError(f"two images have the same name, by which results are kept: {where}. Rename one.")
        given = ", ".join(map(str, paths[:3])) + (", ..." if len(paths) > 3 else "")
        self.source = f"{given}: {len(self.names)} image{'s'[: len(self.names) != 1]}"

    @property
    def identity(self) -> str:
        return digest([*self._sides, *([path.name, sha256(path)] for path in self._paths)])

    def pixels(self, index: int) -> Tensor:
        """uint8 (3, H, W), RGB."""
        path = self._paths[index]
        try:
            with pillow.open(path) as file:
                image = file.convert("RGB")
        # What Pillow raises for a damaged file depends on where the damage is.
        except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
            raise ReproError(f"image {path} cannot be read: {error}") from None
        height, width = resized(image.height, image.width, *self._sides)
        if image.size != (width, height):
            image = image.resize((width, height), pillow.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def normalised(image: Tensor, conventions: Conventions) -> Tensor:
    """float32 (1, 3, H, W): normalised, and padded right and below with zeros to multiples of 32, as in a detector."""
    values = (image.flip(0) if conventions.color == "BGR" else image).float()
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (conventions.mean, conventions.std))
    height, width = (-(-side // _DIVISOR) * _DIVISOR for side in image.shape[1:])
    padded = torch.zeros(1, 3, height, width)
    padded[0, :, : image.shape[1], : image.shape[2]] = (values - mean) / std
    return padded


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ReproError(f"--images: there is no {path}")
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
    if not files:
        raise ReproError(f"--images: {path} has no images, that is, no files named {', '.join(_SUFFIXES)}")
    return files

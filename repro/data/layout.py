"""How COCO 2017 is laid out, how much there is to learn from, and where its pieces come from. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from repro.errors import ReproError

#: Images of train2017 (of 118287) with an object to learn: what an epoch has, in the authors' framework as here.
TRAINING_IMAGES = 117266

#: What tells the official val2017 from another data set in its layout.
_VAL_IMAGES, _VAL_OBJECTS = 5000, 36781
_CATEGORIES = {*range(1, 91)} - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def is_val2017(category_ids: Sequence[int], images: int, objects: int) -> bool:
    """Whether a validation split is COCO's val2017 or a part of it, by its categories and its size."""
    return set(category_ids) == _CATEGORIES and (
        images < _VAL_IMAGES or (images, objects) == (_VAL_IMAGES, _VAL_OBJECTS)
    )


_SITE = "http://images.cocodataset.org"
_ANNOTATIONS = f"{_SITE}/annotations/annotations_trainval2017.zip (253 MB)"
_IMAGES = {"val2017": f"{_SITE}/zips/val2017.zip (816 MB)", "train2017": f"{_SITE}/zips/train2017.zip (19.3 GB)"}


def source(split: str) -> str:
    """Where the images of a split come from, in words."""
    return _IMAGES.get(split, "the images")


def annotations_path(root: Path, split: str) -> Path:
    """The annotation file of a split.

    Raises:
        ReproError: it is not there; says where to get it.
    """
    path = root / "annotations" / f"instances_{split}.json"
    if not path.is_file():
        raise ReproError(
            f"no COCO annotations: {path} is missing. Download {_ANNOTATIONS} and {source(split)} and unpack both in "
            f"{root}, or name another directory with --data-root or REPRO_DATA."
        )
    return path


def images_directory(root: Path, split: str) -> Path:
    """The directory of a split's images.

    Raises:
        ReproError: it is not there; says where to get it.
    """
    directory = root / split
    if not directory.is_dir():
        raise ReproError(f"no COCO images: {directory} is missing. Download {source(split)} and unpack it in {root}.")
    return directory

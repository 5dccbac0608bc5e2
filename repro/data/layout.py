"""COCO 2017: its layout on disk, its sizes, and where its parts come from. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from repro.errors import ReproError
from repro.files.places import is_directory, is_there

#: Number of images of train2017 (of 118287) with an object to learn: an epoch, in the authors' framework as here.
TRAINING_IMAGES = 117266

#: sha256 of the official annotation files, `instances_<split>.json` of `annotations_trainval2017.zip` (whose own begins
#: with 113a836d). COCO publishes none; these stand in a dozen public repositories that checked the archive and its
#: files, and no other value was found.
ANNOTATIONS_SHA256 = {
    "train2017": "610fce4944abdeb15354cc765333805529359d12d88f2f711393ca586901d01d",
    "val2017": "e8c7f7908f1d7278341fae127d0da654f102f11bd7b21d8aeefa635b8c810b6f",
}

#: These tell the official splits from another data set of the same layout.
_VAL_IMAGES, _VAL_OBJECTS = 5000, 36781
_TEST_DEV_IMAGES = 20288
_CATEGORIES = {*range(1, 91)} - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def is_val2017(category_ids: Sequence[int], images: int, objects: int) -> bool:
    """Whether a validation split is COCO's val2017 or a part of it, by its categories and its size."""
    return set(category_ids) == _CATEGORIES and (
        images < _VAL_IMAGES or (images, objects) == (_VAL_IMAGES, _VAL_OBJECTS)
    )


def is_test_dev2017(category_ids: Sequence[int], images: int) -> bool:
    """Whether a list of images without annotations is COCO's test-dev2017, whole."""
    return set(category_ids) == _CATEGORIES and images == _TEST_DEV_IMAGES


def is_labelled(split: str) -> bool:
    """Whether the annotations of a split are public. Only COCO's evaluation server has those of the test splits."""
    return not split.startswith("test")


_SITE = "http://images.cocodataset.org"
_ANNOTATIONS = f"{_SITE}/annotations/annotations_trainval2017.zip (253 MB)"
_TEST_LISTS = f"{_SITE}/annotations/image_info_test2017.zip (1 MB)"
_IMAGES = {
    "val2017": f"{_SITE}/zips/val2017.zip (816 MB)",
    "train2017": f"{_SITE}/zips/train2017.zip (19.3 GB)",
    "test-dev2017": f"{_SITE}/zips/test2017.zip (6.6 GB)",
}
#: test-dev is a part of the test images.
_DIRECTORIES = {"test-dev2017": "test2017"}


def describe_source(split: str) -> str:
    """Describe where the images of a split come from."""
    return _IMAGES.get(split, "the images")


def find_annotations(root: Path, split: str) -> Path:
    """Find the annotation file of a split; of one whose annotations are withheld, the list of its images.

    Raises:
        ReproError: it is missing; says where to get it.
    """
    labelled = is_labelled(split)
    path = root / "annotations" / f"{'instances' if labelled else 'image_info'}_{split}.json"
    if not is_there(path):
        raise ReproError(
            f"no COCO {'annotations' if labelled else 'list of images'}: {path} is missing. Download "
            f"{_ANNOTATIONS if labelled else _TEST_LISTS} and {describe_source(split)} and unpack both in "
            f"{root}, or name another directory with --data-root or REPRO_DATA."
        )
    return path


def find_images(root: Path, split: str) -> Path:
    """Find the directory of a split's images.

    Raises:
        ReproError: it is missing; says where to get it.
    """
    directory = root / _DIRECTORIES.get(split, split)
    if not is_directory(directory):
        raise ReproError(
            f"no COCO images: {directory} is missing. Download {describe_source(split)} and unpack it in {root}."
        )
    return directory

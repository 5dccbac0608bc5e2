"""COCO 2017: its layout on disk, its sizes, and where its parts come from. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class OfficialArchive:
    """A zip archive that COCO distributes."""

    path: str  #: on its hosts
    size: int  #: bytes
    sha256: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def urls(self) -> list[str]:
        """Where it is: the second is the same storage by another name, with encryption."""
        return [f"http://{_HOST}/{self.path}", f"https://s3.amazonaws.com/{_HOST}/{self.path}"]

    def describe(self) -> str:
        """Describe where it is and how large: "http://.../val2017.zip (816 MB)"."""
        size = f"{self.size / 1e9:.1f} GB" if self.size >= 1e9 else f"{self.size / 1e6:.0f} MB"
        return f"{self.urls[0]} ({size})"


_HOST = "images.cocodataset.org"
#: Sizes and hashes: TensorFlow Datasets' url_checksums/coco.txt. COCO publishes none.
_ANNOTATIONS = OfficialArchive(
    "annotations/annotations_trainval2017.zip",
    252907541,
    "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
)
_TEST_LISTS = OfficialArchive(
    "annotations/image_info_test2017.zip", 1144034, "e52f412dd7195ac8f98d782b44c6dd30ea10241e9f42521f67610fbe055a74f8"
)
IMAGES = {
    "val2017": OfficialArchive(
        "zips/val2017.zip", 815585330, "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05"
    ),
    "train2017": OfficialArchive(
        "zips/train2017.zip", 19336861798, "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929"
    ),
    "test-dev2017": OfficialArchive(
        "zips/test2017.zip", 6646970404, "c7908c3c9f94ba2f3340ebbeec58c25db6be8774f18d68c2f15d0e369d95baba"
    ),
}
#: test-dev is a part of the test images.
_DIRECTORIES = {"test-dev2017": "test2017"}


def find_annotations_archive(split: str) -> OfficialArchive:
    """Find the archive that holds a split's annotations or, where these are withheld, the list of its images."""
    return _ANNOTATIONS if is_labelled(split) else _TEST_LISTS


def name_annotations(split: str) -> str:
    """Name the file of a split's annotations or, where these are withheld, the list of its images."""
    return f"annotations/{'instances' if is_labelled(split) else 'image_info'}_{split}.json"


def describe_source(split: str) -> str:
    """Describe where the images of a split come from."""
    return IMAGES[split].describe() if split in IMAGES else "the images"


def find_annotations(root: Path, split: str) -> Path:
    """Find the annotation file of a split; of one whose annotations are withheld, the list of its images.

    Raises:
        ReproError: it is missing; says where to get it.
    """
    labelled = is_labelled(split)
    path = root / name_annotations(split)
    if not is_there(path):
        raise ReproError(
            f"no COCO {'annotations' if labelled else 'list of images'}: {path} is missing. Download "
            f"{find_annotations_archive(split).describe()} and unpack it in {root}, put {describe_source(split)} "
            "there, packed or unpacked, or name another directory with --data-root or REPRO_DATA."
        )
    return path


def find_images(root: Path, split: str) -> Path:
    """Find the directory of a split's images, or else the archive of that name, which need not be unpacked.

    Raises:
        ReproError: both are missing; says where to get it.
    """
    directory = root / _DIRECTORIES.get(split, split)
    archive = root / f"{directory.name}.zip"
    if is_directory(directory):
        return directory
    if is_there(archive):
        return archive
    raise ReproError(
        f"no COCO images: neither {directory}/ nor {archive} is there. Put {describe_source(split)} into {root}, "
        "unpacked or not; `repro data fetch coco` does it."
    )

"""The paper's data sets as a plan needs them: where they are, how large they are, what identifies them.

Imports no torch until ImageNet's or Kinetics' files have to be listed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic_core import from_json

from repro import paper
from repro.data.layout import ANNOTATIONS_SHA256, TRAINING_IMAGES, find_annotations, find_images
from repro.data.synsets import OFFICIAL
from repro.errors import ReproError
from repro.experiments import Experiment
from repro.files.places import is_directory, list_directory, read_state
from repro.files.regular_files import read_regular, sha256
from repro.records import cache_key

Split = Literal["train", "val"]
_LARGEST_LIST = 4 << 30  #: bytes of a file of annotations
SPLITS: tuple[Split, ...] = ("train", "val")


@dataclass(frozen=True)
class DataSource:
    """One of the three data sets."""

    directory: str  #: its name in a directory that holds several data sets
    validation: str  #: the validation split's name in the published tables and in records
    items: str  #: what it consists of, in words
    training_items: int  #: number of items of an epoch
    validation_items: int  #: number of items of the official list
    per_gpu: int  #: number of items of the paper's batch on each of its eight GPUs
    whole_copies: bool = True  #: whether there are copies that have all items


SOURCES: dict[str, DataSource] = {
    "coco": DataSource("coco", "coco-val2017", "images", TRAINING_IMAGES, 5000, per_gpu=2),
    "imagenet": DataSource("imagenet", "imagenet-val", "images", OFFICIAL["train"].images, 50000, per_gpu=64),
    # Numbers of rows of the official lists; no copy has all of the videos.
    "kinetics": DataSource("kinetics400", "kinetics-val", "videos", 246534, 19906, per_gpu=8, whole_copies=False),
}


def find_root(data_root: Path | None, dataset: str) -> Path:
    """Find the directory of a data set: `data_root` itself, or the one with the data set's name in it.

    Raises:
        ReproError: `data_root` is None.
    """
    if data_root is None:
        needs = paper.DATASETS[SOURCES[dataset].validation].needs
        raise ReproError(f"needs {needs}: pass --data-root DIR or set REPRO_DATA")
    own = data_root / SOURCES[dataset].directory
    return own if is_directory(own) else data_root


def identify_data(experiment: Experiment, data_root: Path | None, splits: Iterable[Split]) -> str:
    """Identify the full profile's data in cache keys: by the items that are there and their annotations.

    Raises:
        ReproError: there is no data set, or one without annotations.
    """
    directory = find_root(data_root, experiment.dataset)
    if experiment.dataset == "coco":
        paths = {f"{split}2017": find_annotations(directory, f"{split}2017") for split in splits}
        return cache_key(**{name: _hash_file(path, read_state(path).st_mtime_ns) for name, path in paths.items()})
    return cache_key(**{split: _list_items(experiment.dataset, directory, split)[0] for split in splits})


def count_items(dataset: str, directory: Path, split: Split) -> int:
    """Count the images or videos of a split that are on disk. COCO's that have no annotation are not counted.

    Raises:
        ReproError: there are no annotations, or no images.
    """
    if dataset != "coco":
        return _list_items(dataset, directory, split)[1]
    annotations = find_annotations(directory, f"{split}2017")
    return _count_images(annotations, read_state(annotations).st_mtime_ns, f"{split}2017")


def identify_official_data(dataset: str) -> str | None:
    """What `identify_data` gives for the official files of both splits; None where no hashes of them are known."""
    return cache_key(**ANNOTATIONS_SHA256) if dataset == "coco" else None


@cache
def _hash_file(path: Path, changed: int) -> str:
    """Hash a file that was last changed at `changed`: once, not for every experiment and seed."""
    return sha256(path)


@cache
def _count_images(annotations: Path, changed: int, split: str) -> int:
    """Count COCO's images of a split that are listed and there; of the training split those with an object.

    The official list, which takes seconds to read, is not read: all of it is there if as many files are.
    """
    place = find_images(annotations.parent.parent, split)
    names = {path.name for path in list_directory(place)} if is_directory(place) else _list_archived(place)
    if _hash_file(annotations, changed) == ANNOTATIONS_SHA256.get(split):
        return len(names)
    try:
        content = from_json(read_regular(annotations, _LARGEST_LIST))
        listed = {image["id"]: image["file_name"] for image in content.get("images", [])}
        objects = {annotation["image_id"] for annotation in content.get("annotations", [])}
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ReproError(f"{annotations} is no list of COCO's images: {error}") from None
    return sum(name in names and (id_ in objects or split != "train2017") for id_, name in listed.items())


def _list_archived(place: Path) -> set[str]:
    from repro.data.zip_archive import ZipArchive

    return {name.rpartition("/")[2] for name in ZipArchive(place).names}


@cache
def _list_items(dataset: str, directory: Path, split: Split) -> tuple[str, int]:
    """The hash of the list of items, more than a million, and how many are there: once, not for every experiment."""
    if dataset == "imagenet":
        from repro.data.imagenet import ImageNet

        images = ImageNet(directory, split)
        return images.annotations_sha256, len(images)
    if dataset == "kinetics":
        from repro.data.kinetics import Kinetics

        videos = Kinetics(directory, split)
        return cache_key(listed=videos.annotations_sha256, present=videos.ids_sha256), len(videos)
    raise ValueError(f"no listing of items is known for the data set {dataset!r}")

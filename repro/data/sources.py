"""The paper's data sets as a plan needs them: where they are, how large they are, what identifies them.

Imports no torch until ImageNet's or Kinetics' files have to be listed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from repro import paper
from repro.data.layout import ANNOTATIONS_SHA256, TRAINING_IMAGES, find_annotations
from repro.data.synsets import OFFICIAL
from repro.errors import ReproError
from repro.experiments import Experiment
from repro.files.places import is_directory, read_state
from repro.files.regular_files import sha256
from repro.records import cache_key

Split = Literal["train", "val"]
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


SOURCES: dict[str, DataSource] = {
    "coco": DataSource("coco", "coco-val2017", "images", TRAINING_IMAGES, 5000, per_gpu=2),
    "imagenet": DataSource("imagenet", "imagenet-val", "images", OFFICIAL["train"].images, 50000, per_gpu=64),
    # Numbers of rows of the official lists; no copy has all of the videos.
    "kinetics": DataSource("kinetics400", "kinetics-val", "videos", 246534, 19906, per_gpu=8),
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
    return cache_key(**{split: _hash_listing(experiment.dataset, directory, split) for split in splits})


def identify_official_data(dataset: str) -> str | None:
    """What `identify_data` gives for the official files of both splits; None where no hashes of them are known."""
    return cache_key(**ANNOTATIONS_SHA256) if dataset == "coco" else None


@cache
def _hash_file(path: Path, changed: int) -> str:
    """Hash a file that was last changed at `changed`: once, not for every experiment and seed."""
    return sha256(path)


@cache
def _hash_listing(dataset: str, directory: Path, split: Split) -> str:
    """Hash the list of items, more than a million: once, not for every experiment and seed."""
    if dataset == "imagenet":
        from repro.data.imagenet import ImageNet

        return ImageNet(directory, split).annotations_sha256
    if dataset == "kinetics":
        from repro.data.kinetics import Kinetics

        videos = Kinetics(directory, split)
        return cache_key(listed=videos.annotations_sha256, present=videos.ids_sha256)
    raise ValueError(f"no listing of items is known for the data set {dataset!r}")

"""One split of ILSVRC2012, or of a directory of the same layout, as input of a classifier."""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from repro.data import pictures
from repro.data.classification import Augmentation, ImageSample, prepare_evaluation_image, prepare_training_image
from repro.data.devkit import read_validation_classes
from repro.data.pictures import UndecodablePicture, UnreadableImage
from repro.data.sources import Split
from repro.data.storage import Directory, FileStorage, TarArchive
from repro.data.synsets import OFFICIAL, SOURCE, WNIDS
from repro.errors import ReproError
from repro.experiments import digest
from repro.experiments.preprocessing import Preprocessing
from repro.files.places import is_directory, is_there

_SUFFIXES = (".jpeg", ".jpg", ".png")


class ImageNet:
    """The images of a split with their classes. The first of three layouts that exists is read:

    - `<split>/<wnid>/*.JPEG`: a directory for each class, as for torchvision's ImageFolder. Classes and images may be
      missing.
    - `val/*.JPEG`: the unpacked validation archive, with the devkit, which tells the classes, beside it.
    - `ILSVRC2012_img_<split>.tar`: the official archive, not unpacked (that of "val" with the devkit).

    An image's id is its file's name without the suffix, so that it is the same in every layout; ids ascend. Labels are
    numbered by ascending wnid.

    Args:
        root: the directory that holds all this.
        split: "train" or "val".
        preprocessing: how an image is prepared in an evaluation.
        augmentation: how it is prepared in training.
        wnids: the classes' names in the order of their labels: those of ILSVRC2012, or of another data set in the first
            of the three layouts.
        keep: keep decoded training images in memory: a small data set is then decoded once, not in every epoch.

    Raises:
        ReproError: there is no image, an unknown class, an id twice or an archive cut short; says what to do.
    """

    def __init__(
        self,
        root: Path,
        split: Split,
        preprocessing: Preprocessing = Preprocessing(resize=256, crop=224),  # noqa: B008 frozen
        augmentation: Augmentation = Augmentation(),  # noqa: B008 frozen
        wnids: Sequence[str] = WNIDS,
        *,
        keep: bool = False,
    ) -> None:
        self.split = split
        self.preprocessing = preprocessing
        self.augmentation = augmentation
        self.wnids = tuple(wnids)
        self._decoded: dict[int, np.ndarray] | None = {} if keep else None
        self.place, self._files = _open_storage(root, split)
        entries, self._truth = _list_entries(self._files, self.place, root, split, self.wnids)
        self.ids = [image_id for image_id, _, _ in entries]
        self.labels = np.array([label for _, label, _ in entries], dtype=np.int64)
        self._index = np.array([index for _, _, index in entries], dtype=np.int32)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def missing(self) -> list[str]:
        """Ids of images that belong to the split and are not there, as far as the devkit tells (those of "val")."""
        return sorted(self._truth.keys() - set(self.ids))

    @property
    def required(self) -> int:
        """The number of images of the split: the official one, if the classes are ILSVRC2012's."""
        return OFFICIAL[self.split].images if self.wnids == WNIDS else len(self)

    @cached_property
    def ids_sha256(self) -> str:
        """The hash of `ids`."""
        return digest(self.ids)

    @cached_property
    def annotations_sha256(self) -> str:
        """The hash of the ids with their synsets, which are taken for the truth."""
        return digest([[image_id, self.wnids[label]] for image_id, label in zip(self.ids, self.labels, strict=True)])

    def sample(self, index: int, *, seed: int = 0, epoch: int = 0, train: bool = False) -> ImageSample:
        """Load the image at `index` of `ids`: augmented in training, else resized and cropped as `preprocessing` says.

        What is random is a function of (seed, epoch, index) alone, so that it does not depend on how many processes
        load the data or on where a run was resumed.

        Raises:
            UnreadableImage: the file is missing or damaged.
        """
        image_id, label = self.ids[index], int(self.labels[index])
        try:
            if not train:
                picture = pictures.decode_image(self.read_file(index))
                return ImageSample(prepare_evaluation_image(picture, self.preprocessing), image_id, label)
            image = torch.from_numpy(self._decode_pixels(index)).permute(2, 0, 1)
        except UndecodablePicture as error:
            raise self.describe_corrupt(index, error) from None
        generator = np.random.default_rng([seed, epoch, index])
        square, color = prepare_training_image(image, self.augmentation, generator)
        return ImageSample(square, image_id, label, color)

    def _decode_pixels(self, index: int) -> np.ndarray:
        """uint8 (H, W, 3), which is not to be changed: it may be kept."""
        if self._decoded is None:
            return pictures.decode_pixels(self.read_file(index))
        if index not in self._decoded:
            self._decoded[index] = pictures.decode_pixels(self.read_file(index))
        return self._decoded[index]

    def check(self, index: int) -> None:
        """Decode an image.

        Raises:
            UnreadableImage: the file is missing or damaged.
        """
        try:
            pictures.decode_image(self.read_file(index))
        except UndecodablePicture as error:
            raise self.describe_corrupt(index, error) from None

    def read_file(self, index: int) -> bytes:
        """The file of an image.

        Raises:
            UnreadableImage: it is missing, or cannot be read.
        """
        image_id = self.ids[index]
        try:
            return self._files.read(self._index[index], pictures.MOST_BYTES, f"image {image_id}:")
        except ReproError as error:
            raise UnreadableImage(image_id, str(error)) from None

    def describe_corrupt(self, index: int, error: UndecodablePicture) -> UnreadableImage:
        """What to say of an image that cannot be decoded."""
        where = self._files.describe_place(self._index[index])
        return UnreadableImage(
            self.ids[index], f"image {self.ids[index]}: {where} is corrupt: {error}. Unpack or download it again."
        )


def _open_storage(root: Path, split: Split) -> tuple[Path, FileStorage]:
    """The place of a split's images, opened for reading."""
    directory, archive = root / split, root / OFFICIAL[split].archive
    if is_directory(directory):
        return directory, Directory(directory)
    if is_there(archive):
        return archive, TarArchive(archive)
    raise ReproError(
        f"no ImageNet images: neither {directory}/ nor {archive} is there. {SOURCE}. Name another directory with "
        "--data-root or REPRO_DATA."
    )


def _iterate_images(files: FileStorage) -> Iterator[tuple[int, str, str]]:
    """(number in `files`, directory, name without suffix) of each image."""
    for index, name in enumerate(files.names):
        directory, _, file = name.rpartition("/")
        stem, suffix = os.path.splitext(file)
        if suffix.lower() in _SUFFIXES:
            yield index, directory, stem


def _list_entries(
    files: FileStorage, place: Path, root: Path, split: Split, wnids: tuple[str, ...]
) -> tuple[list[tuple[str, int, int]], dict[str, str]]:
    """(id, label, number in `files`) of each image, by id; and {id: wnid} of all that should be there, if known."""
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    flat = [stem for _, directory, stem in _iterate_images(files) if not directory]
    truth: dict[str, str] = {}
    if flat:
        if split == "train" or any(directory for _, directory, _ in _iterate_images(files)):
            raise ReproError(f"{place}: {flat[0]} is in no directory of a class, and there is no telling what it shows")
        truth = read_validation_classes(root, wnids)
    entries = []
    for index, directory, stem in _iterate_images(files):
        wnid = truth.get(stem) if flat else directory
        if wnid not in label_of:
            known = "the devkit's images" if flat else f"the {len(wnids)} classes"
            raise ReproError(f"{place}: {stem if flat else directory} is none of {known}: this is another data set")
        entries.append((stem, label_of[wnid], index))
    entries.sort()
    if not entries:
        raise ReproError(f"{place} holds no image ({', '.join(_SUFFIXES)}). {SOURCE}.")
    for (image_id, _, first), (next_id, _, second) in pairwise(entries):
        if image_id == next_id:
            raise ReproError(f"{place}: {files.names[first]} and {files.names[second]} have the same id, {image_id}")
    return entries, truth

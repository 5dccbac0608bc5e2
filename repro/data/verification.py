"""Verification that a data set on disk is the official one, complete and readable: what `repro data verify` prints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from repro.data.annotations import AnnotatedImage, read_annotations
from repro.data.coco import explain_size
from repro.data.devkit import read_validation_classes
from repro.data.image_files import ImageFiles
from repro.data.imagenet import ImageNet, Split
from repro.data.layout import find_annotations, find_images
from repro.data.pictures import MOST_BYTES, UnreadableImage, decode_upright
from repro.data.synsets import DEVKIT, DEVKIT_MD5, OFFICIAL, WNIDS
from repro.errors import ReproError
from repro.experiments import digest
from repro.files.places import is_file, is_there, read_state
from repro.files.regular_files import hash_file

#: Called with the number of images that have been decoded and of all images.
Progress = Callable[[int, int], None]

#: Numbers of images and objects of COCO 2017's splits, and of the categories that both have.
_COCO = {"train2017": (118_287, 860_001), "val2017": (5_000, 36_781)}
_COCO_CATEGORIES = 80


@dataclass
class DataReport:
    """The result of verifying a split. The split is verified if there is no problem."""

    split: str
    place: str = ""
    items: str = "images"  #: what the split consists of, in words
    images: int = 0  #: number of images, or videos, that are there
    required: int = 0  #: number in the official split
    classes: int = 0  #: number of classes that have an image
    ids_sha256: str = ""
    annotations_sha256: str = ""
    missing: list[str] = field(default_factory=list)  #: files or ids that are known to belong to the split
    unreadable: list[str] = field(default_factory=list)  #: ids of images that could not be decoded
    reasons: list[str] = field(default_factory=list)  #: why, in the order of `unreadable`
    decoded: bool = False  #: whether every image was decoded
    problems: list[str] = field(default_factory=list)  #: in words


def verify_imagenet(root: Path, split: Split, *, decode: bool, progress: Progress) -> DataReport:
    """Verify counts, synsets, classes against the devkit, sizes and hashes of archives; with `decode`, all images."""
    report = DataReport(split, required=OFFICIAL[split].images)
    try:
        data = ImageNet(root, split)
        present = {WNIDS[label] for label in data.labels}
        truth = _read_truth(root, split)
    except ReproError as error:
        report.problems.append(str(error))
        return report
    report.place, report.images, report.classes = str(data.place), len(data), len(present)
    report.ids_sha256, report.annotations_sha256 = data.ids_sha256, data.annotations_sha256
    report.missing = sorted(truth.keys() - set(data.ids))
    if report.images != report.required:
        report.problems.append(f"{report.images} images, the official split has {report.required}")
    if absent := [wnid for wnid in WNIDS if wnid not in present]:
        report.problems.append(f"{abbreviate(absent)} of {len(WNIDS)} classes without an image")
    wrong = [
        image_id
        for image_id, label in zip(data.ids, data.labels, strict=True)
        if truth.get(image_id) not in (None, WNIDS[label])
    ]
    if wrong:
        report.problems.append(f"{abbreviate(wrong)} in the directory of a class that the devkit does not give them")
    if is_file(data.place) and (size := read_state(data.place).st_size) != OFFICIAL[split].size:
        report.problems.append(f"{data.place} has {size} bytes, the official archive {OFFICIAL[split].size}")
    archive = root / f"{DEVKIT}.tar.gz"
    if truth and hash_file(archive).md5 != DEVKIT_MD5:
        report.problems.append(f"{archive} is not the official devkit: its md5 is not {DEVKIT_MD5}")
    if decode:
        decode_all(report, _name_unreadable(data.check), range(len(data)), progress)
    return conclude(report)


def verify_coco(root: Path, split: str, *, decode: bool, progress: Progress) -> DataReport:
    """Verify counts and that every annotated image is there; with `decode`, that it can be read and has its size."""
    images, objects = _COCO[split]
    report = DataReport(split, required=images)
    try:
        annotations, files = read_annotations(find_annotations(root, split)), ImageFiles(find_images(root, split))
        paths = files.find_all({image.id: image.file_name for image in annotations.images.values()})
    except ReproError as error:
        report.problems.append(str(error))
        return report
    report.place, report.ids_sha256 = str(files.place), digest(list(annotations.images))
    report.annotations_sha256 = annotations.sha256
    known = list(annotations.images.values())
    report.missing = [image.file_name for image in known if paths[image.id] is None]
    report.images = len(known) - len(report.missing)
    annotated = [annotation for of_image in annotations.objects.values() for annotation in of_image]
    report.classes = len({annotation.category_id for annotation in annotated})
    if len(known) != images:
        report.problems.append(f"{len(known)} images are annotated, in the official split {images}")
    if len(annotated) != objects:
        report.problems.append(f"{len(annotated)} objects are annotated, in the official split {objects}")
    if len(annotations.category_ids) != _COCO_CATEGORIES:
        report.problems.append(f"{len(annotations.category_ids)} categories, COCO has {_COCO_CATEGORIES}")
    if decode:
        there = [(files, path, image) for image in known if (path := paths[image.id]) is not None]
        decode_all(report, _name_unreadable(lambda item: _check_image(*item)), there, progress)
    return conclude(report)


def _read_truth(root: Path, split: Split) -> dict[str, str]:
    """{id: wnid} by the devkit, if it is there."""
    there = is_there(root / f"{DEVKIT}.tar.gz")
    return read_validation_classes(root, WNIDS) if split == "val" and there else {}


def _check_image(files: ImageFiles, path: str, image: AnnotatedImage) -> None:
    place = files.describe_place(path)
    try:
        content = files.read(path, MOST_BYTES, "image")
    except ReproError as error:
        raise UnreadableImage(image.file_name, str(error)) from None
    size = decode_upright(content, image.file_name, place).size
    if size != (image.width, image.height):
        raise UnreadableImage(
            image.file_name,
            f"image {place} has {size} pixels (width, height), the annotations say "
            f"{(image.width, image.height)}: it {explain_size(size, image)}",
        )


def _name_unreadable(check: Callable) -> Callable[[object], tuple[str, str] | None]:
    """A function that returns the id of an image that cannot be read, and why, where `check` raises an error."""

    def name_unreadable(image: object) -> tuple[str, str] | None:
        try:
            check(image)
        except UnreadableImage as error:
            return error.image_id, str(error)
        return None

    return name_unreadable


def decode_all(
    report: DataReport, failure: Callable[..., tuple[str, str] | None], items: Iterable, progress: Progress
) -> None:
    """Decode all of `items` on as many threads as there are processors: decoders release the interpreter's lock.

    Args:
        failure: called with each item; returns the id of one that cannot be read, and why.
    """
    items = list(items)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, failed in enumerate(pool.map(failure, items), 1):
            if failed is not None:
                report.unreadable.append(failed[0])
                report.reasons.append(failed[1])
            progress(done, len(items))
    report.decoded = True


def conclude(report: DataReport) -> DataReport:
    """Add missing and unreadable items to the problems."""
    if report.missing:
        report.problems.append(f"missing: {abbreviate(report.missing)}")
    if report.unreadable:
        report.problems.append(f"unreadable: {abbreviate(report.unreadable)}")
    return report


def abbreviate(names: list[str]) -> str:
    """List the first three names after their number.

    >>> abbreviate(["a", "b", "c", "d"])
    '4 (a, b, c, ...)'
    """
    return f"{len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"

"""COCO's official files, fetched into the layout in which they are read. ImageNet's and Kinetics' cannot be fetched so:
the ones need a login, the others are a thousand archives that lack videos."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from repro.checkpoints.download import fetch
from repro.data.layout import (
    ANNOTATIONS_SHA256,
    IMAGES,
    OfficialArchive,
    find_annotations_archive,
    find_images,
    name_annotations,
)
from repro.data.zip_archive import ZipArchive
from repro.errors import ReproError
from repro.files.places import is_directory, is_there, read_state
from repro.files.regular_files import sha256
from repro.paths import unwritable, write_atomically

#: Called with what is being done, how many bytes are done, and how many there are.
Progress = Callable[[str, int, int | None], None]
_LARGEST_LIST = 4 << 30  #: bytes of a file of annotations
_LARGEST_IMAGE = 2**28  #: bytes
_DOWNLOADS = ".downloads"  #: below the data set's directory: no second disk is filled


def fetch_coco(root: Path, splits: list[str], progress: Progress, *, unpack: bool = False) -> Iterator[str]:
    """Fetch images and annotations of `splits` into `root`; say what became of each file, in a line.

    What is there and right stays. Archives of images are read as they are; those of annotations are unpacked. A
    download that is interrupted goes on with the next call.

    Args:
        splits: "train2017", "val2017" or "test-dev2017".
        unpack: also unpack the images, which takes as much room again.

    Raises:
        ReproError: a file cannot be fetched, is there but another one, or cannot be written.
    """
    missing = [split for split in splits if not _has_annotations(root, split)]
    for archive in dict.fromkeys(map(find_annotations_archive, missing)):
        here = _bring(root, archive, progress)
        packed = ZipArchive(here)
        for split in (split for split in missing if find_annotations_archive(split) == archive):
            name = name_annotations(split)
            if name not in packed.names:
                raise ReproError(f"{here} has no {name}")
            write_atomically(root / name, packed.read(packed.names.index(name), _LARGEST_LIST, "the annotations"))
            yield f"{root / name}: unpacked from {archive.name}"
        here.unlink()
    yield from (f"{root / name_annotations(split)}: was there" for split in splits if split not in missing)
    for split in splits:
        archive, there = IMAGES[split], is_there(root / IMAGES[split].name)
        directory = root / archive.name.removesuffix(".zip")
        if is_directory(directory):
            yield f"{find_images(root, split)}: was there; `repro data verify coco` checks it"
            continue
        here = _bring(root, archive, progress)
        if unpack:
            yield f"{directory}: {_unpack(here, directory, progress)} files unpacked from {archive.name}"
        else:
            yield f"{here}: {'was there' if there else 'fetched'}; it is read as it is"


def _has_annotations(root: Path, split: str) -> bool:
    path = root / name_annotations(split)
    if not is_there(path):
        return False
    wanted = ANNOTATIONS_SHA256.get(split)
    if wanted and sha256(path) != wanted:
        raise ReproError(f"{path} is not the official file: its sha256 does not begin with {wanted[:8]}. Move it away.")
    return True


def _bring(root: Path, archive: OfficialArchive, progress: Progress) -> Path:
    """The whole archive in `root`."""
    path = root / archive.name
    if is_there(path):
        if read_state(path).st_size != archive.size or sha256(path) != archive.sha256:
            raise ReproError(f"{path} is not the official archive: its size or its sha256 is another. Move it away.")
        return path
    fetched = fetch(
        archive.urls,
        name=archive.name,
        sha256=archive.sha256,
        size=archive.size,
        directory=root / _DOWNLOADS,
        progress=lambda done, total: progress(archive.name, done, total),
    )
    try:
        os.replace(fetched.path, path)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def _unpack(path: Path, directory: Path, progress: Progress) -> int:
    """Unpack images beside their place first, so that a directory of this name has all of them. How many they are."""
    archive, begun = ZipArchive(path), directory.with_name(f".{directory.name}.unpacking")
    prefix = f"{directory.name}/"
    for index, name in enumerate(archive.names):
        inner = Path(name.removeprefix(prefix))
        if inner.is_absolute() or ".." in inner.parts:
            raise ReproError(f"{path}: {name} leads out of the directory")
        if not is_there(begun / inner):  # an interrupted one may have written it, whole
            write_atomically(begun / inner, archive.read(index, _LARGEST_IMAGE, "image"))
        progress(f"unpacking {path.name}", index + 1, len(archive.names))
    try:
        os.replace(begun, directory)
    except OSError as error:
        raise unwritable(directory, error) from error
    return len(archive.names)

"""The images of a COCO-format split, in a directory or a zip archive, found by the names in the annotations."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from repro.data.zip_archive import ZipArchive
from repro.errors import ReproError
from repro.files.regular_files import read_regular


class ImageFiles:
    """The files below a directory of images, or in an archive of it. Each directory is listed once, no file is opened.

    Args:
        place: the directory of a split's images, such as `val2017`, or `val2017.zip`, whose names may begin with
            `val2017/`.

    Raises:
        ReproError: it cannot be listed, or is no archive.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._listings: dict[str, set[str]] = {}
        self._spellings: dict[str, dict[str, list[str]]] = {}
        self._archive: ZipArchive | None = None
        self._numbers: dict[str, int] = {}  #: in the archive, by the path
        if place.suffix == ".zip":
            self._archive = ZipArchive(place)
            self._list_archive(self._archive.names)
        self._list("")

    def read(self, path: str, limit: int, what: str) -> bytes:
        """Read the file of this path, which `find` gave.

        Args:
            limit: bytes that such a file has at most.
            what: what it is, for messages.

        Raises:
            ReproError: it cannot be read, or has more than `limit` bytes.
        """
        if self._archive is None:
            return read_regular(self.place / path, limit, what)
        return self._archive.read(self._numbers[path], limit, what)

    def describe_place(self, path: str) -> str:
        """Describe the place of a file in words, for messages."""
        return str(self.place / path) if self._archive is None else self._archive.describe_place(self._numbers[path])

    def find(self, name: str) -> str | None:
        """Find a file by its name in the annotations: its path relative to `place`; None where it is not there.

        The name is relative to `place` or, beginning with the name of `place`, to the directory that holds it. Of a
        letter with an accent, which Unicode spells in two ways, either spelling is found: macOS and some archives
        change one to the other.

        Raises:
            ReproError: the name is of two files, which differ in the spelling of such letters, and is spelled like
                neither; or a directory cannot be listed.
        """
        if name in self._list(""):
            return name
        parts = PurePosixPath(name).parts
        found = self._descend(parts)
        if found is None and len(parts) > 1 and parts[0] == self._name:
            found = self._descend(parts[1:])
        return found

    def find_all(self, names: Mapping[int, str]) -> dict[int, str | None]:
        """Find the files of all images, as `find` does one, by the images' ids.

        Raises:
            ReproError: as `find`; or two images name one file, each in another way.
        """
        paths = {image_id: self.find(name) for image_id, name in names.items()}
        image_of: dict[str, int] = {}
        for image_id, path in paths.items():
            if path is not None and (other := image_of.setdefault(path, image_id)) != image_id:
                raise ReproError(
                    f"the images {other} ({names[other]!r}) and {image_id} ({names[image_id]!r}) of the annotations "
                    f"are one file: {self.describe_place(path)}. Remove one of them, or give each its own."
                )
        return paths

    @property
    def _name(self) -> str:
        return self.place.name if self._archive is None else self.place.stem

    def _list_archive(self, names: list[str]) -> None:
        prefix = f"{self._name}/"
        for number, name in enumerate(names):
            path = name.removeprefix(prefix)
            self._numbers[path] = number
            parent, _, entry = path.rpartition("/")
            self._listings.setdefault(parent, set()).add(entry)
            while parent:
                parent, _, entry = parent.rpartition("/")
                self._listings.setdefault(parent, set()).add(entry)
        self._listings.setdefault("", set())

    def _descend(self, parts: tuple[str, ...]) -> str | None:
        path = ""
        for part in parts:
            entry = self._find_entry(path, part)
            if entry is None:
                return None
            path = f"{path}/{entry}" if path else entry
        return path

    def _find_entry(self, place: str, name: str) -> str | None:
        """The entry of the directory `place` with that name, however it is spelled."""
        entries = self._list(place)
        if name in entries:
            return name
        if place not in self._spellings:
            spellings = self._spellings[place] = {}
            for entry in entries:
                spellings.setdefault(unicodedata.normalize("NFC", entry), []).append(entry)
        found = self._spellings[place].get(unicodedata.normalize("NFC", name), [])
        if len(found) > 1:
            raise ReproError(
                f"{self.place / place}: {name!r} is {' and '.join(map(ascii, sorted(found)))}, which differ in how "
                "letters with accents are spelled. Delete or rename one."
            )
        return found[0] if found else None

    def _list(self, place: str) -> set[str]:
        if place not in self._listings:
            directory = self.place / place
            if self._archive is not None:
                return set()
            try:
                self._listings[place] = set(os.listdir(directory))
            except OSError as error:
                if not place or not isinstance(error, FileNotFoundError | NotADirectoryError):
                    raise ReproError(f"{directory} cannot be listed: {error.strerror}") from None
                self._listings[place] = set()
        return self._listings[place]

"""The files of a COCO-format directory of images, found by the names that annotations give them."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PurePosixPath

from repro.errors import ReproError


class ImageFiles:
    """The files below a directory of images. Each directory is listed once, and no file is opened.

    Args:
        directory: that of a split's images.

    Raises:
        ReproError: it cannot be listed.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._listings: dict[str, set[str]] = {}
        self._spellings: dict[str, dict[str, list[str]]] = {}
        self._list("")

    def find(self, name: str) -> str | None:
        """Find a file by its name in the annotations: its path relative to `directory`; None where it is not there.

        The name is relative to `directory` or, beginning with the name of `directory`, to the one that holds it. Of a
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
        if found is None and len(parts) > 1 and parts[0] == self.directory.name:
            found = self._descend(parts[1:])
        return found

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
                f"{self.directory / place}: {name!r} is {' and '.join(map(ascii, sorted(found)))}, which differ in how "
                "letters with accents are spelled. Delete or rename one."
            )
        return found[0] if found else None

    def _list(self, place: str) -> set[str]:
        if place not in self._listings:
            directory = self.directory / place
            try:
                self._listings[place] = set(os.listdir(directory))
            except OSError as error:
                if not place or not isinstance(error, FileNotFoundError | NotADirectoryError):
                    raise ReproError(f"{directory} cannot be listed: {error.strerror}") from None
                self._listings[place] = set()
        return self._listings[place]

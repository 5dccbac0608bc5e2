"""A directory of records: JSON files, sealed, atomically written, never changed."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from repro.errors import ReproError
from repro.files.schema import FrozenModel, describe_violation
from repro.paths import write_atomically
from repro.records.declared_seeds import DeclaredSeeds, TrainedAlike
from repro.records.record import Count, Record


class Store:
    """A directory of records. Writing never changes an existing record; reading names the file that is damaged."""

    def __init__(self, directory: Path):
        self.directory = directory

    def add(self, record: Record) -> Path:
        """Write `record`. The same measurement again replaces nothing: the first record of a key stands."""
        path = self.directory / record.filename
        if not path.exists():
            write_atomically(path, _sealed((record.model_dump_json(indent=1) + "\n").encode()))
        return path

    def all(self) -> list[Record]:
        """Every record, ordered by file name.

        Raises:
            ReproError: a file is not a whole, valid record, or not as it was written; it is named and left as it is.
        """
        return list(self.files().values())

    def files(self) -> dict[str, Record]:
        """As `all`, by the name of the file."""
        return {path.name: read(path) for path in self._files(self.directory)}

    @staticmethod
    def _files(directory: Path) -> list[Path]:
        if not directory.exists() and not directory.parent.is_file():
            return []
        try:
            return sorted(directory / name for name in os.listdir(directory) if name.endswith(".json"))
        except OSError as error:
            raise ReproError(f"records cannot be listed: {directory}: {error.strerror}. Check --results.") from None

    def add_count(self, count: Count) -> Path:
        """Write a complexity count. Counting is deterministic, so a count of the same specification is replaced."""
        path = self.directory / "complexity" / count.filename
        write_atomically(path, _sealed((count.model_dump_json(indent=1) + "\n").encode()))
        return path

    def counts(self) -> dict[str, Count]:
        """Every complexity count by spec hash, in the order of the file names.

        One without a seal is none: nothing tells whether it was edited, and counting it again is a matter of seconds.
        """
        paths = self._files(self.directory / "complexity")
        contents = ((path, _read_bytes(path)) for path in paths)
        counts = (_parse(path, content, Count) for path, content in contents if _SEAL.search(content))
        return {count.spec_hash: count for count in counts}

    def declare_seeds(self, declared: DeclaredSeeds) -> Path:
        """Write down how many seeds of an experiment will be run. What was declared before stays."""
        path = self.directory / "seeds" / declared.filename
        if not path.exists():
            write_atomically(path, _sealed((declared.model_dump_json(indent=1) + "\n").encode()))
        return path

    def declared_seeds(self) -> dict[TrainedAlike, int]:
        """The largest number of seeds that was declared for an experiment."""
        largest: dict[TrainedAlike, int] = {}
        for path in self._files(self.directory / "seeds"):
            declared = _read(path, DeclaredSeeds)
            largest[declared.of] = max(declared.seeds, largest.get(declared.of, 0))
        return largest


def read(path: Path) -> Record:
    """The record in one file.

    Raises:
        ReproError: as `Store.all`.
    """
    return _read(path, Record)


_Model = TypeVar("_Model", bound=FrozenModel)
_REMEDY = "Delete it to have it measured again, or restore it from a backup; the other records are untouched."
#: The last key of a file: the sha256 of the file without it. Older records have none.
_SEAL = re.compile(rb',\s*"content_sha256":\s*"([0-9a-f]{64})"')


def _sealed(content: bytes) -> bytes:
    return content.removesuffix(b"\n}\n") + b',\n "content_sha256": "%s"\n}\n' % _sha256(content)


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _read(path: Path, model: type[_Model]) -> _Model:
    return _parse(path, _read_bytes(path), model)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReproError(f"record {path} cannot be read: {error.strerror}. {_REMEDY}") from None


def _parse(path: Path, content: bytes, model: type[_Model]) -> _Model:
    seal = _SEAL.search(content)
    if seal:
        content = content[: seal.start()] + content[seal.end() :]
    try:
        parsed = model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            reason = first["ctx"]["error"]
            raise ReproError(f"record {path} is damaged (not whole JSON: {reason}). {_REMEDY}") from None
        raise ReproError(f"record {path} is not a valid record: {describe_violation(error)}. {_REMEDY}") from None
    if seal and _sha256(content) != seal[1]:
        raise ReproError(f"record {path} was changed after it was written: its content_sha256 is another. {_REMEDY}")
    return parsed

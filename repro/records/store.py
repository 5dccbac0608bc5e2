"""A directory of records: JSON files, sealed, atomically written, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from repro.errors import ReproError
from repro.files.places import is_there, list_directory
from repro.files.schema import FiniteModel
from repro.files.seals import OtherVersionError, has_seal, parse_sealed, read_sealable, read_sealed, seal
from repro.paths import REFERENCE, write_atomically
from repro.records.declared_seeds import DeclaredSeeds, TrainedAlike
from repro.records.record import Count, Record

_Stored = TypeVar("_Stored", bound=FiniteModel)


@dataclass(frozen=True)
class ForeignFile:
    """A file of a store of which this version can say nothing, though nothing need be wrong with it."""

    file: str  #: its name, or `seeds/NAME` or `complexity/NAME`
    reason: str

    def __str__(self) -> str:
        return f"record {self.file}: {self.reason}"


@dataclass(frozen=True)
class StoreContents:
    """What a store holds: records by the names of their files, declared numbers of seeds, and foreign files."""

    records: Mapping[str, Record]
    declared: Mapping[TrainedAlike, int]
    foreign: tuple[ForeignFile, ...]


class Store:
    """A directory of records. Writing never changes an existing record; reading names the file that is damaged."""

    def __init__(self, directory: Path):
        self.directory = directory

    def add(self, record: Record) -> Path:
        """Write `record`. The same measurement again replaces nothing: the first record of a key stands."""
        path = self.directory / record.filename
        if not is_there(path):
            write_atomically(path, seal(record))
        return path

    def read(self) -> StoreContents:
        """Read the records and the declared numbers of seeds; what another version wrote is foreign, counts as well.

        Raises:
            ReproError: as `all`.
        """
        records, foreign = self._read_all(self.directory, Record, "record")
        declarations, others = self._read_all(self.directory / "seeds", DeclaredSeeds, "declaration of seeds")
        largest: dict[TrainedAlike, int] = {}
        for one in declarations.values():
            largest[one.of] = max(one.seeds, largest.get(one.of, 0))
        named = (ForeignFile(f"seeds/{one.file}", one.reason) for one in others)
        return StoreContents(records, largest, (*foreign, *named, *self._find_foreign_counts()))

    def all(self) -> list[Record]:
        """Every record of this version's form, ordered by file name.

        Raises:
            ReproError: a file is not a whole, valid record, or not as it was written; it is named and left as it is.
        """
        return list(self.files().values())

    def files(self) -> dict[str, Record]:
        """As `all`, by the name of the file."""
        return self._read_all(self.directory, Record, "record")[0]

    def _read_all(
        self, directory: Path, model: type[_Stored], kind: str
    ) -> tuple[dict[str, _Stored], list[ForeignFile]]:
        known, foreign = {}, []
        for path in self._files(directory):
            try:
                known[path.name] = read_sealed(path, model, kind, _REMEDY)
            except OtherVersionError as error:
                foreign.append(ForeignFile(path.name, error.reason))
        return known, foreign

    @staticmethod
    def _files(directory: Path) -> list[Path]:
        try:
            listed = list_directory(directory)  # hidden ones are other programs': `._NAME.json` of macOS
            return [path for path in listed if path.name.endswith(".json") and not path.name.startswith(".")]
        except ReproError as error:
            raise ReproError(f"records cannot be listed: {error} Check --results.") from None

    def add_count(self, count: Count) -> Path:
        """Write a complexity count. Counting is deterministic, so a count of the same specification is replaced."""
        path = self.directory / "complexity" / count.filename
        write_atomically(path, seal(count))
        return path

    def counts(self) -> dict[str, Count]:
        """Every complexity count by spec hash, in the order of the file names.

        One without a seal is none: nothing tells whether it was edited, and counting it again is a matter of seconds.
        One of another version is none either; `read` names it as foreign.
        """
        counts = {}
        for path in self._files(self.directory / "complexity"):
            content = read_sealable(path, "count")
            with suppress(OtherVersionError):
                if has_seal(content):
                    count = parse_sealed(content, Count, "count", path, _REMEDY)
                    if path.name != count.filename:  # of two counts of one network none would be preferred
                        raise ReproError(f"count {path} is not that of its name: it is {count.filename}. {_REMEDY}")
                    counts[count.spec_hash] = count
        return counts

    def _find_foreign_counts(self) -> list[ForeignFile]:
        """Find the counts of another version. What else may be wrong with a count is said where counts are needed."""
        foreign = []
        for path in self._files(self.directory / "complexity"):
            try:
                read_sealed(path, Count, "count", _REMEDY)
            except OtherVersionError as error:
                foreign.append(ForeignFile(f"complexity/{path.name}", error.reason))
            except ReproError:
                continue
        return foreign

    def declare_seeds(self, declared: DeclaredSeeds) -> Path:
        """Write down how many seeds of an experiment will be run. What was declared before stays."""
        path = self.directory / "seeds" / declared.filename
        if not is_there(path):
            write_atomically(path, seal(declared))
        return path


def open_results(results: Path, *, may_be_absent: bool = False) -> Store:
    """The store of a directory of results, for a verb that only reads it. Where no record is in it, it is empty.

    Args:
        may_be_absent: whether a directory that does not exist is as good as an empty one.

    Raises:
        ReproError: there is no such directory, or it is the one of the records themselves.
    """
    store = Store(results / "records")
    if is_there(store.directory) or (may_be_absent and not is_there(results)):
        return store
    if not is_there(results):
        raise ReproError(
            f"there is no directory {results}, so nothing was measured there. Check --results and the directory that "
            f"this command is run in. `repro reproduce --table N` makes a directory of results; the "
            f"committed records are in {REFERENCE}."
        )
    if any(_is_record(path.name) for path in list_directory(results)):
        raise ReproError(
            f"{results} holds records, and no directory records/. Name the directory that it is in: a directory of "
            "results has its records in records/."
        )
    return store


def _is_record(name: str) -> bool:
    return name.endswith(".json") and any(f".{source}.seed" in name for source in ("trained", "checkpoint"))


def read(path: Path) -> Record:
    """The record in one file.

    Raises:
        ReproError: as `Store.all`.
    """
    return read_sealed(path, Record, "record", _REMEDY)


_REMEDY = "Delete it to have it measured again, or restore it from a backup; the other records are untouched."

"""A directory of records: JSON files, sealed, atomically written, never changed."""

from __future__ import annotations

from pathlib import Path

from repro.errors import ReproError
from repro.files.places import is_there, list_directory
from repro.files.seals import has_seal, parse_sealed, read_sealable, read_sealed, seal
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
        if not is_there(path):
            write_atomically(path, seal(record))
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
        try:
            return [path for path in list_directory(directory) if path.name.endswith(".json")]
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
        """
        paths = self._files(self.directory / "complexity")
        contents = ((path, read_sealable(path, "count")) for path in paths)
        counts = (parse_sealed(file, Count, "count", path, _REMEDY) for path, file in contents if has_seal(file))
        return {count.spec_hash: count for count in counts}

    def declare_seeds(self, declared: DeclaredSeeds) -> Path:
        """Write down how many seeds of an experiment will be run. What was declared before stays."""
        path = self.directory / "seeds" / declared.filename
        if not is_there(path):
            write_atomically(path, seal(declared))
        return path

    def declared_seeds(self) -> dict[TrainedAlike, int]:
        """The largest number of seeds that was declared for an experiment."""
        largest: dict[TrainedAlike, int] = {}
        for path in self._files(self.directory / "seeds"):
            declared = read_sealed(path, DeclaredSeeds, "declaration of seeds", _REMEDY)
            largest[declared.of] = max(declared.seeds, largest.get(declared.of, 0))
        return largest


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
            "this command is run in. `repro reproduce --table N` makes a directory of results; a checkout of the "
            "repository has one in tables/reference."
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

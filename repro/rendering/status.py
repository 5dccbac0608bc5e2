"""The status of a store: what is verified, what was measured, and what could come next. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from repro import paper
from repro.checkpoints import registry
from repro.errors import ReproError
from repro.experiments import EXPERIMENTS, mini, readings
from repro.files.printable import join_words
from repro.paper import COLUMNS, Table
from repro.records import Record, Store
from repro.settings import describe_place
from repro.verification.coverage import Coverage
from repro.verification.judgement import verify_all
from repro.verification.verdicts import Verdict, Verification, Verified

TASKS = {"coco": "COCO", "imagenet": "ImageNet", "kinetics": "Kinetics-400"}


@dataclass(frozen=True)
class TableStatus:
    """How many cells of one table have which verdict."""

    table: int
    cells: int
    verdicts: Mapping[Verdict, int]


@dataclass(frozen=True)
class Holding:
    """The records that a store has for one task."""

    task: str
    experiments: int
    full: int  #: current records of the full profile
    measured: int  #: how many experiments those measure
    mini: int  #: current records of the mini profile
    mini_measured: int
    stale: int
    unused: int  #: replaced by later ones
    readings: int  #: of the current records of both profiles, those of another reading than the default


@dataclass(frozen=True)
class NextStep:
    """Something to do, and the command that does it."""

    what: str
    command: str


@dataclass(frozen=True)
class Status:
    """What `repro status` tells."""

    coverage: tuple[TableStatus, ...]
    holdings: tuple[Holding, ...]
    wrong: tuple[str, ...]
    foreign: tuple[str, ...]  #: files of which this version can say nothing
    next: tuple[NextStep, ...]

    def as_dict(self) -> dict[str, object]:
        """The fields for JSON."""
        return asdict(self)


def build_status(store: Store) -> Status:
    """Collect the status of all tables and tasks.

    Raises:
        ReproError: a record, the ledger or the tolerances are damaged; the file is named.
    """
    verified = verify_all(paper.load_all(), store)
    place = describe_place(store.directory.parent)
    tables = []
    for verification in verified.verifications:
        coverage = Coverage.count(verification.cells)
        tables.append(TableStatus(verification.table.number, coverage.total, coverage.verdicts))
    holdings = tuple(_count_records(task, title, verified) for task, title in TASKS.items())
    return Status(
        coverage=tuple(tables),
        holdings=holdings,
        wrong=tuple(map(str, verified.problems)),
        foreign=tuple(map(str, verified.foreign)),
        next=tuple(replace(step, command=step.command + place) for step in _suggest(verified)),
    )


def _count_records(task: str, title: str, verified: Verified) -> Holding:
    known = {name: experiment for name, experiment in EXPERIMENTS.items() if experiment.dataset == task}
    mine = [record for record in verified.files.values() if record.experiment in known]
    current = _select_current(mine)
    full, small = ([r for r in current if r.profile == profile and not r.readings] for profile in ("full", "mini"))
    replaced = sum(not unused.stale for unused in verified.unused if unused.experiment in known)
    return Holding(
        task=title,
        experiments=len(known),
        full=len(full),
        measured=len({record.experiment for record in full}),
        mini=len(small),
        mini_measured=len({record.experiment for record in small}),
        stale=len(mine) - len(current),
        unused=replaced,
        readings=sum(bool(record.readings) for record in current),
    )


def _select_current(records: Sequence[Record]) -> list[Record]:
    """Select the records of networks and recipes that this version has."""
    hashes: dict[tuple, str | None] = {}
    current = []
    for record in records:
        identity = record.experiment, record.profile, tuple(record.readings.items())
        if identity not in hashes:
            experiment = readings.find_experiment(*identity)
            hashes[identity] = experiment.spec_hash if experiment else None
        if record.spec_hash == hashes[identity]:
            current.append(record)
    return current


def _suggest(verified: Verified) -> Iterator[NextStep]:
    if verified.problems:
        yield NextStep(f"look into {len(verified.problems)} records that are not what they say", "repro verify")
    for cell in verified.off[:3]:
        yield NextStep(f"look into {cell.cell}, which is off", f"repro explain {join_words([cell.cell.address])}")
    small = {record.experiment for record in verified.files.values() if record.profile == "mini"}
    for verification in verified.verifications:
        yield from _suggest_for_table(verification, small)


def _suggest_for_table(verification: Verification, small: set[str]) -> Iterator[NextStep]:
    table = verification.table
    open_cells = [cell for cell in verification.cells if cell.verdict == "not run"]
    if any(not COLUMNS[cell.cell.column].measured for cell in open_cells):
        yield NextStep(f"count the networks of Table {table.number}", f"repro complexity --table {table.number}")
    if any(name not in small for name in _list_runnable(table)):
        yield NextStep(
            f"measure Table {table.number} in the mini profile, without any data",
            f"repro reproduce --table {table.number} --profile mini",
        )
    accuracy = [cell for cell in open_cells if COLUMNS[cell.cell.column].unit == "%"]
    here = dict.fromkeys(cell.experiment for cell in accuracy if "test-dev" not in cell.reason)
    if here:
        public = sum(_has_exact_weights(name) for name in here)
        yield NextStep(
            f"measure Table {table.number} at full size: {public} experiments with the authors' weights, "
            f"{len(here) - public} by training",
            f"repro reproduce --table {table.number} --profile full --data-root DIR",
        )
    hidden = dict.fromkeys(cell.experiment for cell in accuracy if "test-dev" in cell.reason)
    for name in list(hidden)[:1]:
        yield NextStep(f"have COCO's server evaluate {len(hidden)} experiments", f"repro submit {name} --data-root DIR")


def _list_runnable(table: Table) -> Iterator[str]:
    """List the experiments of a table that the mini profile has."""
    for name in table.experiments:
        try:
            mini.shrink(EXPERIMENTS[name])
        except ReproError:
            continue
        yield name


def _has_exact_weights(name: str) -> bool:
    serving = registry.load().list_serving(name)
    return any(serves.match == "exact" and entry.obstacle is None for entry, serves in serving)

"""The end of `repro reproduce` on one screen: what is verified, what the mini profile says, the files, what next."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from repro.files.printable import flatten, join_words
from repro.paper import Table
from repro.paths import REFERENCE
from repro.planning.plan import Step
from repro.records import Record, Store
from repro.rendering.repetition import describe_repetition
from repro.settings import Settings, describe_place
from repro.verification.coverage import Coverage
from repro.verification.differences import compare_records
from repro.verification.verdicts import Verified

#: Failures and wrong records that are shown, each one line.
_SHOWN = 10


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock that each part of a run took, the records that were measured in it, and by how many."""

    counting: float
    measuring: float
    rendering: float
    records: tuple[Record, ...]
    processes: int


@dataclass(frozen=True)
class Ending:
    """What a run ends with; as a string, the screen."""

    table: Table
    settings: Settings
    seeds: int  #: that were asked for
    verified: Verified  #: the table alone, with what is measured now
    answers: str  #: to the paper's statements, written; empty where none are asked
    steps: Sequence[Step]  #: the plan as it is after the run
    spent: Spent
    paths: Sequence[Path]  #: of the rendered tables
    failures: Sequence[str]  #: as `list_failures` gives them

    def __str__(self) -> str:
        mini = self.settings.profile == "mini"
        title = f"Table {self.table.number}, profile {self.settings.profile}, {name_seeds(self.seeds)}"
        parts = [f"{title}\nAgainst the paper: {Coverage.count(self.verified.cells).describe()}"]
        parts += [self.answers] if self.answers else []
        if mini and (repetition := _compare_with_reference(self.steps)):
            parts.append("Against the committed records (tables/reference): " + "\n".join(repetition))
        files = _describe_files(self.paths, self.settings.store.directory)
        parts.append(f"Time: {_describe_time(self.spent)}\nFiles: {files}")
        following = _list_next_steps(self.settings.results, self.seeds, mini)
        width = max(len(command) for command, _ in following)
        parts.append("\n".join(["Next:", *(f"  {command.ljust(width)}  {what}" for command, what in following)]))
        if self.failures:
            hidden = len(self.failures) - _SHOWN
            more = [f"and {hidden} more, which `repro verify` names"] if hidden > 0 else []
            lines = (f"  {line}" for line in [*self.failures[:_SHOWN], *more])
            parts.append("\n".join(["Not as it should be:", *lines]))
        return "\n\n".join(parts)


def name_seeds(number: int) -> str:
    """Name the seeds 0 to number - 1."""
    return "seed 0" if number == 1 else f"seeds 0 to {number - 1}"


def list_failures(table: Table, verified: Verified, unmeasured: Sequence[str]) -> list[str]:
    """List why a run fails: cells that are off, records that are not what they say, experiments without a record.

    Args:
        unmeasured: an experiment and its reason, each.
    """
    cells = [f"off: {cell}" for cell in verified.cells if cell.fails]
    own = (problem for problem in verified.problems if problem.record.experiment in table.experiments)
    lines = [*cells, *(f"failed: {text}" for text in unmeasured), *(f"wrong: {problem}" for problem in own)]
    return [flatten(line) for line in lines]


def _compare_with_reference(steps: Sequence[Step]) -> list[str]:
    """Compare the records that a plan names with the committed ones; empty where there are none of either."""
    named = [record for step in steps for record in (step.record, step.statistics) if record]
    committed = Store(REFERENCE / "records").files()
    if not named or not committed:
        return []
    ours = {record.filename: record for record in named}
    experiments = {record.experiment for record in named}
    theirs = {file: record for file, record in committed.items() if record.experiment in experiments}
    return describe_repetition(compare_records(ours, theirs), ours.values(), theirs.values())


def _describe_time(spent: Spent) -> str:
    """Write the time of counting, of training and evaluation, and of rendering apart."""
    runs = len(spent.records)
    measuring = "no training or evaluation (measured before)"
    if runs:
        computed = sum(r.cost.train_seconds + r.cost.evaluate_seconds for r in spent.records)
        side = "one process" if spent.processes == 1 else f"{spent.processes} processes"
        each = f"{runs} record{'' if runs == 1 else 's'} in {side}, {_write_clock(computed / runs)} each"
        measuring = f"training and evaluation {_write_clock(spent.measuring)} ({each})"
    return f"counting {_write_clock(spent.counting)}, {measuring}, rendering {_write_clock(spent.rendering)}"


def _write_clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _describe_files(paths: Sequence[Path], records: Path) -> str:
    """Name the written tables, which lie in one directory and differ in their endings, and the directory of records."""
    first, *others = paths
    return f"{', '.join([str(first), *(path.suffix for path in others)])}; records in {records}"


def _list_next_steps(results: Path, seeds: int, mini: bool) -> list[tuple[str, str]]:
    """List what a reader may want to do after a run: (command, what it does)."""
    program = join_words([_name_program()])
    where = describe_place(results)
    steps = [(f"{program} report{where}", "everything on one page, report.html")]
    if mini:
        steps.append(
            (
                f"{program} {join_words(['diff', results, _shorten(REFERENCE)])}",
                "what differs from the committed records",
            )
        )
        more = max(8, 2 * seeds)
        steps.append((f"the same command with --seeds {more}", "goes on from here; more seeds decide more statements"))
    return steps


def _name_program() -> str:
    """`repro`, or where it is in the environment of a nox session, which is not on the user's path."""
    return _shorten(Path(sys.argv[0])) if "NOX_CURRENT_SESSION" in os.environ else "repro"


def _shorten(path: Path) -> str:
    """The path from here, where it is below, else the whole."""
    try:
        return str(Path(os.path.realpath(path)).relative_to(os.path.realpath(".")))
    except ValueError:
        return str(path)

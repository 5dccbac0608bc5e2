"""The log of a training as rows of numbers, as loggers get them and curves are drawn of them. Imports no torch.

`log.jsonl` has a line for each iteration with what is the same in every execution: learning rate, loss terms, norm of
the gradient. `metrics.csv` has at most some two thousand rows, each of them the mean of a window of iterations, with
what was observed: rate, waiting, memory. Evaluations during and after the training have rows of their own.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.errors import ReproError
from repro.files.places import is_there
from repro.files.regular_files import read_regular

LOG, TABLE = "log.jsonl", "metrics.csv"
EVALUATION = "evaluation/"  #: how the columns of an evaluation's metrics begin
#: Columns of a window that depend on the machine and the moment; every other one is the same in each execution.
OBSERVED = ("images_per_second", "data_wait", "peak_memory_bytes", "seconds")
_MOST_ROWS = 2000  #: of a training, so that the logs of a long one stay small
_LARGEST = 16 << 30  #: bytes of a log

Row = dict[str, float]


@dataclass(frozen=True)
class Iteration:
    """An iteration that has just been completed."""

    iteration: int  #: number of completed ones, of `total`
    total: int
    losses: dict[str, float]  #: each loss term, mean over the effective batch
    lr: float
    norm: float  #: of the gradient, before it is clipped
    seconds: float  #: wall time of the training so far, with earlier segments
    took: float  #: wall time of this iteration
    waited: float  #: the part of it in which this process waited for data
    images: int  #: samples of the effective batch
    peak_memory_bytes: int  #: until now
    device: str  #: what it is trained on, in words


class Window:
    """The iterations since the last row, of which the next one has the mean."""

    def __init__(self, total: int) -> None:
        self.total, self.size = total, max(1, total // _MOST_ROWS)
        self._lines: list[Mapping[str, Any]] = []
        self._observed: list[Iteration] = []

    def add(self, line: Mapping[str, Any], observed: Iteration | None = None) -> Row | None:
        """Add an iteration as `log.jsonl` has it. Returns the row that it completes, if it does.

        Args:
            observed: the iteration, if it was not read from a log.
        """
        self._lines.append(line)
        if observed:
            self._observed.append(observed)
        iteration = line["iteration"]
        if iteration % self.size and iteration != self.total:
            return None
        row = self._build_row()
        self._lines, self._observed = [], []
        return row

    def _build_row(self) -> Row:
        last = self._lines[-1]
        terms = {name: _mean(line["losses"][name] for line in self._lines) for name in last["losses"]}
        row = {"step": last["iteration"], "loss": sum(terms.values()), **terms, "lr": last["lr"]}
        norms = [line["norm"] for line in self._lines if "norm" in line]  # earlier versions wrote none
        if norms:
            row["gradient_norm"] = _mean(norms)
        if self._observed:
            took = max(1e-9, sum(at.took for at in self._observed))
            row["images_per_second"] = sum(at.images for at in self._observed) / took
            row["data_wait"] = sum(at.waited for at in self._observed) / took
            row["peak_memory_bytes"] = self._observed[-1].peak_memory_bytes
            row["seconds"] = self._observed[-1].seconds
        return row


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


@dataclass(frozen=True)
class LogRows:
    """The log of one training: the rows of its windows and those of its evaluations, each in the order of `step`."""

    training: tuple[Row, ...]
    evaluations: tuple[Row, ...]

    @property
    def ordered(self) -> list[Row]:
        """All rows; of one step the window stands before the evaluation."""
        return sorted([*self.training, *self.evaluations], key=lambda row: (row["step"], is_evaluation(row)))


def is_evaluation(row: Mapping[str, float]) -> bool:
    """Whether a row is of an evaluation, not of a window of iterations."""
    return any(name.startswith(EVALUATION) for name in row)


def read_rows(directory: Path) -> LogRows:
    """Read the log of the training in `directory`, running or finished.

    Of a training of an earlier version, which has no `metrics.csv`, the windows are those of `log.jsonl`.

    Raises:
        ReproError: there is no log, or it cannot be read.
    """
    table = directory / TABLE
    if is_there(table):
        return parse_table(read_regular(table, _LARGEST, "log"))
    lines = list(read_lines(directory))
    window = Window(int(lines[-1]["iteration"]) if lines else 1)
    rows = [window.add(line) for line in lines]
    return LogRows(tuple(row for row in rows if row), ())


def restore_rows(directory: Path, iteration: int, window: Window) -> LogRows:
    """The rows of the first iterations of a training that goes on; `window` gets what is not yet in one of them.

    What every execution has in common is taken from `log.jsonl`, the rest from `metrics.csv`, as far as it is there.
    """
    table = directory / TABLE
    kept = LogRows((), ())
    if is_there(table):
        kept = parse_table(read_regular(table, _LARGEST, "log"))
    training = {row["step"]: row for row in kept.training if row["step"] <= iteration}
    for line in read_lines(directory) if is_there(directory / LOG) else ():
        if line["iteration"] > iteration:
            break
        if row := window.add(line):
            observed = training.get(row["step"], {})
            training[row["step"]] = {**row, **{name: observed[name] for name in OBSERVED if name in observed}}
    evaluations = {row["step"]: row for row in kept.evaluations if row["step"] <= iteration}
    return LogRows(tuple(training[step] for step in sorted(training)), tuple(evaluations.values()))


def read_lines(directory: Path) -> Iterator[dict[str, Any]]:
    """Read the whole lines of `log.jsonl`, but for damaged ones.

    Raises:
        ReproError: there is no log, or it cannot be read.
    """
    for text in read_regular(directory / LOG, _LARGEST, "log").split(b"\n")[:-1]:
        try:
            line = json.loads(text)
            if isinstance(line["iteration"], int) and isinstance(line["losses"], dict) and "lr" in line:
                yield line
        except (ValueError, LookupError, TypeError, RecursionError):
            continue


def format_table(rows: Iterable[Row], columns: list[str], header: bool) -> bytes:
    """Rows as lines of CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def parse_table(content: bytes) -> LogRows:
    """Parse `metrics.csv`. A line that is not whole, as of a process that was killed, is left out.

    Raises:
        ReproError: it is no such table.
    """
    lines = content.decode(errors="replace").split("\n")[:-1]
    columns = lines[0].split(",") if lines else []
    if lines and "step" not in columns:
        raise ReproError(f"{TABLE} has no column 'step': it is no log of a training")
    training: list[Row] = []
    evaluations: list[Row] = []
    for line in lines[1:]:
        fields = line.split(",")
        try:
            row = {name: float(field) for name, field in zip(columns, fields, strict=True) if field}
            row["step"] = int(row["step"])
        except (ValueError, LookupError, OverflowError):
            continue
        (evaluations if is_evaluation(row) else training).append(row)
    return LogRows(tuple(training), tuple(evaluations))

"""What a training hands to its loggers, so that a killed and resumed one leaves logs without a gap or a double row."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from lightning_fabric.loggers import Logger

from repro.engine import loggers
from repro.engine.log_rows import EVALUATION, Iteration, LogRows, Row, Window, is_evaluation, restore_rows
from repro.engine.log_targets import TENSORBOARD, LogTargets
from repro.errors import ReproError
from repro.files.places import is_there

_PATIENCE = 10.0  #: seconds after which somebody who watches the files sees a row


class TrainingLogs:
    """The loggers of one training, in the process that writes.

    Everything that a saved state follows is on disk before it: `save` comes first. What was logged after that state is
    forgotten when the training goes on from it: rows are cut off the table, TensorBoard is told to purge.
    """

    def __init__(self, directory: Path, identity: str, total: int, iteration: int, targets: LogTargets) -> None:
        self._window = Window(total)
        rows = restore_rows(directory, iteration, self._window) if iteration else LogRows((), ())
        self._table = loggers.TableLogger(directory)
        self._table.table.restore(rows.ordered)
        self._others = _open_others(directory, identity, iteration, targets, rows.ordered)
        self._saved = time.monotonic()

    def add(self, line: Mapping[str, Any], at: Iteration) -> None:
        """Log an iteration, of which `log.jsonl` has this line."""
        if row := self._window.add(line, at):
            self._log(row)
        if time.monotonic() - self._saved > _PATIENCE:
            self._table.save()
            self._saved = time.monotonic()

    def add_evaluation(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of the network as it is after `iteration`, and have them on disk."""
        self._log(build_evaluation_row(iteration, metrics))
        self.save()

    def has_evaluation(self, iteration: int) -> bool:
        """Whether the network as it is after `iteration` was evaluated."""
        table = self._table.table
        return any(row["step"] == iteration and is_evaluation(row) for row in (*table.rows, *table.pending))

    def save(self) -> None:
        """Have everything on disk.

        Raises:
            ReproError: the table cannot be written.
        """
        self._table.save()
        self._table.table.sync()
        for logger in self._others:
            logger.save()

    def close(self, failed: bool) -> None:
        """Write what is left and close the loggers. Their errors do not hide the one that a training ended in."""
        with suppress(ReproError) if failed else nullcontext():
            self._table.save()
        for logger in self._others:
            logger.finalize("failed" if failed else "success")

    def _log(self, row: Row) -> None:
        for logger in (self._table, *self._others):
            _log(logger, row)


def append_evaluation(
    directory: Path, identity: str, iteration: int, metrics: Mapping[str, float], targets: LogTargets
) -> None:
    """Log the metrics of the network that a training ended in; a second time, they are in the place of the first.

    Raises:
        ReproError: the table cannot be written.
    """
    rows = restore_rows(directory, iteration, Window(iteration))
    before = [row for row in rows.ordered if not (is_evaluation(row) and row["step"] == iteration)]
    table = loggers.TableLogger(directory)
    table.table.restore([*before, build_evaluation_row(iteration, metrics)])
    for logger in _open_others(directory, identity, iteration, targets, table.table.rows):
        logger.finalize("success")


def build_evaluation_row(iteration: int, metrics: Mapping[str, float]) -> Row:
    """The row of an evaluation."""
    return {"step": iteration, **{f"{EVALUATION}{name}": value for name, value in metrics.items()}}


def _log(logger: Logger, row: Row) -> None:
    logger.log_metrics({name: value for name, value in row.items() if name != "step"}, int(row["step"]))


def _open_others(
    directory: Path, identity: str, iteration: int, targets: LogTargets, rows: Sequence[Row]
) -> list[Logger]:
    """Open the loggers beside the table and make them have its rows.

    What they have of `iteration` and those after it is purged and logged again: a kill may have come between two of
    them. One that is new here gets all rows.
    """
    targets.require()
    opened: list[Logger] = []
    for name in targets.names:
        new = not is_there(directory / name)
        if name == TENSORBOARD:
            logger = loggers.open_tensorboard(directory, iteration)
        else:
            logger = loggers.WandbLogger(directory, identity)
        opened.append(logger)
        for row in rows:
            if new or row["step"] >= iteration:
                _log(logger, row)
    return opened

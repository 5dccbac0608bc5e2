"""The loggers of a training, as Lightning Fabric defines them: a table of CSV always, TensorBoard and W&B if wished.

TensorBoard and Weights & Biases are optional (`log_targets`) and imported when they are used.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning_fabric.loggers import CSVLogger, Logger, TensorBoardLogger

from repro.engine.log_rows import TABLE, Row, format_table, is_evaluation
from repro.engine.log_targets import TENSORBOARD, WANDB
from repro.errors import ReproError
from repro.files.places import is_there, list_directory, read_state
from repro.paths import unwritable, write_atomically


class _Table:
    """`metrics.csv`, to which rows are appended; what Fabric calls the experiment of its logger."""

    def __init__(self, path: Path) -> None:
        self.path, self.columns, self.rows, self.pending = path, list[str](), list[Row](), list[Row]()

    def restore(self, rows: Iterable[Row]) -> None:
        """Make the table consist of these rows."""
        self.rows, self.pending = [], list(rows)
        self.columns = list(dict.fromkeys(name for row in self.pending for name in row))
        if self.pending or is_there(self.path):
            self._rewrite()

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self.pending.append({"step": step, **metrics} if step is not None else dict(metrics))

    def save(self) -> None:
        """Append what is not yet in the file. Where it brings a new column, the file is replaced at once.

        Raises:
            ReproError: it cannot be written.
        """
        if not self.pending:
            return
        new = dict.fromkeys(name for row in self.pending for name in row if name not in self.columns)
        first = not self.columns
        self.columns += new
        if new and not first:
            self._rewrite()
            return
        content = format_table(self.pending, self.columns, header=first)
        try:
            with self.path.open("ab", buffering=0) as file:
                while content:  # a disk that is nearly full takes only a part
                    content = content[file.write(content) :]
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._keep()

    def sync(self) -> None:
        """Have the system write what it holds of the file.

        Raises:
            ReproError: it cannot, as where the disk is full.
        """
        if is_there(self.path):
            try:
                with self.path.open("rb") as file:
                    os.fsync(file.fileno())
            except OSError as error:
                raise unwritable(self.path, error) from error

    def _rewrite(self) -> None:
        write_atomically(self.path, format_table([*self.rows, *self.pending], self.columns, header=bool(self.columns)))
        self._keep()

    def _keep(self) -> None:
        self.rows += self.pending
        self.pending = []


class TableLogger(CSVLogger):
    """Fabric's logger of CSV, but that it goes on with a table that is there. Fabric's deletes it, and rewrites it in
    place where a column is added, so that a kill would lose what is before."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, name="", version="")
        self.table = _Table(directory / TABLE)

    @property
    def experiment(self) -> Any:
        return self.table

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self.table.log_metrics(metrics, step)

    def finalize(self, status: str) -> None:
        self.table.save()


class WandbLogger(Logger):
    """A run of Weights & Biases, whose own logger for Fabric wants the whole of Lightning.

    The run's id is the training's, so that a training that goes on goes on with the same run. Each iteration has two of
    its steps, one for the window and one for an evaluation: steps that a run has are not taken twice.
    """

    def __init__(self, directory: Path, identity: str) -> None:
        import wandb

        _wait_for_another_second(directory / WANDB)
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "gcnet-repro"),
                id=identity[:16],
                name=directory.name,
                dir=directory,  # in which it makes its own, `wandb`
                resume="allow",
                settings=wandb.Settings(console="off", silent=True, x_disable_stats=True),
            )
            self._run.define_metric("*", step_metric="iteration")
        except (wandb.Error, OSError) as error:
            raise ReproError(
                f"Weights & Biases does not begin: {error}. `wandb login` makes it known to the server; with "
                "WANDB_MODE=offline it writes files here, which `wandb sync` sends later."
            ) from None

    @property
    def name(self) -> str | None:
        return self._run.name

    @property
    def version(self) -> str:
        return self._run.id

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self._run.config.update(dict(params), allow_val_change=True)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        assert step is not None, "every row has its iteration"
        self._run.log({**metrics, "iteration": step}, step=2 * step + is_evaluation(metrics))

    def finalize(self, status: str) -> None:
        self._run.finish(exit_code=0 if status == "success" else 1)


def _wait_for_another_second(directory: Path) -> None:
    """Wait until a run begins in another second than those that are there: W&B names directories by the second, and
    writes over one of the same name."""
    runs = [path for path in list_directory(directory) if "run-" in path.name]
    last = max((read_state(path).st_mtime for path in runs), default=0.0)
    time.sleep(min(1.0, max(0.0, last + 1.0 - time.time())))


def open_tensorboard(directory: Path, iteration: int) -> Logger:
    """Open TensorBoard's files in `directory`; what they have of `iteration` and those after it counts no longer."""
    return TensorBoardLogger(directory, name="", version=TENSORBOARD, purge_step=iteration)

"""How far a training is that has no record yet: running, interrupted or finished. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from repro.engine.fitted import RESULTS, WEIGHTS
from repro.errors import ReproError
from repro.files.locks import find_holder
from repro.files.places import is_there, read_state
from repro.files.regular_files import open_regular
from repro.planning.work_order import TrainedWork

_LOG_LIMIT, _TAIL = 16 << 30, 1 << 16  #: bytes of a log, and of its end that is read


@dataclass(frozen=True)
class Progress:
    """How far a training is."""

    iteration: int  #: the last one in its log
    trained: bool  #: whether only evaluating its network is left
    holder: str | None  #: the process that works at it now, with its host
    changed: str  #: when its log was last written: ISO 8601, UTC

    def __str__(self) -> str:
        if self.holder:
            where = "evaluating what it trained" if self.trained else f"at iteration {self.iteration}"
            return f"running, {where}: {self.holder}"
        if self.trained:
            return "trained, and not evaluated to the end: the same command evaluates it"
        return f"interrupted after iteration {self.iteration}, at {self.changed} UTC: the same command continues"


def find_progress(order: TrainedWork) -> Progress | None:
    """Find how far the training of an order is; None where it has not begun."""
    directory = order.training.directory
    log = directory / "log.jsonl"
    holder = find_holder(order.directory) or find_holder(directory)
    if not is_there(log):
        return Progress(0, False, holder, "") if holder else None
    changed = datetime.fromtimestamp(read_state(log).st_mtime, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    return Progress(_read_last_iteration(log), is_trained(order), holder, changed)


def is_trained(order: TrainedWork) -> bool:
    """Whether the training's result is there, so that only an evaluation is left."""
    directory = order.training.directory
    return is_there(directory / WEIGHTS) and any(is_there(directory / name) for name in RESULTS)


def _read_last_iteration(log: Path) -> int:
    """Read the number in the last whole line of a log; 0 where there is none."""
    try:
        with open_regular(log, _LOG_LIMIT, "log") as file:
            file.seek(max(0, read_state(log).st_size - _TAIL))
            lines = file.read(_TAIL).split(b"\n")[:-1]  # what follows the last end of a line is still being written
    except (OSError, ReproError):
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line)["iteration"])
        except (ValueError, TypeError, KeyError):
            continue
    return 0

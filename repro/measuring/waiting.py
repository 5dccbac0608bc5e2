"""The steps of a run that are not begun, and which of them a free worker takes."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from repro.engine.fitted import WEIGHTS
from repro.errors import ReproError
from repro.experiments import mini
from repro.files.places import is_there
from repro.planning import keys
from repro.planning.plan import Step
from repro.planning.work_order import TrainedWork


class Waiting:
    """The steps that are not begun; its methods may be called from any thread.

    What others start from comes first, then seed after seed, of each the longest first, else it ends alone. But a step
    that begins with what another worker is training has to wait for that: one that need not, or less, goes before it.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        self._steps = sorted(steps, key=lambda step: (not step.needed_by, step.seed, -step.seconds))
        self._starts = {id(step): _list_starts(step) for step in self._steps}
        self._busy: dict[int, list[Path]] = {}  #: by step, where it may be training what others start from
        self._lock = threading.Lock()

    def take(self) -> Step | None:
        """Take a step; None where none is left."""
        with self._lock:
            busy = {place for places in self._busy.values() for place in places if not _is_finished(place)}
            step = min(self._steps, key=lambda step: len(busy.intersection(self._starts[id(step)])), default=None)
            if step is not None:
                self._steps.remove(step)
                self._busy[id(step)] = [*self._starts[id(step)], *([step.order.directory] if step.order else [])]
            return step

    def finish(self, step: Step) -> None:
        """Say that a step ended, well or not."""
        with self._lock:
            self._busy.pop(id(step), None)


def _is_finished(place: Path) -> bool:
    try:
        return is_there(place / WEIGHTS)
    except ReproError:  # who begins with it says what is wrong
        return False


def _list_starts(step: Step) -> list[Path]:
    """Where the trainings lie that a step begins with, and those that they begin with."""
    order, places = step.order, []
    while isinstance(order, TrainedWork):
        pretrainings = mini.list_pretrainings(order.experiment)
        for length in range(1, len(pretrainings) + 1):
            places.append(keys.pretraining_directory(order.experiment, pretrainings[:length], order.settings))
        order = order.network_of or order.starts_from
        places += [order.directory] if order else []
    return places

"""When the steps of a plan would run on a number of H200 GPUs, by the durations of `rates`. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from repro.errors import ReproError
from repro.planning import keys
from repro.planning.plan import Step
from repro.planning.schedule import Bounds, Placement, Task, find_bounds, find_end, order_by_path, simulate
from repro.settings import Settings


@dataclass(frozen=True)
class Timetable:
    """The steps that are not measured yet, each with its time and its GPUs."""

    gpus: int
    width: int  #: GPUs of each step
    placements: Mapping[str, Placement]  #: by `name_step`
    bounds: Bounds

    def find(self, step: Step) -> Placement | None:
        """Find when a step runs; None of one that is measured."""
        return self.placements.get(name_step(step))

    def describe(self) -> list[str]:
        """Describe in lines how long all takes, and what no order takes less than."""
        if not self.placements:
            return []
        each = f", {self.width} for each training" if self.width > 1 else ""
        bounds = self.bounds
        chain = f"the longest chain takes {_write_days(bounds.chain)} ({', then '.join(bounds.longest)})"
        shared = f"all work shared evenly {_write_days(bounds.shared)}"
        took = find_end(self.placements.values())
        gpus = f"{self.gpus} H200 GPU{'s' * (self.gpus > 1)}"
        return [
            f"on {gpus}{each}: {_write_days(took)}, what begins the longest chain first",
            f"no order takes less than {_write_days(bounds.least)}: {chain}, {shared}",
        ]


def make_timetable(steps: Sequence[Step], settings: Settings, gpus: int) -> Timetable:
    """Make the timetable of a plan of the full profile, in the order in which its jobs are submitted to a cluster.

    Raises:
        ReproError: the plan is of the mini profile, or a step takes more GPUs than there are.
    """
    if settings.profile != "full":
        raise ReproError("--gpus plans the full profile: the mini profile runs on cores. Add --profile full")
    width = settings.devices or 1
    tasks = build_tasks(steps, settings)
    placements = simulate(order_by_path(tasks), gpus)
    return Timetable(gpus, width, {each.task.name: each for each in placements}, find_bounds(tasks, gpus))


def build_tasks(steps: Sequence[Step], settings: Settings) -> list[Task]:
    """Build the tasks of the steps that are not measured, each behind the training that it begins with.

    Of several GPUs each is taken to do an equal part.
    """
    width = settings.devices or 1
    left = [step for step in steps if step.status != "measured"]
    tasks = []
    for step in left:
        earlier = keys.prerequisite(step.experiment, settings) if step.source == "trained" else None
        after = (f"{earlier[0].name} seed {earlier[1].seed}",) if earlier else ()
        tasks.append(Task(name_step(step), step.seconds / width, after, width))
    return tasks


def name_step(step: Step) -> str:
    """Name a step as no other of its plan is named."""
    return f"{step.experiment.name} seed {step.seed}"


def _write_days(seconds: float) -> str:
    return f"{seconds / 86400:.1f} days" if seconds >= 172800 else f"{seconds / 3600:.1f} hours"

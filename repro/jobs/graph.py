"""The jobs of a plan: one for each step that is ready, and one for each training that several of them begin with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from repro.engine.fitted import find_finished
from repro.experiments import mini
from repro.measuring.worker import write_task
from repro.planning.keys import pretraining_key
from repro.planning.plan import Step
from repro.planning.schedule import order_by_path
from repro.planning.work_order import TrainedWork, WorkOrder


@dataclass(frozen=True)
class Job:
    """What one job does, and which others have to end well before."""

    name: str  #: of its directory; alike for alike work
    label: str  #: for people
    order: WorkOrder
    task: str  #: a line for `measuring.worker`
    after: tuple[str, ...] = ()  #: names of jobs
    seconds: float = 0.0  #: about how long it takes, beside the others of its plan; 0 where that is not known

    @property
    def dataset(self) -> str:
        return self.order.experiment.dataset


def build_jobs(steps: Iterable[Step], command: str) -> list[Job]:
    """Build the jobs of the steps that are ready, what the longest chain begins with first.

    Args:
        command: that the user gave, for the records.
    """
    ready = [(name_work(step.order), step) for step in steps if step.status == "ready" and step.order]
    orders = {name: step.order for name, step in ready if step.order}
    seconds = {name: step.seconds for name, step in ready}
    jobs: dict[str, Job] = {}

    def add(name: str, order: WorkOrder) -> None:
        if name in jobs:
            return
        after = []
        if isinstance(order, TrainedWork):
            for earlier in filter(None, (order.network_of, order.starts_from)):
                if (before := name_work(earlier)) in orders:
                    add(before, orders[before])
                    after.append(before)
            if preparation := _build_preparation(order, command):
                jobs.setdefault(preparation.name, preparation)
                after.append(preparation.name)
        label = f"{order.experiment.name} seed {order.settings.seed}"
        if not isinstance(order, TrainedWork):
            label = f"{order.experiment.name} {order.weights.id}"
        jobs[name] = Job(name, label, order, write_task(order, command), tuple(after), seconds[name])

    for name, order in orders.items():
        add(name, order)
    return order_by_path(list(jobs.values()))


def name_work(order: WorkOrder) -> str:
    """Name an order's job: alike for alike work, another one where more is wanted of it."""
    return order.directory.name + (".attention" if order.attention else "")


def _build_preparation(order: TrainedWork, command: str) -> Job | None:
    """The job of the pre-training that a mini experiment shares with others; None where there is nothing to train."""
    if order.settings.profile != "mini" or not (pretrainings := mini.list_pretrainings(order.experiment)):
        return None
    key, last = pretraining_key(order.experiment, pretrainings, order.settings), pretrainings[-1]
    if find_finished(order.settings.results / "runs" / f"{last.name}.{key[:12]}", key):
        return None
    task = write_task(order, command, prepare=True)
    seed = f" seed {order.settings.seed}" if mini.is_repeated_with_each_seed(pretrainings) else ""
    return Job(f"{last.name}.{key[:12]}", f"{last.name}{seed}, which others begin with", order, task)

"""When work of known duration would run on a number of GPUs, and what no order can take less than."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from repro.errors import ReproError


class Timed(Protocol):
    """Work that is expected to take a time, and begins when other work has ended."""

    @property
    def name(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def after(self) -> tuple[str, ...]: ...


Work = TypeVar("Work", bound=Timed)


@dataclass(frozen=True)
class Task:
    """A step of a plan on a number of GPUs at once."""

    name: str
    seconds: float
    after: tuple[str, ...] = ()  #: names of tasks
    width: int = 1  #: GPUs


@dataclass(frozen=True)
class Placement:
    """A task, when it runs and where."""

    task: Task
    begin: float  #: seconds
    gpus: tuple[int, ...]

    @property
    def end(self) -> float:
        return self.begin + self.task.seconds

    def __str__(self) -> str:
        runs = _write_runs(self.gpus)
        where = f"GPUs {runs}" if len(self.gpus) > 1 else f"GPU {runs}"
        return f"from hour {self.begin / 3600:.1f} to hour {self.end / 3600:.1f} on {where}"

    def to_json(self) -> dict[str, object]:
        """Write it in JSON's types."""
        return {"begin_hours": self.begin / 3600, "end_hours": self.end / 3600, "gpus": list(self.gpus)}


@dataclass(frozen=True)
class Bounds:
    """What no order of the tasks can take less than, in seconds."""

    chain: float  #: the longest chain of tasks that wait for each other
    longest: tuple[str, ...]  #: their names
    shared: float  #: all work, if no GPU were ever idle

    @property
    def least(self) -> float:
        return max(self.chain, self.shared)


def measure_paths(work: Sequence[Timed]) -> dict[str, float]:
    """Measure for each piece of work the seconds of the longest chain that begins with it.

    Raises:
        ValueError: pieces of work wait for each other in a circle.
    """
    following = _list_following(work)
    paths: dict[str, float] = {}
    for each in reversed(_sort_by_dependence(work)):
        paths[each.name] = each.seconds + max((paths[name] for name in following[each.name]), default=0.0)
    return paths


def order_by_path(work: Sequence[Work]) -> list[Work]:
    """Put first what the longest chain begins with; nothing stands before what it waits for."""
    paths = measure_paths(work)
    return sorted(_sort_by_dependence(work), key=lambda each: -paths[each.name])


def find_bounds(tasks: Sequence[Task], gpus: int) -> Bounds:
    """Find what no order can take less than."""
    paths = measure_paths(tasks)
    following = _list_following(tasks)
    chain = [max(paths, key=lambda name: paths[name])] if paths else []
    while chain and (later := following[chain[-1]]):
        chain.append(max(later, key=lambda name: paths[name]))
    shared = sum(task.seconds * task.width for task in tasks) / gpus
    return Bounds(max(paths.values(), default=0.0), tuple(chain), shared)


def simulate(tasks: Sequence[Task], gpus: int) -> list[Placement]:
    """Place tasks as a queue would: where GPUs are free, the first task in the given order that can begin does.

    A task that waits for others, or for more GPUs than are free, is passed by those behind it.

    Raises:
        ReproError: a task takes more GPUs than there are.
        ValueError: tasks wait for each other in a circle.
    """
    if wide := next((task for task in tasks if task.width > gpus), None):
        raise ReproError(f"{wide.name} takes {wide.width} GPUs at once, and there are {gpus}")
    _sort_by_dependence(tasks)
    names = {task.name for task in tasks}
    waiting, free = list(tasks), list(range(gpus))
    running: list[tuple[float, int, Placement]] = []
    ended: set[str] = set()
    placed: list[Placement] = []
    now = 0.0
    while waiting:
        for task in list(waiting):
            if task.width <= len(free) and all(name in ended or name not in names for name in task.after):
                placement = Placement(task, now, tuple(free[: task.width]))
                del free[: task.width]
                waiting.remove(task)
                heapq.heappush(running, (placement.end, len(placed), placement))
                placed.append(placement)
        if not running:
            break
        now = running[0][0]
        while running and running[0][0] <= now:
            done = heapq.heappop(running)[2]
            ended.add(done.task.name)
            free = sorted([*free, *done.gpus])
    return placed


def find_end(placements: Iterable[Placement]) -> float:
    """The seconds after which all is done."""
    return max((placement.end for placement in placements), default=0.0)


def _write_runs(numbers: Sequence[int]) -> str:
    """Write ascending numbers as 0-3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _list_following(work: Sequence[Timed]) -> Mapping[str, list[str]]:
    following: dict[str, list[str]] = {each.name: [] for each in work}
    for each in work:
        for name in each.after:
            if name in following:  # what is not among them has been done
                following[name].append(each.name)
    return following


def _sort_by_dependence(work: Sequence[Work]) -> list[Work]:
    """Put each piece of work behind what it waits for, and else leave the order."""
    by_name = {each.name: each for each in work}
    ordered: dict[str, Work] = {}
    open_: set[str] = set()

    def add(each: Work) -> None:
        if each.name in ordered:
            return
        if each.name in open_:
            raise ValueError(f"{each.name} waits for itself")
        open_.add(each.name)
        for name in each.after:
            if name in by_name:
                add(by_name[name])
        ordered[each.name] = each

    for each in work:
        add(each)
    return list(ordered.values())

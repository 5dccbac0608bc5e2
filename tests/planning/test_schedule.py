"""Orders of work on GPUs: checked by what must hold of any schedule, and against the best one of a few tasks."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from repro.errors import ReproError
from repro.planning.schedule import (
    Placement,
    Task,
    find_bounds,
    find_end,
    measure_paths,
    order_by_path,
    simulate,
)


def draw_tasks(seed: int, most: int = 30, widths: tuple[int, ...] = (1, 1, 2, 3)) -> list[Task]:
    """Random tasks, each behind a few of the earlier ones, in random order."""
    random_ = random.Random(seed)
    tasks = []
    for number in range(random_.randint(1, most)):
        after = random_.sample(range(number), min(number, random_.choice((0, 0, 1, 2, 3))))
        seconds = random_.choice((0.5, random_.uniform(1, 100)))
        tasks.append(Task(f"t{number}", seconds, tuple(f"t{n}" for n in after), random_.choice(widths)))
    random_.shuffle(tasks)
    return tasks


def check(placements: list[Placement], tasks: list[Task], gpus: int) -> None:
    """Check a schedule by pairs of placements, with nothing of what made it."""
    assert sorted(p.task.name for p in placements) == sorted(t.name for t in tasks)
    by_name = {p.task.name: p for p in placements}
    for placement in placements:
        assert len(set(placement.gpus)) == placement.task.width
        assert set(placement.gpus) <= set(range(gpus))
        assert placement.begin >= 0
        for name in placement.task.after:
            assert by_name[name].begin + by_name[name].task.seconds <= placement.begin + 1e-9
        for other in placements:
            if other is not placement and set(other.gpus) & set(placement.gpus):
                first, second = sorted((placement, other), key=lambda p: (p.begin, p.begin + p.task.seconds))
                assert first.begin + first.task.seconds <= second.begin + 1e-9


def find_longest_chain(tasks: list[Task]) -> float:
    """The seconds of the longest chain, by trying each."""
    by_name = {task.name: task for task in tasks}

    def measure(task: Task) -> float:
        return task.seconds + max((measure(by_name[name]) for name in task.after), default=0.0)

    return max(map(measure, tasks))


@pytest.mark.parametrize("seed", range(150))
def test_no_gpu_has_two_tasks_and_none_begins_too_early(seed):
    tasks = draw_tasks(seed)
    for gpus in (3, 4, 8):
        bounds = find_bounds(tasks, gpus)
        assert bounds.chain == pytest.approx(find_longest_chain(tasks))
        assert bounds.shared == pytest.approx(sum(t.seconds * t.width for t in tasks) / gpus)
        for order in (tasks, order_by_path(tasks)):
            placements = simulate(order, gpus)
            check(placements, tasks, gpus)
            assert find_end(placements) >= bounds.least - 1e-6
            assert find_end(placements) <= sum(t.seconds for t in tasks) + 1e-6  # never idle altogether


def find_best_end(tasks: list[Task], gpus: int) -> float:
    """The end of the best of all schedules, of tasks that take one GPU each.

    Each order that has what waits behind what it waits for, each task as early as it can be on the GPU that is free
    first. Among these is the order by beginnings of any best schedule, and nothing begins later than it did there. A
    GPU may so stay idle on purpose, as it never does in a queue.
    """
    best = float("inf")
    for order in permutations(tasks):
        free, ends = [0.0] * gpus, {}
        for task in order:
            if not all(name in ends for name in task.after):
                break
            first = min(range(gpus), key=free.__getitem__)
            free[first] = ends[task.name] = max([free[first], *(ends[n] for n in task.after)]) + task.seconds
        else:
            best = min(best, max(free))
    return best


@pytest.mark.parametrize("seed", range(40))
def test_few_tasks_against_the_best_of_all_schedules(seed):
    """A queue of any order takes at most 2 - 1/m times as long as the best schedule (Graham, 1966)."""
    tasks, gpus = draw_tasks(1000 + seed, most=6, widths=(1,)), 2
    best = find_best_end(tasks, gpus)
    assert find_bounds(tasks, gpus).least <= best + 1e-9
    for order in (tasks, order_by_path(tasks)):
        assert best - 1e-9 <= find_end(simulate(order, gpus)) <= (2 - 1 / gpus) * best + 1e-9


def test_the_longest_chain_goes_first_where_the_longest_task_would_not():
    """By hand, on two GPUs: a chain of 3 + 3 and tasks of 4, 4 and 1 end after 8 with the chain first, else 10."""
    tasks = [Task("long1", 4), Task("long2", 4), Task("short", 1), Task("first", 3), Task("then", 3, ("first",))]
    assert find_end(simulate(tasks, 2)) == 10
    ordered = order_by_path(tasks)
    assert [t.name for t in ordered] == ["first", "long1", "long2", "then", "short"]
    assert find_end(simulate(ordered, 2)) == 8
    bounds = find_bounds(tasks, 2)
    assert (bounds.chain, bounds.longest, bounds.shared) == (6, ("first", "then"), 7.5)


def test_what_waits_stands_behind_what_it_waits_for_even_where_nothing_takes_time():
    tasks = [Task("b", 0.0, ("a",)), Task("a", 0.0), Task("c", 0.0, ("b", "done before"))]
    assert [t.name for t in order_by_path(tasks)] == ["a", "b", "c"]
    assert [place.task.name for place in simulate(tasks, 1)] == ["a", "b", "c"]


def test_a_circle_is_an_error_of_the_caller():
    tasks = [Task("a", 1.0, ("b",)), Task("b", 1.0, ("a",))]
    for function in (measure_paths, order_by_path, lambda tasks: simulate(tasks, 1)):
        with pytest.raises(ValueError, match="waits for itself"):
            function(tasks)


def test_a_task_wider_than_the_cluster_is_refused():
    with pytest.raises(ReproError, match="wide takes 8 GPUs at once, and there are 4"):
        simulate([Task("wide", 1.0, width=8)], 4)


def test_gpus_are_written_in_runs():
    assert (
        str(Placement(Task("t", 7200.0, width=4), 3600.0, (0, 1, 2, 7))) == "from hour 1.0 to hour 3.0 on GPUs 0-2, 7"
    )
    assert str(Placement(Task("t", 3600.0), 0.0, (5,))) == "from hour 0.0 to hour 1.0 on GPU 5"

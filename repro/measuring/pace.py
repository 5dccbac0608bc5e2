"""How long a plan still takes: what its steps are expected to cost, and how fast they were until now."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

#: How much of all the expected cost the expectation weighs as, against what was measured: it keeps the first minutes
#: steady.
_TRUST = 0.05
_TRAINING = 0.9  #: about this part of a step is training; the rest is evaluation


class _SharedTrainings:
    """The trainings that several steps begin with, and for which they wait: how far these are, and how fast.

    Args:
        expected: (stage, expected seconds) of each.
    """

    def __init__(self, expected: Sequence[tuple[str, float]]) -> None:
        by_stage: dict[str, list[float]] = {}
        for stage, seconds in expected:
            by_stage.setdefault(stage, []).append(seconds)
        self.cost = {stage: sum(all_) / len(all_) for stage, all_ in by_stage.items()}
        self.total = sum(seconds for _, seconds in expected)
        self.seen: dict[tuple[int, str], list[tuple[float, float]]] = {}  #: (time, share), the first and the last

    def advance(self, step: int, stage: str, share: float, now: float) -> None:
        """Note how far the one is that `step` executes as `stage`."""
        first, *_ = self.seen.setdefault((step, stage), [(now, share)])
        self.seen[step, stage] = [first, (now, share)]

    @property
    def slower(self) -> float:
        """How many times the expected seconds they take."""
        trust = _TRUST * self.total
        took = sum(each[-1][0] - each[0][0] for each in self.seen.values())
        done = sum(self.cost[stage] * (each[-1][1] - each[0][1]) for (_, stage), each in self.seen.items())
        return (took + trust) / (done + trust) if trust else 1.0

    @property
    def left(self) -> float:
        """The expected seconds of what is left of them."""
        return max(0.0, self.total - sum(self.cost[stage] * each[-1][1] for (_, stage), each in self.seen.items()))


class Pace:
    """The progress of steps that are done side by side.

    Args:
        costs: the seconds that each step is expected to take; 0 where nothing is known.
        workers: how many steps are done at a time.
        shared: the trainings that several steps begin with, (stage, expected seconds) of each. The first steps wait for
            theirs; later ones are done beside other steps.
    """

    def __init__(
        self,
        costs: Sequence[float],
        workers: int,
        shared: Sequence[tuple[str, float]] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        known = [cost for cost in costs if cost > 0]
        usual = sum(known) / len(known) if known else 1.0
        self.costs = [cost if cost > 0 else usual for cost in costs]
        self.trust = _TRUST * sum(self.costs) if known else 0.0
        self.workers, self.clock = workers, clock
        self.fractions = [0.0] * len(costs)
        self.started: float | None = None
        self.shared = _SharedTrainings(shared)
        self.shared_before = 0.0  #: expected seconds of shared trainings that were done when the first step began

    def advance(self, step: int, stage: str, done: int, total: int) -> None:
        """Note how far a step is. What it shares with others counts as nothing of it."""
        share = done / total if total else 0.0
        if stage in self.shared.cost:
            self.shared.advance(step, stage, share, self.clock())
        elif stage == "training":
            self._reach(step, _TRAINING * share)
        elif stage == "evaluation":
            self._reach(step, _TRAINING + (1 - _TRAINING) * share)

    def finish(self, step: int) -> None:
        """Note that a step has ended."""
        self._reach(step, 1.0)

    def _reach(self, step: int, fraction: float) -> None:
        if self.started is None:
            self.started = self.clock()
            self.shared_before = self.shared.total - self.shared.left
        self.fractions[step] = max(self.fractions[step], fraction)

    @property
    def fraction(self) -> float:
        """The part of all the work that is done."""
        done = self._count_done() + self.shared.total - self.shared.left
        return done / (sum(self.costs) + self.shared.total)

    def _count_done(self) -> float:
        return sum(cost * part for cost, part in zip(self.costs, self.fractions, strict=True))

    @property
    def remaining(self) -> float | None:
        """Estimate the seconds that are left; None where nothing is known yet."""
        done = self._count_done()
        if done + self.trust <= 0:
            return None
        left = [cost * (1 - part) for cost, part in zip(self.costs, self.fractions, strict=True)]
        steps = max(sum(left) / self.workers, max(left))
        if self.started is None:  # all wait for what they share
            return (steps + self.shared.left) * self.shared.slower
        elapsed = self.clock() - self.started
        expected = self.trust * self.shared.slower
        done += self.shared.total - self.shared.left - self.shared_before
        slower = (elapsed * self.workers + expected) / (done + self.trust)
        return (steps + self.shared.left / self.workers) * slower


def format_clock(seconds: float | None) -> str:
    """A time for people: 4:05, 2:07:30, or 3 d 4 h."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

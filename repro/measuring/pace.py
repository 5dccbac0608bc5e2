"""How long a plan still takes: what its steps are expected to cost, and how fast they were until now."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

#: How much of all the expected cost the expectation weighs as, against what was measured: it keeps the first minutes
#: steady.
_TRUST = 0.05
_TRAINING = 0.9  #: about this part of a step is training; the rest is evaluation


class Pace:
    """The progress of steps that are done side by side.

    Args:
        costs: the seconds that each step is expected to take; 0 where nothing is known.
        workers: how many steps are done at a time.
    """

    def __init__(self, costs: Sequence[float], workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        known = [cost for cost in costs if cost > 0]
        usual = sum(known) / len(known) if known else 1.0
        self.costs = [cost if cost > 0 else usual for cost in costs]
        self.trust = _TRUST * sum(self.costs) if known else 0.0
        self.workers, self.clock = workers, clock
        self.fractions = [0.0] * len(costs)
        self.started: float | None = None

    def advance(self, step: int, stage: str, done: int, total: int) -> None:
        """Note how far a step is. What comes before its training counts as nothing of it."""
        share = done / total if total else 0.0
        if stage == "training":
            self._reach(step, _TRAINING * share)
        elif stage == "evaluation":
            self._reach(step, _TRAINING + (1 - _TRAINING) * share)

    def finish(self, step: int) -> None:
        """Note that a step has ended."""
        self._reach(step, 1.0)

    def _reach(self, step: int, fraction: float) -> None:
        if self.started is None:
            self.started = self.clock()
        self.fractions[step] = max(self.fractions[step], fraction)

    @property
    def fraction(self) -> float:
        """The part of all the work that is done."""
        return sum(c * f for c, f in zip(self.costs, self.fractions, strict=True)) / sum(self.costs)

    @property
    def remaining(self) -> float | None:
        """Estimate the seconds that are left; None where nothing is known yet."""
        done = self.fraction * sum(self.costs)
        elapsed = self.clock() - self.started if self.started is not None else 0.0
        if done + self.trust <= 0:
            return None
        slower = (elapsed * self.workers + self.trust) / (done + self.trust)  # than expected
        left = [cost * (1 - part) for cost, part in zip(self.costs, self.fractions, strict=True)]
        return max(sum(left) / self.workers, max(left)) * slower


def format_clock(seconds: float | None) -> str:
    """A time for people: 4:05, 2:07:30, or 3 d 4 h."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

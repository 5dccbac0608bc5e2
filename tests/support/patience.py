"""Limits of CPU time for what a forged file may cost, which hold on slow machines, too.

A machine may be five times slower than the one on which a limit was chosen, and what the limit is for takes a hundred
times as long: so a limit is stretched by what a fixed piece of work takes here and now.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_USUAL = 0.1  #: CPU seconds of the work where the limits were chosen


def measure_slowness() -> float:
    """How many times as long as usual it takes to make and walk through many small objects; at least 1."""
    begun = time.process_time()
    made = [{"number": number, "list": [number]} for number in range(150_000)]
    sum(each["list"][0] for each in made)
    return max(1.0, (time.process_time() - begun) / _USUAL)


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Fail where the block takes more than `seconds` of CPU time of the usual machine."""
    before = measure_slowness()
    begun = time.process_time()
    yield
    took = time.process_time() - begun
    slowness = max(before, measure_slowness())
    assert took < seconds * slowness, f"{took:.1f} s on a machine that takes {slowness:.1f} times as long as usual"

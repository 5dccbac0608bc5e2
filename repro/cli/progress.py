"""How far a measurement is, for a person or a log file."""

from __future__ import annotations

import sys


class Report:
    """A line on stderr about every 5 % of a stage, and at its ends."""

    def __init__(self) -> None:
        self.last = ("", -1)

    def __call__(self, stage: str, done: int, total: int) -> None:
        part = (stage, 20 * done // total)
        if part != self.last:
            self.last = part
            print(f"{stage}: {done} of {total}", file=sys.stderr, flush=True)

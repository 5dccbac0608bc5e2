"""Whether a verification is good enough: that nothing is wrong, and what a caller asks for besides.

A store in which nothing was measured contradicts nothing. Who does not want that to pass says how much must have been
measured, or which verdicts are not good enough.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from repro.errors import ReproError, unknown
from repro.verification.coverage import Coverage
from repro.verification.verdicts import CellVerdict, Verdict, Verified

#: Verdicts that pass unless a caller asks otherwise, and are no agreement of a measured number with its print.
TOLERATED: tuple[Verdict, ...] = ("not run", "inconclusive", "indistinct", "ledger")


@dataclass(frozen=True)
class Conclusion:
    """A verification with what was asked of it."""

    verified: Verified
    require: str = ""  #: as it was given, see `count_required`
    fail_on: tuple[Verdict, ...] = ()  #: of those that are tolerated otherwise

    @cached_property
    def coverage(self) -> Coverage:
        """The coverage of all tables that were chosen."""
        return Coverage.count(self.verified.cells)

    @property
    def required(self) -> int:
        """How many distinct numbers must have been measured; 0 where nothing was asked."""
        return count_required(self.require, self.coverage.measured.total) if self.require else 0

    @property
    def lacking(self) -> str:
        """What `require` asks for and is not there, in words; empty where it is."""
        here, required = self.coverage.measured.here, self.required
        if here >= required:
            return ""
        share = f" ({self.require})" if self.require.endswith("%") else ""
        return f"{here} distinct numbers measured where {required}{share} are required"

    def fails(self, cell: CellVerdict) -> bool:
        """Whether this verdict, or that of one of its ways of measuring, is not good enough."""
        return cell.fails or any(one.verdict in self.fail_on for one in (cell, *cell.ways))

    @property
    def failed(self) -> tuple[CellVerdict, ...]:
        """The cells that are not good enough."""
        return tuple(cell for cell in self.verified.cells if self.fails(cell))

    @property
    def passed(self) -> bool:
        """Whether no cell fails, every record is what it says, and as much was measured as is required."""
        return not self.describe_failures()

    def describe_failures(self) -> list[str]:
        """Say what is not good enough, each kind with its number; an empty list where all is."""
        cells = self.verified.cells
        failures = [(self.coverage["off"], "cell", "off"), (self.coverage["conflict"], "cell", "in conflict")]
        edited = sum(cell.loosened for cell in cells)
        failures += [(edited, "tolerance", "edited after the measurement")]
        failures += [(len(self.verified.problems), "problem", "with records")]
        for verdict in self.fail_on:
            own = sum(any(one.verdict == verdict for one in (cell, *cell.ways)) for cell in cells)
            failures += [(own, "cell", verdict)]
        said = [f"{number} {what}{'' if number == 1 else 's'} {how}" for number, what, how in failures if number]
        return [*said, self.lacking] if self.lacking else said

    @property
    def headline(self) -> str:
        """The coverage, and what fails; "0 cells off" where something was measured or counted and nothing fails."""
        coverage = self.coverage
        parts = self.describe_failures()
        if not parts and (coverage.measured.here or coverage.counted.here):
            parts = ["0 cells off"]
        return "; ".join([coverage.summarize(), *parts])


def count_required(text: str, total: int) -> int:
    """Count how many distinct numbers `--require` asks for.

    Args:
        text: a number of them, "20", or a share of those that the chosen tables print, "50%".
        total: how many the tables print that take data and weights; parameters and operations are not among them.

    Raises:
        ReproError: it is neither, it is 0, or it is more than there are.
    """
    match = re.fullmatch(r"([0-9]{1,6})|([0-9]{1,3}(?:\.[0-9]{1,6})?)%", text)
    number = 0
    if match:
        number = int(match[1]) if match[1] else math.ceil(Fraction(match[2]) * total / 100)
    if not 1 <= number <= total:
        raise ReproError(
            f"--require {text}: give how many distinct numbers must have been measured, 1 to {total} for the tables "
            "chosen, or a share of them, such as 50%."
        )
    return number


def choose_verdicts(words: Sequence[str]) -> tuple[Verdict, ...]:
    """Choose the verdicts that `--fail-on` names, each once; "not-run" is "not run".

    Raises:
        ReproError: there is no such verdict, or none to choose: it always fails, or it is agreement.
    """
    return tuple(dict.fromkeys(_choose_verdict(word) for word in words))


def _choose_verdict(word: str) -> Verdict:
    plain = " ".join(word.replace("-", " ").split())
    for verdict in TOLERATED:
        if plain == verdict:
            return verdict
    if plain in ("off", "conflict"):
        raise ReproError(f"--fail-on {word}: a cell with this verdict always fails.")
    if plain in ("compatible", "match"):
        raise ReproError(f"--fail-on {word}: this is the verdict of a cell that agrees with the print.")
    raise unknown("verdict of --fail-on", word, [verdict.replace(" ", "-") for verdict in TOLERATED])

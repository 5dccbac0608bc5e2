"""How many numbers of a table are measured or counted, and agree, by verdict and reason. Every format counts here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from repro import paper
from repro.paper import COLUMNS
from repro.verification.verdicts import CellVerdict, Verdict


@dataclass(frozen=True)
class Share:
    """How many of the distinct numbers of one kind there are here, and how many the cells print."""

    here: int
    total: int


@dataclass(frozen=True)
class Coverage:
    """How many cells have which verdict, and for which reasons.

    A number is distinct by its experiment, data set and column: the baseline of Table 2 is printed six times.
    """

    total: int
    measured: Share  #: numbers that take data and weights
    counted: Share  #: parameters and operations
    same: int  #: cells of counts that print the same as ours
    verdicts: Mapping[Verdict, int]  #: only those that occur
    reasons: Mapping[Verdict, Counter[str]]

    @classmethod
    def count(cls, cells: Sequence[CellVerdict]) -> Coverage:
        """Count the verdicts of `cells` and their reasons."""
        verdicts: Counter[Verdict] = Counter(cell.verdict for cell in cells)
        reasons = {verdict: Counter(cell.reason for cell in cells if cell.verdict == verdict) for verdict in verdicts}
        measured, counted = ([c for c in cells if COLUMNS[c.cell.column].measured is kind] for kind in (True, False))
        return cls(
            len(cells), _count_distinct(measured), _count_distinct(counted),
            sum(cell.delta == 0 and cell.verdict == "match" for cell in counted),
            dict(verdicts), reasons,
        )  # fmt: skip

    def __getitem__(self, verdict: Verdict) -> int:
        return self.verdicts.get(verdict, 0)

    def summarize(self) -> str:
        """Say in a few words how many of the distinct numbers were measured, and counted where any were."""
        said = f"{self.measured.here} of {self.measured.total} distinct numbers measured"
        if self.counted.here:
            said += f", {self.counted.here} of {self.counted.total} distinct counts made"
        return said

    def describe(self) -> str:
        """Say in one line what was measured and what was counted, what agrees, and what is off, undecided or not run.

        Measured numbers come first and apart: that counts agree says nothing about them.
        """
        parts = []
        if self.measured.total:
            cells = f": {_count(self['compatible'])} compatible with the print" if self.measured.here else ""
            cells += f", {self['indistinct']} indistinct from no effect" if self["indistinct"] else ""
            parts.append(f"{self.measured.here} of {self.measured.total} distinct numbers measured{cells}")
        if self.counted.total:
            how = [f"{_count(self.same)} print{'s' if self.same == 1 else ''} the same"]
            how += [f"{near} within the rule for counts"] if (near := self["match"] - self.same) else []
            how += [f"{self['ledger']} explained in the ledger"] if self["ledger"] else []
            cells = f": {', '.join(how)}" if self.counted.here else ""
            parts.append(f"{self.counted.here} of {self.counted.total} distinct counts made{cells}")
        if self["off"] or self.measured.here or self.counted.here:  # of nothing, "0 off" says nothing
            parts.append(f"{self['off']} off")
        if self["conflict"]:
            parts.append(f"{_count(self['conflict'])} in conflict between ways of measuring")
        undecided: tuple[Verdict, ...] = ("inconclusive", "not run")
        for verdict in undecided:
            reasons = self.reasons.get(verdict, Counter())
            if len(reasons) == 1:
                parts.append(f"{_count(self[verdict])} {verdict}: {next(iter(reasons))}")
            elif reasons:
                each = "; ".join(f"{number}: {reason}" for reason, number in reasons.most_common())
                parts.append(f"{_count(self[verdict])} {verdict} ({each})")
        return "; ".join(parts) or "no cells"


def _count(cells: int) -> str:
    return f"{cells} cell{'' if cells == 1 else 's'}"


def _count_distinct(cells: Sequence[CellVerdict]) -> Share:
    every = {_identify(cell) for cell in cells}
    return Share(len({_identify(cell) for cell in cells if cell.ours is not None}), len(every))


def _identify(verdict: CellVerdict) -> tuple[str, str, str]:
    """The same for every cell that prints one number."""
    cell = verdict.cell
    group = next(group for group in paper.load(cell.table).groups if group.name == cell.group)
    dataset = group.dataset if COLUMNS[cell.column].measured else ""
    return verdict.experiment, dataset, cell.column

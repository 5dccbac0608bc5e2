"""How much of a table is verified: cells counted by verdict and reason. Every verb and every format counts here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from repro.paper import COLUMNS
from repro.verification.verdicts import CellVerdict, Verdict


@dataclass(frozen=True)
class Coverage:
    """How many cells have which verdict, and for which reasons."""

    total: int
    measured: int  #: of the total, those that take data and weights; the others are counted
    like_baseline: int  #: compatible ones that are compatible with their baseline's print as well
    verdicts: Mapping[Verdict, int]  #: only those that occur
    reasons: Mapping[Verdict, Counter[str]]

    @classmethod
    def count(cls, cells: Sequence[CellVerdict]) -> Coverage:
        """Count the verdicts of `cells` and their reasons."""
        verdicts: Counter[Verdict] = Counter(cell.verdict for cell in cells)
        reasons = {verdict: Counter(cell.reason for cell in cells if cell.verdict == verdict) for verdict in verdicts}
        measured = sum(COLUMNS[cell.cell.column].measured for cell in cells)
        return cls(len(cells), measured, sum(cell.like_baseline for cell in cells), dict(verdicts), reasons)

    def __getitem__(self, verdict: Verdict) -> int:
        return self.verdicts.get(verdict, 0)

    def describe(self) -> str:
        """Say in one line how many cells agree, are off, inconclusive and not run, and why."""
        parts = []
        if self.measured:
            like = f" ({self.like_baseline} with their baseline's as well)" if self.like_baseline else ""
            parts.append(f"{self['compatible']} of {self.measured} measured numbers compatible with the print{like}")
        if counted := self.total - self.measured:
            parts.append(f"{self['match']} of {counted} counts match")
        parts.append(f"{self['off']} off")
        if self["ledger"]:
            parts.append(f"{self['ledger']} explained in the ledger")
        undecided: tuple[Verdict, ...] = ("inconclusive", "not run")
        for verdict in undecided:
            reasons = self.reasons.get(verdict, Counter())
            if len(reasons) == 1:
                parts.append(f"{self[verdict]} {verdict}: {next(iter(reasons))}")
            elif reasons:
                each = "; ".join(f"{number}: {reason}" for reason, number in reasons.most_common())
                parts.append(f"{self[verdict]} {verdict} ({each})")
        return ", ".join(parts)

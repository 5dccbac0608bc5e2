"""How much of a table is verified: cells counted by verdict and reason. Every verb and every format counts here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from repro.verification.verdicts import CellVerdict, Verdict


@dataclass(frozen=True)
class Coverage:
    """How many cells have which verdict, and for which reasons."""

    total: int
    verdicts: Mapping[Verdict, int]  #: only those that occur
    reasons: Mapping[Verdict, Counter[str]]

    @classmethod
    def count(cls, cells: Sequence[CellVerdict]) -> Coverage:
        """Count the verdicts of `cells` and their reasons."""
        verdicts: Counter[Verdict] = Counter(cell.verdict for cell in cells)
        reasons = {verdict: Counter(cell.reason for cell in cells if cell.verdict == verdict) for verdict in verdicts}
        return cls(len(cells), dict(verdicts), reasons)

    def __getitem__(self, verdict: Verdict) -> int:
        return self.verdicts.get(verdict, 0)

    def describe(self) -> str:
        """Say in one line how many cells are verified, off, inconclusive and not run, and why."""
        parts = [f"{self['match']} of {self.total} cells verified", f"{self['off']} off"]
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

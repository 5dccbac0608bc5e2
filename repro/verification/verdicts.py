"""What became of every published number: a verdict with its evidence, by cell, row, table and store.

`repro.verification.judgement` decides them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args

from repro.paper import Cell, Group, Row, Table
from repro.records import Count, ForeignFile, Record
from repro.verification.integrity import Problem
from repro.verification.measurements import Measurement, Unused

#: A measured number is "compatible" with its print, which is no proof that they are equal. One of a row with a block is
#: told from the row without it, too, or else it is "indistinct": within tolerance of the print, and of no effect.
#: A count is exact: it is a "match", or stands in `tables/ledger.yaml` with the reason why it is not the print
#: ("ledger"). "conflict": one way of measuring is within tolerance, another one off.
Verdict = Literal["compatible", "indistinct", "match", "ledger", "off", "conflict", "inconclusive", "not run"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
#: The verdicts of a measured number in one way.
WORST_FIRST: tuple[Verdict, ...] = ("off", "inconclusive", "indistinct", "compatible")


@dataclass(frozen=True)
class CellVerdict:
    """What became of one published number.

    `ours`, `spread` (standard deviation over n seeds) and `standard_error` (of one run, over its items) are in the
    unit of the cell. `low` and `high`: what ours would be with all items that were not evaluated wrong, or right.
    """

    cell: Cell
    experiment: str
    verdict: Verdict
    reason: str = ""
    ours: float | None = None
    spread: float | None = None
    n: int = 0
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    source: str | None = None
    engine: str | None = None
    tolerance: float | None = None  #: half-width, rounding of the print included
    applied: str | None = None  #: which tolerance that is
    rationale: str | None = None
    note: str = ""  #: from the ledger, or about a tolerance that was edited to no advantage
    loosened: bool = False  #: whether an edit of its tolerance after the measurement would make the verdict better
    records: tuple[str, ...] = ()
    way: str = ""  #: in which way it was measured, in words
    ways: tuple[CellVerdict, ...] = ()  #: where it was measured in several: the verdict of each

    @property
    def each(self) -> tuple[CellVerdict, ...]:
        """The verdict of each way of measuring; itself where there is one."""
        return self.ways or (self,)

    @property
    def fails(self) -> bool:
        """Whether it is off, in conflict, or would be better only by an edit of its tolerance."""
        return self.verdict in ("off", "conflict") or self.loosened

    @property
    def delta(self) -> float | None:
        """Ours at the printed precision minus published: what a reader gets who subtracts the two."""
        if self.ours is None:
            return None
        return round(round_as_printed(self.ours, self.cell.decimals) - self.cell.value, self.cell.decimals) + 0.0

    @property
    def shown(self) -> str:
        """Ours with its uncertainty, with one digit more than the print has; empty if it was not measured."""
        if self.ours is None:
            return ""
        digits = self.cell.decimals + 1
        text = f"{self.ours:.{digits}f}"
        if self.spread is not None:
            text += f" ± {self.spread:.{digits}f}"
        elif self.standard_error is not None:
            text += f" ± {self.standard_error:.{digits}f} (standard error)"
        if self.low is not None:
            text += f" {self.assumption}"
        return text + (f" over {self.n} seeds" if self.n > 1 else "")

    @property
    def assumption(self) -> str:
        """What is assumed where items were not evaluated, and the bounds without it; empty where all were."""
        if self.low is None:
            return ""
        digits = self.cell.decimals + 1
        return (
            f"as evaluated (of all items only if they are missing at random), from {self.low:.{digits}f} to "
            f"{self.high:.{digits}f} whatever the missing items are"
        )

    def __str__(self) -> str:
        """`Table 2(a), +1 NL, AP box: off: published 38.0, ours 36.10 (-1.9): differs by more than ...`."""
        if self.ours is None:
            return f"{self.cell}: {self.verdict}: {self.reason}"
        if self.ways:
            each = "; ".join(f"{one.way}: {str(one).removeprefix(f'{one.cell}: ')}" for one in self.ways)
            return f"{self.cell}: {self.verdict}, measured in {len(self.ways)} ways: {each}"
        numbers = f"published {self.cell.printed}, ours {self.shown} ({self.delta:+g})"
        why = self.reason or self.note
        return f"{self.cell}: {self.verdict}: {numbers}" + (f": {why}" if why else "")

    def as_dict(self) -> dict[str, object]:
        """The fields for JSON: the cell's own fields, then ours."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("cell", "ways")}
        ways = [one.as_dict() for one in self.ways]
        own["assumption"] = self.assumption
        return {**asdict(self.cell), **own, "delta": self.delta, "profile": "full", "ways": ways}


@dataclass(frozen=True)
class RowVerdict:
    """One row of the table: where its numbers come from, and a verdict for each cell."""

    group: Group
    row: Row
    measurements: tuple[tuple[str, Measurement], ...]  #: (way, measurement), each with verdicts of its own
    count: Count | None
    cells: tuple[CellVerdict, ...]


@dataclass(frozen=True)
class Verification:
    """One table: its rows with their verdicts, and the records of its experiments that no number comes from."""

    table: Table
    rows: tuple[RowVerdict, ...]
    unused: tuple[Unused, ...]

    @property
    def cells(self) -> tuple[CellVerdict, ...]:
        return tuple(cell for row in self.rows for cell in row.cells)

    @property
    def off(self) -> tuple[CellVerdict, ...]:
        return tuple(cell for cell in self.cells if cell.verdict in ("off", "conflict"))


@dataclass(frozen=True)
class Verified:
    """Several tables against one store, which was read once."""

    verifications: tuple[Verification, ...]
    problems: tuple[Problem, ...]
    files: Mapping[str, Record]
    foreign: tuple[ForeignFile, ...] = ()  #: what this version can say nothing of

    @property
    def mini(self) -> tuple[str, ...]:
        """Files with records of the mini profile, which no verdict rests on."""
        return tuple(file for file, record in self.files.items() if record.profile == "mini")

    @property
    def cells(self) -> tuple[CellVerdict, ...]:
        return tuple(cell for verification in self.verifications for cell in verification.cells)

    @property
    def off(self) -> tuple[CellVerdict, ...]:
        return tuple(cell for cell in self.cells if cell.verdict in ("off", "conflict"))

    @property
    def unused(self) -> tuple[Unused, ...]:
        """The records that no number comes from, each once, although several tables have its experiment."""
        return tuple({u.filename: u for v in self.verifications for u in v.unused}.values())


def round_as_printed(value: float, decimals: int) -> float:
    """`value` as it would be printed with so many decimals."""
    return float(f"{value:.{decimals}f}")

"""Cell by cell: published, ours, delta, tolerance, verdict. Pure functions of published data, records and counts.

Only full-profile records meet a published number. What was measured on a part of the data set gets no verdict but
"inconclusive", and what was not measured says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean
from typing import Literal

from repro import ledger, tolerances
from repro.complexity import COUNTER
from repro.detection.conventions import AUTHORS, MMDETECTION_1
from repro.experiments import get
from repro.measurements import Measurement, Unused, collect, deviation
from repro.paper import COLUMNS, DATASETS, Cell, DataSet, Group, Row, Table
from repro.records import Count, Record, Store
from repro.tolerances import Fixed, Seeds, Tolerances

#: "ledger": a count that is not the print, for a reason that stands in `tables/ledger.yaml`.
Verdict = Literal["match", "ledger", "off", "inconclusive", "not run"]
_FUZZ = 1e-9  #: of binary fractions: 37.5 - 37.2 is not 0.3


@dataclass(frozen=True)
class CellVerdict:
    """What became of one published number. `ours` and `spread` (standard deviation over n seeds) are in its unit."""

    cell: Cell
    experiment: str
    verdict: Verdict
    reason: str = ""
    ours: float | None = None
    spread: float | None = None
    n: int = 0
    source: str | None = None
    engine: str | None = None
    tolerance: float | None = None  #: half-width, rounding of the print included
    applied: str | None = None  #: which tolerance that is
    rationale: str | None = None
    note: str = ""  #: of the ledger
    records: tuple[str, ...] = ()

    @property
    def delta(self) -> float | None:
        """Ours at the printed precision minus published: what a reader gets who subtracts the two."""
        if self.ours is None:
            return None
        return round(rounded(self.ours, self.cell.decimals) - self.cell.value, self.cell.decimals) + 0.0

    def __str__(self) -> str:
        """`Table 2(a), +1 NL, AP box: off: published 38.0, ours 36.10 (-1.9): differs by more than ...`."""
        if self.ours is None:
            return f"{self.cell}: {self.verdict}: {self.reason}"
        n = f" over {self.n} seeds" if self.n > 1 else ""
        numbers = f"published {self.cell.printed}, ours {self.ours:.{self.cell.decimals + 1}f}{n} ({self.delta:+g})"
        return f"{self.cell}: {self.verdict}: {numbers}" + (f": {self.reason}" if self.reason else "")

    def as_dict(self) -> dict[str, object]:
        """For JSON: the cell's own fields, then ours."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "cell"}
        return {**asdict(self.cell), **own, "delta": self.delta, "profile": "full"}


@dataclass(frozen=True)
class RowVerdict:
    """One row of the table: where its numbers come from, and a verdict for each cell."""

    group: Group
    row: Row
    measurement: Measurement | None
    count: Count | None
    cells: tuple[CellVerdict, ...]


@dataclass(frozen=True)
class Verification:
    table: Table
    rows: tuple[RowVerdict, ...]
    unused: tuple[Unused, ...]

    @property
    def cells(self) -> tuple[CellVerdict, ...]:
        return tuple(cell for row in self.rows for cell in row.cells)

    @property
    def off(self) -> tuple[CellVerdict, ...]:
        return tuple(cell for cell in self.cells if cell.verdict == "off")


def verify_store(table: Table, store: Store) -> Verification:
    """`verify` with what `store` holds and the tolerances in force.

    Raises:
        ReproError: a record, the ledger or the tolerances are damaged; the file is named.
    """
    return verify(table, store.all(), store.counts(), tolerances.load())


def verify(table: Table, records: Sequence[Record], counts: Mapping[str, Count], rules: Tolerances) -> Verification:
    """A verdict for every cell of `table`. `counts` are by spec hash."""
    measured, unused = collect(records, {name: get(name) for name in table.experiments}, "full")
    outdated = {(record.experiment, record.dataset) for record in unused if record.stale}
    rows = []
    for group in table.groups:
        for row in group.rows:
            measurement = next((m for m in measured[row.experiment] if m.first.dataset.name == group.dataset), None)
            count = counts.get(get(row.experiment).spec_hash)
            count = count if count and count.counter == COUNTER else None
            stale = measurement is None and (row.experiment, group.dataset) in outdated
            cells = tuple(
                _measured(cell, row, group, measurement, rules, stale)
                if COLUMNS[cell.column].measured
                else _counted(cell, row, count, counts)
                for cell in row.cells
            )
            rows.append(RowVerdict(group, row, measurement, count, cells))
    return Verification(table, tuple(rows), tuple(unused))


def coverage(cells: Sequence[CellVerdict]) -> str:
    """How many cells are verified, off, inconclusive and not run, and why: one line."""
    number = Counter(cell.verdict for cell in cells)
    parts = [f"{number['match']} of {len(cells)} cells verified", f"{number['off']} off"]
    if number["ledger"]:
        parts.append(f"{number['ledger']} explained in the ledger")
    for verdict in ("inconclusive", "not run"):
        reasons = Counter(cell.reason for cell in cells if cell.verdict == verdict)
        if len(reasons) == 1:
            parts.append(f"{number[verdict]} {verdict}: {next(iter(reasons))}")
        elif reasons:
            each = "; ".join(f"{many}: {reason}" for reason, many in reasons.most_common())
            parts.append(f"{number[verdict]} {verdict} ({each})")
    return ", ".join(parts)


def rounded(value: float, decimals: int) -> float:
    """`value` as it would be printed with so many decimals."""
    return float(f"{value:.{decimals}f}")


def _measured(
    cell: Cell, row: Row, group: Group, measurement: Measurement | None, rules: Tolerances, stale: bool
) -> CellVerdict:
    dataset = DATASETS[group.dataset]
    if measurement is None:
        reason = "its record is stale (the network or the recipe has changed)" if stale else f"needs {dataset.needs}"
        return CellVerdict(cell, row.experiment, "not run", reason)
    values = list(measurement.values(cell.column).values())
    if not values:
        return CellVerdict(cell, row.experiment, "not run", f"its records lack {COLUMNS[cell.column].heading}")
    width, applied, rule = _tolerance(cell, measurement, values, rules)
    reason = _undecided(cell, measurement, dataset, width, rule)
    ours = fmean(values)
    if reason:
        verdict: Verdict = "inconclusive"
    else:
        verdict = "match" if abs(ours - cell.value) <= width + _FUZZ else "off"
        reason = "" if verdict == "match" else f"differs by more than {width:.2f} {cell.unit}: {applied}"
    first = measurement.first
    return CellVerdict(
        cell, row.experiment, verdict, reason,
        ours=ours, spread=deviation(values), n=len(values), source=first.answered_by, engine=first.engine,
        tolerance=width, applied=applied, rationale=rule.rationale,
        records=tuple(record.filename for record in measurement.records),
    )  # fmt: skip


def _tolerance(
    cell: Cell, measurement: Measurement, values: list[float], rules: Tolerances
) -> tuple[float | None, str, Fixed | Seeds]:
    """(half-width with the rounding of the print, name, rule); no half-width where none is declared."""
    printing = 0.5 * 10**-cell.decimals
    first = measurement.first
    if first.source == "trained" and len(values) > 1:
        rule = rules.seeds
        width = rules.one_seed.half_width.get(cell.column)
        if cell.column not in rule.widest:
            width = None
        elif width is not None:
            # Ours is a mean, the paper's is one run: the prior for one run stays the least.
            width = max(width, tolerances.prediction_half_width(values, rule.confidence))
    else:
        if first.source == "trained":
            rule = rules.one_seed
        else:
            rule = rules.checkpoint if _as_trained(first) else rules.converted
        width = rule.half_width.get(cell.column)
    return None if width is None else width + printing, rule.applies_to, rule


def _as_trained(record: Record) -> bool:
    """Whether weights were evaluated by the arithmetic that they were trained with."""
    checkpoint = record.weights.checkpoint
    return checkpoint is not None and checkpoint.conventions in (MMDETECTION_1.name, AUTHORS.name)


def _undecided(
    cell: Cell,
    measurement: Measurement,
    dataset: DataSet,
    width: float | None,
    rule: Fixed | Seeds,
) -> str:
    """Why a measured cell can be neither "match" nor "off"; empty if it can."""
    if shortfall := measurement.shortfall(dataset):
        return shortfall
    if width is None:
        return f"no tolerance is declared for {COLUMNS[cell.column].heading}"
    if isinstance(rule, Seeds) and width > (widest := rule.widest[cell.column]):
        return f"the prediction interval from {measurement.n} seeds is wider than ±{widest:g} {cell.unit}"
    return ""


def _counted(cell: Cell, row: Row, count: Count | None, counts: Mapping[str, Count]) -> CellVerdict:
    if count is None:
        outdated = any(other.experiment == row.experiment for other in counts.values())
        why = "its count is stale: run" if outdated else "needs"
        return CellVerdict(cell, row.experiment, "not run", f"{why} `repro complexity --table {cell.table}`")
    if cell.column == "params":
        ruling, exact, rule = ledger.verdict_params(cell, count), count.params, "exact count, rounded or truncated"
    else:
        ruling, exact, rule = ledger.verdict_flops(cell, count), count.paper_flops, "one unit of the last printed digit"
    note = ""
    if ruling.entry is not None:
        note = f"{cell.printed} printed, {exact:,} counted: {ruling.entry.reason.rstrip('.')}"
    elif ruling.verdict == "match" and ruling.how == "truncated":
        note = f"{cell.printed} is {exact:,} truncated, not rounded"
    return CellVerdict(
        cell, row.experiment, ruling.verdict, "" if ruling.verdict == "match" else ruling.how,
        ours=exact / ledger.SCALE[cell.column], n=1, source="counted", engine=count.counter,
        applied=rule, rationale="counting is exact", note=note, records=(f"complexity/{count.filename}",),
    )  # fmt: skip

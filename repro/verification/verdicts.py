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

from repro.complexity import COUNTER
from repro.experiments import get
from repro.experiments.conventions import AUTHORS, MMDETECTION_1
from repro.paper import COLUMNS, DATASETS, STATISTICS, Cell, DataSet, Group, Row, Table, tolerances
from repro.paper.tolerances import Fixed, Rule, Seeds, Tolerances
from repro.records import Count, Record, Store
from repro.statistics import seeds
from repro.statistics.seeds import compute_deviation
from repro.verification import ledger
from repro.verification.integrity import Finding, findings
from repro.verification.measurements import Measurement, Unused, collect, required_items

#: "ledger": a count that is not the print, for a reason that stands in `tables/ledger.yaml`.
Verdict = Literal["match", "ledger", "off", "inconclusive", "not run"]
_FUZZ = 1e-9  #: of binary fractions: 37.5 - 37.2 is not 0.3
#: Share of the videos of Kinetics, of which no two copies have the same, that a mean over them is taken from.
_ENOUGH = 0.95
#: Metrics that are a share of the items, so that those that were not evaluated can be reckoned right or wrong.
SHARES = ("top1", "top5")


@dataclass(frozen=True)
class CellVerdict:
    """What became of one published number.

    `ours`, `spread` (standard deviation over n seeds) and `standard_error` (of one run, over its items) are in its
    unit. `low` and `high`: what ours would be with all items that were not evaluated wrong, or right.
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
    note: str = ""  #: of the ledger, or of a tolerance that was edited without changing the verdict
    loosened: bool = False  #: whether its tolerance was edited after it was measured, and the verdict is another so
    records: tuple[str, ...] = ()

    @property
    def delta(self) -> float | None:
        """Ours at the printed precision minus published: what a reader gets who subtracts the two."""
        if self.ours is None:
            return None
        return round(rounded(self.ours, self.cell.decimals) - self.cell.value, self.cell.decimals) + 0.0

    @property
    def shown(self) -> str:
        """Ours with its uncertainty, one digit more than the print has; empty of what was not measured."""
        if self.ours is None:
            return ""
        digits = self.cell.decimals + 1
        text = f"{self.ours:.{digits}f}"
        if self.spread is not None:
            text += f" ± {self.spread:.{digits}f}"
        elif self.standard_error is not None:
            text += f" ± {self.standard_error:.{digits}f} (standard error)"
        if self.low is not None:
            text += f", from {self.low:.{digits}f} to {self.high:.{digits}f} with the missing items"
        return text + (f" over {self.n} seeds" if self.n > 1 else "")

    def __str__(self) -> str:
        """`Table 2(a), +1 NL, AP box: off: published 38.0, ours 36.10 (-1.9): differs by more than ...`."""
        if self.ours is None:
            return f"{self.cell}: {self.verdict}: {self.reason}"
        numbers = f"published {self.cell.printed}, ours {self.shown} ({self.delta:+g})"
        why = self.reason or self.note
        return f"{self.cell}: {self.verdict}: {numbers}" + (f": {why}" if why else "")

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


@dataclass(frozen=True)
class Verified:
    """Several tables against one store, which was read once."""

    verifications: tuple[Verification, ...]
    findings: tuple[Finding, ...]
    files: Mapping[str, Record]

    @property
    def mini(self) -> tuple[str, ...]:
        """Files of the mini profile, which no verdict rests on."""
        return tuple(file for file, record in self.files.items() if record.profile == "mini")

    @property
    def cells(self) -> tuple[CellVerdict, ...]:
        return tuple(cell for verification in self.verifications for cell in verification.cells)

    @property
    def off(self) -> tuple[CellVerdict, ...]:
        return tuple(cell for cell in self.cells if cell.verdict == "off")

    @property
    def unused(self) -> tuple[Unused, ...]:
        """Each once, although several tables have its experiment."""
        return tuple({u.filename: u for v in self.verifications for u in v.unused}.values())

    @property
    def passed(self) -> bool:
        """Whether no cell is off or was made to match, and every record is what it says.

        That anything was measured is another question.
        """
        return not self.off and not self.findings and not any(cell.loosened for cell in self.cells)


def verify_all(tables: Sequence[Table], store: Store) -> Verified:
    """`verify` of each table with what `store` holds, the tolerances in force, and what is wrong with the records.

    Raises:
        ReproError: a record, the ledger or the tolerances are damaged; the file is named.
    """
    files, counts, rules = store.files(), store.counts(), tolerances.load()
    records, found = list(files.values()), findings(files)
    verifications = tuple(verify(table, records, counts, rules, found) for table in tables)
    return Verified(verifications, found, files)


def verify_store(table: Table, store: Store) -> Verification:
    """`verify_all` of one table."""
    return verify_all((table,), store).verifications[0]


def verify(
    table: Table,
    records: Sequence[Record],
    counts: Mapping[str, Count],
    rules: Tolerances,
    suspected: Sequence[Finding] = (),
) -> Verification:
    """A verdict for every cell of `table`. `counts` are by spec hash; no verdict rests on a record in `suspected`."""
    wrong = {finding.record.key: finding for finding in reversed(suspected)}
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
                _measured(cell, row, group, measurement, rules, stale, wrong)
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
    cell: Cell,
    row: Row,
    group: Group,
    measurement: Measurement | None,
    rules: Tolerances,
    stale: bool,
    wrong: Mapping[str, Finding],
) -> CellVerdict:
    dataset = DATASETS[group.dataset]
    if measurement is None:
        reason = "its record is stale (the network or the recipe has changed)" if stale else f"needs {dataset.needs}"
        return CellVerdict(cell, row.experiment, "not run", reason)
    measurement = measurement.of(cell.column)
    values = list(measurement.values(cell.column).values())
    if not values:
        return CellVerdict(cell, row.experiment, "not run", f"its records lack {COLUMNS[cell.column].heading}")
    judged = _judge(cell, measurement, values, dataset, rules)
    verdict, reason, note, loosened = judged.verdict, judged.reason, "", False
    if finding := next((wrong[record.key] for record in measurement.records if record.key in wrong), None):
        verdict, reason = "inconclusive", str(finding)
    elif edited := _edited(cell, measurement, values, dataset, rules, judged):
        then, note = edited
        if then != verdict:
            reason, note, loosened = f"{note}; it was {then} then, and would be {verdict} now", "", True
            verdict = "inconclusive"
    first = measurement.first
    errors = [record.metric(cell.column).standard_error for record in measurement.records]
    return CellVerdict(
        cell, row.experiment, verdict, reason,
        ours=fmean(values), spread=compute_deviation(values), n=len(values),
        standard_error=errors[0] if len(errors) == 1 else None,
        low=judged.interval and judged.interval[0], high=judged.interval and judged.interval[1],
        source=first.answered_by, engine=first.engine,
        tolerance=judged.width, applied=judged.rule.applies_to, rationale=judged.rule.rationale,
        note=note, loosened=loosened,
        records=tuple(record.filename for record in measurement.records),
    )  # fmt: skip


@dataclass(frozen=True)
class _Judged:
    verdict: Verdict
    reason: str
    width: float | None  #: half-width with the rounding of the print
    rule: Fixed | Seeds | tolerances.Undeclared
    interval: tuple[float, float] | None = None


def _judge(cell: Cell, measurement: Measurement, values: list[float], dataset: DataSet, rules: Tolerances) -> _Judged:
    """What the tolerances make of a measured cell."""
    width, rule = _tolerance(cell, measurement, values, rules)
    ours, unit = fmean(values), cell.unit
    interval = _interval(cell, measurement, dataset)
    if reason := _undecided(cell, measurement, dataset, width, rule, interval):
        return _Judged("inconclusive", reason, width, rule, interval)
    low, high = interval or (ours, ours)
    inside = [abs(end - cell.value) <= width + _FUZZ for end in (low, high)]
    if all(inside):
        return _Judged("match", "", width, rule, interval)
    if any(inside) or low < cell.value < high:
        digits = cell.decimals + 1
        reason = (
            f"between {low:.{digits}f} and {high:.{digits}f}, as the {dataset.items} that were not evaluated are wrong "
            f"or right; within {width:.{digits}f} {unit} is only a part of it"
        )
        return _Judged("inconclusive", reason, width, rule, interval)
    reason = f"differs by more than {width:.2f} {unit}: {rule.applies_to}"
    return _Judged("off", reason, width, rule, interval)


def _interval(cell: Cell, measurement: Measurement, dataset: DataSet) -> tuple[float, float] | None:
    """A share of all items that the protocol has, those that are missing wrong, and right; None if none is missing."""
    if cell.column not in SHARES:
        return None
    ends = []
    for record in measurement.records:
        metric, required = record.metric(cell.column), required_items(record, dataset)
        if not 0 < metric.n <= required:
            return None
        right = metric.value * metric.n
        ends.append((right / required, (right + 100 * (required - metric.n)) / required, required - metric.n))
    if not any(missing for _, _, missing in ends):
        return None
    return fmean(low for low, _, _ in ends), fmean(high for _, high, _ in ends)


def _edited(
    cell: Cell,
    measurement: Measurement,
    values: list[float],
    dataset: DataSet,
    rules: Tolerances,
    now: _Judged,
) -> tuple[Verdict, str] | None:
    """The verdict by the tolerances in force when it was measured, and what was edited since; None if nothing was."""
    for record in measurement.records:
        if record.tolerances is None:
            continue
        then = _judge(cell, measurement, values, dataset, rules.as_of(record.tolerances, record.dataset.name))
        if (then.width, then.verdict) != (now.width, now.verdict):
            before, after = ("none" if w is None else f"±{w:.2f} {cell.unit}" for w in (then.width, now.width))
            return then.verdict, (
                f"its tolerance was edited after it was measured: {before} then, {after} now ({record.filename})"
            )
    return None


def _tolerance(
    cell: Cell, measurement: Measurement, values: list[float], rules: Tolerances
) -> tuple[float | None, Fixed | Seeds | tolerances.Undeclared]:
    """(half-width with the rounding of the print, rule); no half-width where none is declared."""
    if cell.column in rules.undeclared.metrics:
        return None, rules.undeclared
    first = measurement.first
    rule = rules.rule(_rule(first, len(values)))
    width = rules.one_seed.on(first.dataset.name) if isinstance(rule, Seeds) else rule.on(first.dataset.name)
    width = width.get(cell.column)
    if isinstance(rule, Seeds):
        if cell.column not in rule.on(first.dataset.name):
            width = None
        elif width is not None:
            # Ours is a mean, the paper's is one run: the prior for one run stays the least.
            width = max(width, seeds.compute_prediction_half_width(values, rule.confidence))
    return None if width is None else width + 0.5 * 10**-cell.decimals, rule


def _rule(first: Record, runs: int) -> Rule:
    if first.source == "trained":
        return "seeds" if runs > 1 else "one_seed"
    return "checkpoint" if _as_trained(first) else "converted"


def _as_trained(record: Record) -> bool:
    """Whether weights were evaluated by the arithmetic that they were trained with."""
    checkpoint = record.weights.checkpoint
    return checkpoint is not None and checkpoint.conventions in (MMDETECTION_1.name, AUTHORS.name)


def _undecided(
    cell: Cell,
    measurement: Measurement,
    dataset: DataSet,
    width: float | None,
    rule: Fixed | Seeds | tolerances.Undeclared,
    interval: tuple[float, float] | None,
) -> str:
    """Why a measured cell can be neither "match" nor "off"; empty if it can. An interval stands for missing items."""
    if shortfall := measurement.shortfall(dataset, items=interval is None and not _enough(cell, measurement, dataset)):
        return shortfall
    if width is None:
        return no_tolerance(cell.column)
    if isinstance(rule, Seeds) and width > (widest := rule.on(measurement.first.dataset.name)[cell.column]):
        return f"the prediction interval from {measurement.n} seeds is wider than ±{widest:g} {cell.unit}"
    return ""


def no_tolerance(column: str) -> str:
    """Why a cell that was measured as the paper's protocol asks for is neither "match" nor "off"."""
    return f"no tolerance is declared for {COLUMNS[column].heading}"


def _enough(cell: Cell, measurement: Measurement, dataset: DataSet) -> bool:
    """Whether a mean is over nearly all of a data set that nobody has all of."""
    if cell.column not in STATISTICS or dataset.size is not None:
        return False
    return all(r.dataset.evaluated >= _ENOUGH * required_items(r, dataset) for r in measurement.records)


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

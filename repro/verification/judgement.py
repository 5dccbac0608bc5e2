"""Decides every verdict: published, ours, delta, tolerance. Pure functions of published data, records and counts.

Only full-profile records meet a published number. What was measured on a part of the data set gets no verdict but
"inconclusive", and what was not measured says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from repro.complexity import COUNTER
from repro.experiments import get
from repro.experiments.conventions import AUTHORS, MMDETECTION_1
from repro.paper import COLUMNS, DATASETS, STATISTICS, Cell, Group, PublishedDataSet, Row, Table, tolerances
from repro.paper.tolerances import Fixed, Rule, Seeds, Tolerances, Undeclared
from repro.records import Count, Record, Store
from repro.statistics import seeds
from repro.statistics.seeds import compute_deviation
from repro.verification import ledger
from repro.verification.integrity import Problem, find_problems
from repro.verification.measurements import SHARES, Measurement, collect, count_required_items
from repro.verification.verdicts import CellVerdict, RowVerdict, Verdict, Verification, Verified

_FUZZ = 1e-9  #: for binary fractions: 37.5 - 37.2 is not 0.3
#: A mean over Kinetics counts from this share of its videos on: videos disappear, and no two copies are the same.
_ENOUGH = 0.95


def verify_all(tables: Sequence[Table], store: Store) -> Verified:
    """Verify each table with what `store` holds and the tolerances in force; say what is wrong with the records.

    Raises:
        ReproError: a record, the ledger or the tolerances are damaged; the file is named.
    """
    files, counts, rules = store.files(), store.counts(), tolerances.load()
    records, problems = list(files.values()), find_problems(files)
    verifications = tuple(verify(table, records, counts, rules, problems) for table in tables)
    return Verified(verifications, problems, files)


def verify_store(table: Table, store: Store) -> Verification:
    """Verify one table as `verify_all` does."""
    return verify_all((table,), store).verifications[0]


def verify(
    table: Table,
    records: Sequence[Record],
    counts: Mapping[str, Count],
    rules: Tolerances,
    suspected: Sequence[Problem] = (),
) -> Verification:
    """Decide a verdict for every cell of `table`.

    Args:
        counts: by spec hash.
        suspected: problems of records; no verdict rests on such a record.
    """
    wrong = {problem.record.key: problem for problem in reversed(suspected)}
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
                _judge_measured(cell, row, group, measurement, rules, stale, wrong)
                if COLUMNS[cell.column].measured
                else _judge_counted(cell, row, count, counts)
                for cell in row.cells
            )
            rows.append(RowVerdict(group, row, measurement, count, cells))
    return Verification(table, tuple(rows), tuple(unused))


def _judge_measured(
    cell: Cell,
    row: Row,
    group: Group,
    measurement: Measurement | None,
    rules: Tolerances,
    stale: bool,
    wrong: Mapping[str, Problem],
) -> CellVerdict:
    dataset = DATASETS[group.dataset]
    if measurement is None:
        reason = "its record is stale (the network or the recipe has changed)" if stale else f"needs {dataset.needs}"
        return CellVerdict(cell, row.experiment, "not run", reason)
    measurement = measurement.select_for(cell.column)
    values = list(measurement.values_by_seed(cell.column).values())
    if not values:
        return CellVerdict(cell, row.experiment, "not run", f"its records lack {COLUMNS[cell.column].heading}")
    judged = _judge(cell, measurement, values, dataset, rules)
    verdict, reason, note, loosened = judged.verdict, judged.reason, "", False
    if problem := next((wrong[record.key] for record in measurement.records if record.key in wrong), None):
        verdict, reason = "inconclusive", str(problem)
    elif edited := _find_edit(cell, measurement, values, dataset, rules, judged):
        then, note = edited
        if then != verdict:
            reason, note, loosened = f"{note}; it was {then} then, and would be {verdict} now", "", True
            verdict = "inconclusive"
    first = measurement.first
    errors = [record.require(cell.column).standard_error for record in measurement.records]
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
class _Judgement:
    verdict: Verdict
    reason: str
    width: float | None  #: half-width with the rounding of the print
    rule: Fixed | Seeds | Undeclared
    interval: tuple[float, float] | None = None


def _judge(
    cell: Cell, measurement: Measurement, values: list[float], dataset: PublishedDataSet, rules: Tolerances
) -> _Judgement:
    """Decide about a measured cell by the tolerances."""
    width, rule = _apply_rule(cell, measurement, values, rules)
    ours, unit = fmean(values), cell.unit
    interval = _bound(cell, measurement, dataset)
    # Where a share is bounded, missing items are in the interval already.
    ask_for_items = interval is None and not _is_enough(cell, measurement, dataset)
    if shortfall := measurement.describe_shortfall(dataset, items=ask_for_items):
        return _Judgement("inconclusive", shortfall, width, rule, interval)
    if width is None:
        return _Judgement("inconclusive", explain_no_tolerance(cell.column), width, rule, interval)
    if isinstance(rule, Seeds) and width > (widest := rule.widths_on(measurement.first.dataset.name)[cell.column]):
        reason = f"the prediction interval from {measurement.n} seeds is wider than ±{widest:g} {unit}"
        return _Judgement("inconclusive", reason, width, rule, interval)
    low, high = interval or (ours, ours)
    inside = [abs(end - cell.value) <= width + _FUZZ for end in (low, high)]
    if all(inside):
        return _Judgement("match", "", width, rule, interval)
    if any(inside) or low < cell.value < high:
        digits = cell.decimals + 1
        reason = (
            f"between {low:.{digits}f} and {high:.{digits}f}, depending on whether the {dataset.items} that were not "
            f"evaluated are wrong or right; only a part of that range is within ±{width:.{digits}f} {unit}"
        )
        return _Judgement("inconclusive", reason, width, rule, interval)
    reason = f"differs by more than {width:.2f} {unit}: {rule.applies_to}"
    return _Judgement("off", reason, width, rule, interval)


def _bound(cell: Cell, measurement: Measurement, dataset: PublishedDataSet) -> tuple[float, float] | None:
    """Bound a share of all items of the protocol: the missing ones all wrong, all right; None if none is missing."""
    if cell.column not in SHARES:
        return None
    ends = []
    for record in measurement.records:
        metric, required = record.require(cell.column), count_required_items(record, dataset)
        if not 0 < metric.n <= required:
            return None
        right = metric.value * metric.n
        ends.append((right / required, (right + 100 * (required - metric.n)) / required, required - metric.n))
    if not any(missing for _, _, missing in ends):
        return None
    return fmean(low for low, _, _ in ends), fmean(high for _, high, _ in ends)


def _find_edit(
    cell: Cell,
    measurement: Measurement,
    values: list[float],
    dataset: PublishedDataSet,
    rules: Tolerances,
    now: _Judgement,
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


def _apply_rule(
    cell: Cell, measurement: Measurement, values: list[float], rules: Tolerances
) -> tuple[float | None, Fixed | Seeds | Undeclared]:
    """(half-width with the rounding of the print, rule); no half-width where none is declared."""
    if cell.column in rules.undeclared.metrics:
        return None, rules.undeclared
    first = measurement.first
    rule = rules.rule(_choose_rule(first, len(values)))
    declared = rules.one_seed if isinstance(rule, Seeds) else rule
    width = declared.widths_on(first.dataset.name).get(cell.column)
    if isinstance(rule, Seeds):
        if cell.column not in rule.widths_on(first.dataset.name):
            width = None
        elif width is not None:
            # Ours is a mean, the paper's is one run: the prior for one run stays the least.
            width = max(width, seeds.compute_prediction_half_width(values, rule.confidence))
    return None if width is None else width + 0.5 * 10**-cell.decimals, rule


def _choose_rule(first: Record, runs: int) -> Rule:
    if first.source == "trained":
        return "seeds" if runs > 1 else "one_seed"
    return "checkpoint" if _was_evaluated_as_trained(first) else "converted"


def _was_evaluated_as_trained(record: Record) -> bool:
    """Whether weights were evaluated by the arithmetic that they were trained with."""
    checkpoint = record.weights.checkpoint
    return checkpoint is not None and checkpoint.conventions in (MMDETECTION_1.name, AUTHORS.name)


def explain_no_tolerance(column: str) -> str:
    """Why a cell that was measured as the paper's protocol asks for is neither "match" nor "off"."""
    return f"no tolerance is declared for {COLUMNS[column].heading}"


def _is_enough(cell: Cell, measurement: Measurement, dataset: PublishedDataSet) -> bool:
    """Whether a mean is over nearly all of a data set that nobody has all of."""
    if cell.column not in STATISTICS or dataset.size is not None:
        return False
    return all(r.dataset.evaluated >= _ENOUGH * count_required_items(r, dataset) for r in measurement.records)


def _judge_counted(cell: Cell, row: Row, count: Count | None, counts: Mapping[str, Count]) -> CellVerdict:
    if count is None:
        outdated = any(other.experiment == row.experiment for other in counts.values())
        why = "its count is stale: run" if outdated else "needs"
        return CellVerdict(cell, row.experiment, "not run", f"{why} `repro complexity --table {cell.table}`")
    if cell.column == "params":
        ruling, exact, rule = ledger.judge_params(cell, count), count.params, "exact count, rounded or truncated"
    else:
        ruling, exact, rule = ledger.judge_flops(cell, count), count.paper_flops, "one unit of the last printed digit"
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

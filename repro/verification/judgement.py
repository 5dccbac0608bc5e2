"""Decides every verdict: published, ours, delta, tolerance. Pure functions of published data, records and counts.

Only full-profile records meet a published number. What was measured on a part of the data set gets no verdict but
"inconclusive", and what was not measured says why. `agreement` has the rules for one number.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from statistics import fmean

from repro.complexity import COUNTER
from repro.experiments import get
from repro.paper import COLUMNS, DATASETS, Cell, Group, Row, Table, tolerances
from repro.paper.tolerances import Tolerances
from repro.records import Count, Record, Store
from repro.statistics.seeds import compute_deviation
from repro.verification import ledger
from repro.verification.agreement import Assessment, adjust_family, assess, decide
from repro.verification.baselines import find_baseline
from repro.verification.integrity import Problem, admit
from repro.verification.measurements import Measurement, collect
from repro.verification.other_readings import collect_readings
from repro.verification.verdicts import WORST_FIRST, CellVerdict, RowVerdict, Verdict, Verification, Verified
from repro.verification.ways import combine, list_ways, name_way


def verify_all(tables: Sequence[Table], store: Store) -> Verified:
    """Verify each table with what `store` holds and the tolerances in force; say what is wrong with the records.

    Raises:
        ReproError: a record, the ledger or the tolerances are damaged; the file is named.
    """
    admitted, counts, rules = admit(store), store.counts(), tolerances.load()
    verifications = tuple(verify(table, admitted.records, counts, rules, admitted.problems) for table in tables)
    return Verified(verifications, admitted.problems, admitted.files, admitted.foreign)


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
        suspected: what is wrong with records that are not among them.
    """
    wrong = {
        (problem.record.experiment, problem.record.dataset.name): problem
        for problem in reversed(suspected)
        if problem.record.profile == "full" and not problem.record.readings  # those are of another row
    }
    measured, unused = collect(records, {name: get(name) for name in table.experiments}, "full")
    _, unused_readings = collect_readings(table.experiments, records, "full")
    outdated = {(record.experiment, record.dataset) for record in unused if record.stale}
    chosen: dict[tuple[str, str], list[tuple[str, Measurement]]] = {}
    for group in table.groups:
        for row in group.rows:
            mine = [m for m in measured[row.experiment] if m.first.dataset.name == group.dataset]
            chosen[group.name, row.label], left_out = list_ways(mine, DATASETS[group.dataset])
            unused += [one for one in left_out if one not in unused]
    judged = {(one.address, one.way): one for one in _judge_table(table, chosen, rules)}
    rows = []
    for group in table.groups:
        for row in group.rows:
            ways = chosen[group.name, row.label]
            count = counts.get(get(row.experiment).spec_hash)
            count = count if count and count.counter == COUNTER else None
            stale = not ways and (row.experiment, group.dataset) in outdated
            problem = wrong.get((row.experiment, group.dataset))
            cells = tuple(
                combine(
                    [_state_measured(cell, row, judged.get((cell.address, way)), way) for way, _ in ways]
                    or [_state_unmeasured(cell, row, group, stale, problem)]
                )
                if COLUMNS[cell.column].measured
                else _judge_counted(cell, row, count, counts)
                for cell in row.cells
            )
            rows.append(RowVerdict(group, row, tuple(ways), count, cells))
    return Verification(table, tuple(rows), (*unused, *unused_readings))


@dataclass(frozen=True)
class _Judged:
    """A measured cell: by the tolerances in force now, and by those in force when it was measured."""

    address: str
    way: str
    measurement: Measurement
    now: Assessment
    verdict: Verdict
    reason: str
    note: str = ""
    loosened: bool = False


def _judge_table(
    table: Table, chosen: Mapping[tuple[str, str], Sequence[tuple[str, Measurement]]], rules: Tolerances
) -> Iterator[_Judged]:
    """Judge the measured cells of a table: which are off is said of all numbers that were tested in one way."""
    for family in sorted({name_way(m.first) for ways in chosen.values() for _, m in ways}):
        yield from _judge_family(table, chosen, rules, family)


def _judge_family(
    table: Table, chosen: Mapping[tuple[str, str], Sequence[tuple[str, Measurement]]], rules: Tolerances, family: str
) -> Iterator[_Judged]:
    cells: list[tuple[Cell, str, Measurement]] = []
    numbers: list[Hashable] = []
    now: list[Assessment] = []
    then: list[_Then] = []
    for group in table.groups:
        for row in group.rows:
            baseline = find_baseline(group, row)
            mine = [(way, m) for way, m in chosen[group.name, row.label] if name_way(m.first) == family]
            for (way, whole), cell in product(mine, [cell for cell in row.cells if COLUMNS[cell.column].measured]):
                measurement = whole.select_for(cell.column)
                if measurement.values_by_seed(cell.column):
                    cells.append((cell, way, measurement))
                    numbers.append((row.experiment, group.dataset, cell.column, cell.printed, way))
                    without = baseline.cell(cell.column) if baseline else None
                    assess_by = partial(assess, cell, measurement, DATASETS[group.dataset], without)
                    now.append(assess_by(rules))
                    then.append(_assess_then(assess_by, measurement, rules, now[-1]))
    adjusted = adjust_family(list(zip(numbers, now, strict=True)))
    adjusted_then = adjust_family([(number, one.by) for number, one in zip(numbers, then, strict=True)])
    for (cell, way, measurement), one, p, before, p_before in zip(
        cells, now, adjusted, then, adjusted_then, strict=True
    ):
        verdict, reason = decide(one, p)
        judged = _Judged(cell.address, way, measurement, one, verdict, reason)
        yield _hold_against_earlier(judged, cell, before, decide(before.by, p_before)[0])


@dataclass(frozen=True)
class _Then:
    """The strictest assessment by tolerances that a record kept, and which record that is."""

    by: Assessment
    record: Record | None = None  #: None where no tolerance was edited since
    unknown: Record | None = None  #: one that does not say what was in force


def _assess_then(
    assess_by: Callable[[Tolerances], Assessment], measurement: Measurement, rules: Tolerances, now: Assessment
) -> _Then:
    strictest, indistinct = _Then(now), ""
    for record in measurement.records:
        if record.tolerances is None:
            return replace(strictest, unknown=record)
        by = assess_by(rules.as_of(record.tolerances))
        edited = (by.width, by.p) != (now.width, now.p)
        indistinct = indistinct or (by.indistinct if edited else "")  # by a wider one, of which it is not the strictest
        if edited and (strictest.record is None or (by.width or 0.0) < (strictest.by.width or 0.0)):
            strictest = _Then(by, record)
    return replace(strictest, by=replace(strictest.by, indistinct=indistinct or strictest.by.indistinct))


def _hold_against_earlier(judged: _Judged, cell: Cell, then: _Then, earlier: Verdict) -> _Judged:
    """Withhold a verdict that the tolerances in force when it was measured do not give as well."""
    if then.unknown and judged.now.width is not None:
        reason = f"it does not say which tolerances were in force when it was measured: {then.unknown.filename}"
        return replace(judged, verdict="inconclusive", reason=reason)
    if then.record is None:
        return judged
    before, after = ("none" if w is None else f"±{w:.2f} {cell.unit}" for w in (then.by.width, judged.now.width))
    note = f"its tolerance was edited after it was measured: {before} then, {after} now ({then.record.filename})"
    if judged.verdict in WORST_FIRST[: WORST_FIRST.index(earlier) + 1]:
        return replace(judged, note=note)
    if earlier == "indistinct":  # a narrower tolerance tells more apart: what it told then stands
        return replace(judged, verdict=earlier, reason=then.by.indistinct, note=note)
    reason = f"{note}; it was {earlier} then, and would be {judged.verdict} now"
    return replace(judged, verdict="inconclusive", reason=reason, loosened=True)


def _state_measured(cell: Cell, row: Row, judged: _Judged | None, way: str) -> CellVerdict:
    if judged is None:
        lacks = f"its records lack {COLUMNS[cell.column].heading}"
        return CellVerdict(cell, row.experiment, "not run", lacks, way=way)
    measurement, one = judged.measurement, judged.now
    values = list(measurement.values_by_seed(cell.column).values())
    first = measurement.first
    errors = [record.require(cell.column).standard_error for record in measurement.records]
    return CellVerdict(
        cell, row.experiment, judged.verdict, judged.reason,
        ours=fmean(values), spread=compute_deviation(values), n=len(values),
        standard_error=errors[0] if len(errors) == 1 else None,
        low=one.interval and one.interval[0], high=one.interval and one.interval[1],
        source=first.answered_by, engine=first.engine,
        tolerance=one.width, applied=one.rule.applies_to, rationale=one.rule.rationale,
        note=judged.note, loosened=judged.loosened,
        records=tuple(record.filename for record in measurement.records), way=way,
    )  # fmt: skip


def _state_unmeasured(cell: Cell, row: Row, group: Group, stale: bool, problem: Problem | None) -> CellVerdict:
    if problem:
        return CellVerdict(cell, row.experiment, "inconclusive", str(problem))
    needs = DATASETS[group.dataset].needs
    reason = "its record is stale (the network or the recipe has changed)" if stale else f"needs {needs}"
    return CellVerdict(cell, row.experiment, "not run", reason)


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

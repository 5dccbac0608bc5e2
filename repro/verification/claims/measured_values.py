"""Our numbers in the place of published ones: a value for each cell of an expression, all of them measured alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from repro import paper
from repro.complexity import COUNTER
from repro.experiments import get
from repro.paper import COLUMNS, DATASETS, Cell, tolerances
from repro.records import Count, Store
from repro.verification.agreement import was_evaluated_as_trained
from repro.verification.claims.uncertainty import (
    Estimate,
    estimate_evaluated,
    estimate_trained,
    shrink_scatter,
)
from repro.verification.integrity import admit
from repro.verification.ledger import SCALE
from repro.verification.measurements import Measurement, collect, describe_conditions


@dataclass(frozen=True)
class Unmeasured:
    """Why there are no numbers of ours; `missing` are the cells without a measurement."""

    reason: str
    missing: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class _Row:
    """What a store holds for one row of a table, measurements best first."""

    dataset: str
    count: Count | None
    measurements: tuple[Measurement, ...]

    def has(self, column: str) -> bool:
        if not COLUMNS[column].measured:
            return self.count is not None
        return bool(self.select_whole(column))

    def select_whole(self, column: str) -> list[Measurement]:
        """Select the measurements of a column that are of all that the protocol asks for."""
        candidates = [measurement.select_for(column) for measurement in self.measurements]
        return [m for m in candidates if m.values_by_seed(column) and not m.describe_shortfall(DATASETS[self.dataset])]


class Measured:
    """What a store holds of the full profile and of complexity, by published cell.

    A metric counts only if it was measured on all that the paper's protocol asks for, with the paper's training.

    Raises:
        ReproError: a record is damaged; the file is named.
    """

    def __init__(self, store: Store):
        tables = paper.load_all()
        experiments = {name: get(name) for table in tables for name in table.experiments}
        counts = {count.spec_hash: count for count in store.counts().values() if count.counter == COUNTER}
        counted = {name: counts.get(experiment.spec_hash) for name, experiment in experiments.items()}
        measured, _ = collect(admit(store).records, experiments, "full")
        self._rows: dict[tuple[int, str, str], _Row] = {}
        for number, group in ((table.number, group) for table in tables for group in table.groups):
            for row in group.rows:
                mine = tuple(m for m in measured[row.experiment] if m.first.dataset.name == group.dataset)
                self._rows[number, group.name, row.label] = _Row(group.dataset, counted[row.experiment], mine)

    def read(self, cells: Sequence[Cell]) -> dict[Cell, Estimate] | Unmeasured:
        """Read our number for each cell in the unit that the paper prints, where all of them have one.

        Metrics on one data set are means over the seeds that all of the rows have, from the best way in which all of
        them were measured.
        """
        missing = tuple(cell for cell in cells if not self._get_row(cell).has(cell.column))
        if missing:
            return Unmeasured("not measured", missing)
        values: dict[Cell, Estimate] = {}
        by_dataset: dict[str, list[Cell]] = {}
        for cell in cells:
            row = self._get_row(cell)
            if COLUMNS[cell.column].measured:
                by_dataset.setdefault(row.dataset, []).append(cell)
            elif (count := row.count) is not None:
                exact = count.params if cell.column == "params" else count.paper_flops
                values[cell] = Estimate(Fraction(exact, SCALE[cell.column]))
        for together in by_dataset.values():
            estimates = self._estimate(together)
            if estimates is None:
                return Unmeasured("its rows were measured in different ways or with different seeds")
            values |= estimates
        return values

    def _get_row(self, cell: Cell) -> _Row:
        return self._rows[cell.table, cell.group, cell.row]

    def _estimate(self, cells: Sequence[Cell]) -> dict[Cell, Estimate] | None:
        """Estimate from the seeds that all rows have, from the best way in which all of them were measured."""
        ways: list[dict[str, Measurement]] = []
        for cell in cells:
            by_way: dict[str, Measurement] = {}
            for measurement in self._get_row(cell).select_whole(cell.column):
                by_way.setdefault(describe_conditions(measurement.first, initial=False), measurement)
            ways.append(by_way)
        for way in ways[0]:
            if not all(way in by_way for by_way in ways):
                continue
            measured = {cell: by_way[way] for cell, by_way in zip(cells, ways, strict=True)}
            runs = {cell: m.values_by_seed(cell.column) for cell, m in measured.items()}
            if seeds := sorted(set.intersection(*(set(run) for run in runs.values()))):
                return _estimate_from_runs({cell: [run[s] for s in seeds] for cell, run in runs.items()}, measured)
        return None


def _estimate_from_runs(
    runs: Mapping[Cell, Sequence[float]], measured: Mapping[Cell, Measurement]
) -> dict[Cell, Estimate]:
    """Estimate each cell from its runs; rows of one column scatter alike, except where no prior is declared."""
    rules, estimates = tolerances.load(), {}
    for cell, run in runs.items():
        first = measured[cell].first
        if first.source == "trained":
            prior = rules.retrained.declared_on(first.dataset.name).get(cell.column)
            together = [values for other, values in runs.items() if other.column == cell.column]
            scatter = None if prior is None else shrink_scatter(together, prior.deviation, prior.freedom)
            estimates[cell] = estimate_trained(run, scatter)
        else:
            rule = rules.checkpoint if was_evaluated_as_trained(first) else rules.converted
            bound = rule.declared_on(first.dataset.name).get(cell.column)
            estimates[cell] = estimate_evaluated(run[0], bound, first, cell.column)
    return estimates

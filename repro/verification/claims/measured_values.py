"""Our numbers in the place of published ones: a value for each cell of an expression, all of them measured alike.

Each way of measuring them gives values of its own; none is preferred.
"""

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
from repro.verification.measurements import Measurement, collect
from repro.verification.ways import group_alike


@dataclass(frozen=True)
class Unmeasured:
    """Why there are no numbers of ours; `missing` are the cells without a measurement."""

    reason: str
    missing: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class _Row:
    """What a store holds for one row of a table."""

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

    def read(self, cells: Sequence[Cell]) -> list[tuple[str, dict[Cell, Estimate]]] | Unmeasured:
        """Read our number for each cell in the unit that the paper prints, once for each way of measuring all of them.

        Metrics on one data set are means over the seeds that all of the rows have. A way is named; where nothing but
        counts is asked, there is one without a name.
        """
        missing = tuple(cell for cell in cells if not self._get_row(cell).has(cell.column))
        if missing:
            return Unmeasured("not measured", missing)
        counted: dict[Cell, Estimate] = {}
        measured: dict[Cell, list[Measurement]] = {}
        for cell in cells:
            row = self._get_row(cell)
            if COLUMNS[cell.column].measured:
                measured[cell] = row.select_whole(cell.column)
            elif (count := row.count) is not None:
                exact = count.params if cell.column == "params" else count.paper_flops
                counted[cell] = Estimate(Fraction(exact, SCALE[cell.column]))
        if not measured:
            return [("", counted)]
        found = []
        for way, group in group_alike(measured):
            estimates = _estimate(group) if len(group) == len(measured) else None
            if estimates is not None:
                found.append((way, counted | estimates))
        return found or Unmeasured("its rows were measured in different ways or with different seeds")

    def _get_row(self, cell: Cell) -> _Row:
        return self._rows[cell.table, cell.group, cell.row]


def _estimate(measured: Mapping[Cell, Measurement]) -> dict[Cell, Estimate] | None:
    """Estimate each cell from the seeds that all rows on its data set have; None where they have none in common."""
    estimates: dict[Cell, Estimate] = {}
    for dataset in dict.fromkeys(m.first.dataset.name for m in measured.values()):
        together = {cell: m for cell, m in measured.items() if m.first.dataset.name == dataset}
        runs = {cell: m.values_by_seed(cell.column) for cell, m in together.items()}
        seeds = sorted(set.intersection(*(set(run) for run in runs.values())))
        if not seeds:
            return None
        estimates |= _estimate_from_runs({cell: [run[s] for s in seeds] for cell, run in runs.items()}, together)
    return estimates


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

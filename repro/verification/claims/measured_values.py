"""Our numbers in the place of published ones: a value for each cell of an expression, all of them measured alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import fmean

from repro import paper
from repro.complexity import COUNTER
from repro.experiments import get
from repro.paper import COLUMNS, DATASETS, Cell
from repro.records import Count, Store
from repro.verification.integrity import findings
from repro.verification.ledger import SCALE
from repro.verification.measurements import Measurement, collect, conditions


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
        return bool(self.of(column))

    def of(self, column: str) -> list[Measurement]:
        """The measurements of a column, of all that the protocol asks for."""
        found = [measurement.of(column) for measurement in self.measurements]
        return [one for one in found if one.values(column) and not one.shortfall(DATASETS[self.dataset])]


class Measured:
    """What a store holds of the full profile and of complexity, by published cell.

    A metric counts only if it was measured on all that the paper's protocol asks for, with the paper's training.

    Raises:
        ReproError: a record is damaged; the file is named.
    """

    def __init__(self, store: Store):
        tables = paper.tables()
        experiments = {name: get(name) for table in tables for name in table.experiments}
        counts = {count.spec_hash: count for count in store.counts().values() if count.counter == COUNTER}
        counted = {name: counts.get(experiment.spec_hash) for name, experiment in experiments.items()}
        files = store.files()
        wrong = {finding.record.key for finding in findings(files) if finding.alone}
        records = [record for record in files.values() if record.key not in wrong]
        measured, _ = collect(records, experiments, "full")
        self._rows: dict[tuple[int, str, str], _Row] = {}
        for number, group in ((table.number, group) for table in tables for group in table.groups):
            for row in group.rows:
                mine = tuple(m for m in measured[row.experiment] if m.first.dataset.name == group.dataset)
                self._rows[number, group.name, row.label] = _Row(group.dataset, counted[row.experiment], mine)

    def values(self, cells: Sequence[Cell]) -> dict[Cell, Fraction] | Unmeasured:
        """The value of each cell in the unit that the paper prints, where all of them have one.

        Metrics on one data set are means over the seeds that all of the rows have, from the best way in which all of
        them were measured.
        """
        missing = tuple(cell for cell in cells if not self._row(cell).has(cell.column))
        if missing:
            return Unmeasured("not measured", missing)
        values: dict[Cell, Fraction] = {}
        by_dataset: dict[str, list[Cell]] = {}
        for cell in cells:
            if COLUMNS[cell.column].measured:
                by_dataset.setdefault(self._row(cell).dataset, []).append(cell)
            else:
                count = self._row(cell).count
                exact = count.params if cell.column == "params" else count.paper_flops
                values[cell] = Fraction(exact, SCALE[cell.column])
        for together in by_dataset.values():
            alike = self._alike(together)
            if alike is None:
                return Unmeasured("its rows were measured in different ways or with different seeds")
            values |= alike
        return values

    def _row(self, cell: Cell) -> _Row:
        return self._rows[cell.table, cell.group, cell.row]

    def _alike(self, cells: Sequence[Cell]) -> dict[Cell, Fraction] | None:
        """The mean over the seeds that all rows have, from the best way in which all of them were measured."""
        ways: list[dict[str, dict[int, float]]] = []
        for cell in cells:
            found: dict[str, dict[int, float]] = {}
            for measurement in self._row(cell).of(cell.column):
                found.setdefault(conditions(measurement.first, initial=False), measurement.values(cell.column))
            ways.append(found)
        for way in ways[0]:
            runs = [found.get(way, {}) for found in ways]
            if seeds := set.intersection(*map(set, runs)):
                means = (Fraction(fmean(run[seed] for seed in sorted(seeds))) for run in runs)
                return dict(zip(cells, means, strict=True))
        return None

"""What was measured under another reading of the protocol than the default: values beside the same print, no verdicts.

Whoever may choose the reading after having seen the numbers chooses the answer. So no cell, claim, ordering, effect or
verdict rests on these records (`measurements.collect` leaves them out); here they are collected for themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from repro.experiments import Experiment, readings
from repro.paper import COLUMNS, DATASETS, STATISTICS, Cell, Group, Row, Table
from repro.records import Record
from repro.statistics.seeds import compute_deviation
from repro.verification.integrity import Problem
from repro.verification.measurements import Measurement, Profile, Unused, collect
from repro.verification.verdicts import round_as_printed
from repro.verification.ways import list_ways

NO_VERDICT = (
    "under another reading of the protocol than the default (`repro readings`): no verdict, for who chooses a reading "
    "after seeing the numbers chooses the answer"
)


@dataclass(frozen=True)
class ReadingValue:
    """A published number and what was measured of it under another reading."""

    cell: Cell
    ours: float
    spread: float | None
    n: int
    shortfall: str  #: what the paper's protocol evaluates or trains that these runs did not; empty if nothing

    @property
    def delta(self) -> float | None:
        """Ours at the printed precision minus published; None where the runs fell short."""
        if self.shortfall:
            return None
        return round(round_as_printed(self.ours, self.cell.decimals) - self.cell.value, self.cell.decimals) + 0.0


@dataclass(frozen=True)
class ReadingRow:
    """A row of a table under another reading, measured in one way."""

    group: Group
    row: Row
    experiment: Experiment
    way: str  #: of measuring (`ways`)
    measurement: Measurement
    values: tuple[ReadingValue, ...]  #: of the cells that were measured

    @property
    def name(self) -> str:
        """The reading, as the command line takes it."""
        return readings.write(self.experiment.readings)

    def __str__(self) -> str:
        """`Table 2(a), +1 NL, reading nl-scale=none, trained here, torchvision: AP box 38.1 (+0.1), ...`."""
        cells = []
        for value in self.values:
            delta = f" ({value.delta:+g})" if value.delta is not None else ""
            cells.append(f"{COLUMNS[value.cell.column].heading} {value.ours:.{value.cell.decimals}f}{delta}")
        place = str(self.row.cells[0]).rpartition(", ")[0]
        short = "".join(f"; {why}" for why in dict.fromkeys(value.shortfall for value in self.values) if why)
        return f"{place}, reading {self.name}, {self.way}: {', '.join(cells) or 'no printed metric'}{short}"

    def as_dict(self) -> dict[str, object]:
        """The fields for JSON."""
        return {
            "table": self.row.cells[0].table,
            "group": self.group.name,
            "row": self.row.label,
            "experiment": self.experiment.name,
            "readings": dict(self.experiment.readings),
            "way": self.way,
            "note": NO_VERDICT,
            "cells": [
                {
                    "column": value.cell.column, "published": value.cell.printed, "unit": value.cell.unit,
                    "ours": value.ours, "spread": value.spread, "n": value.n, "delta": value.delta,
                    "shortfall": value.shortfall,
                }
                for value in self.values
            ],
            "records": [record.filename for record in self.measurement.records_behind(self.group.columns)],
        }  # fmt: skip


def collect_readings(
    names: Iterable[str], records: Sequence[Record], profile: Profile
) -> tuple[list[tuple[Experiment, list[Measurement]]], list[Unused]]:
    """Collect what was measured of the named experiments under each other reading, and the records left out."""
    found, left_out = [], []
    wanted = set(names)
    measured = [r for r in records if r.readings and r.profile == profile and r.experiment in wanted]
    for name, chosen in dict.fromkeys((r.experiment, tuple(sorted(r.readings.items()))) for r in measured):
        experiment = readings.find_experiment(name, profile, chosen)
        if experiment is None:
            reason = f"stale: this version has no such reading of {name}: {readings.write(chosen)}"
            left_out += [
                Unused(name, r.dataset.name, r.filename, reason, stale=True)
                for r in measured
                if r.experiment == name and r.readings == dict(chosen)
            ]
            continue
        measurements, unused = collect(measured, {name: experiment}, profile)
        found.append((experiment, measurements[name]))
        left_out += unused
    return sorted(found, key=lambda item: item[0].readings), left_out


def list_reading_rows(
    table: Table, records: Sequence[Record], problems: Sequence[Problem] = ()
) -> tuple[ReadingRow, ...]:
    """List the rows of `table` that were measured at the full profile under other readings, in the table's order.

    Args:
        problems: of records; what such a record says is no number.
    """
    wrong = {problem.record.key: str(problem) for problem in problems}
    found, _ = collect_readings(table.experiments, records, "full")
    rows = []
    for group in table.groups:
        for row in group.rows:
            for experiment, measurements in (one for one in found if one[0].name == row.experiment):
                mine = [m for m in measurements if m.first.dataset.name == group.dataset]
                for way, measurement in list_ways(mine, DATASETS[group.dataset])[0]:
                    values = tuple(_list_values(row, group, experiment, measurement, wrong))
                    rows.append(ReadingRow(group, row, experiment, way, measurement, values))
    return tuple(rows)


def _list_values(
    row: Row, group: Group, experiment: Experiment, measurement: Measurement, wrong: Mapping[str, str]
) -> Iterator[ReadingValue]:
    for cell in row.cells:
        if not COLUMNS[cell.column].measured:
            continue
        runs = measurement.select_for(cell.column)
        values = list(runs.values_by_seed(cell.column).values())
        if not values:
            continue
        sampled = cell.column in STATISTICS and experiment.attention.images != "all"  # so many are what it asks for
        shortfall = next((wrong[record.key] for record in runs.records if record.key in wrong), "")
        shortfall = shortfall or runs.describe_shortfall(DATASETS[group.dataset], items=not sampled)
        yield ReadingValue(cell, fmean(values), compute_deviation(values), len(values), shortfall)

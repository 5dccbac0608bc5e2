"""Rows that were measured under another reading of the protocol, and the open points of a table, for all formats."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from repro.experiments import readings
from repro.paper import COLUMNS, Table
from repro.paper.readings import ReadingPoint, list_touching
from repro.records import Record
from repro.rendering.grid import NOT_RUN, Grid, Notes, Text, write_mean, write_signed
from repro.verification.measurements import Measurement
from repro.verification.other_readings import NO_VERDICT, ReadingRow, ReadingValue, collect_readings
from repro.verification.ways import name_way


def build_reading_line(row: ReadingRow, columns: Sequence[str], source: str, notes: Notes) -> tuple[Text, ...]:
    """Build the line that stands below a row: ours under the reading, with deltas against the row's print.

    Args:
        source: where the numbers come from, as in the line of the default: `ours (trained, n = 3; D1)`.
    """
    values = {value.cell.column: value for value in row.values}
    line = [Text(f"reading {row.name}: {source}", notes=notes.number(NO_VERDICT))]
    for column in columns:
        if value := values.get(column):
            line.append(_write_value(value, notes))
        else:
            line.append(Text(NOT_RUN if row.row.cell(column) and COLUMNS[column].measured else "-"))
    return tuple(line)


def _write_value(value: ReadingValue, notes: Notes) -> Text:
    decimals = value.cell.decimals
    spread = "" if value.spread is None else f"±{value.spread:.{decimals}f}"
    suffix = "" if value.cell.printed[-1].isdigit() else value.cell.unit
    delta = "" if value.delta is None else write_signed(value.delta, decimals)
    return Text(f"{value.ours:.{decimals}f}{spread}{suffix}", delta, notes=notes.number(value.shortfall))


def collect_mini_readings(table: Table, records: Sequence[Record]) -> tuple[tuple[str, Measurement], ...]:
    """Collect what was measured of the mini profile under each other reading, which it names; its way, of several."""
    found, _ = collect_readings(table.experiments, records, "mini")
    return tuple(
        (
            readings.write(experiment.readings) + (f" ({name_way(one.first)})" if len(measured) > 1 else ""),
            one,
        )
        for experiment, measured in found
        for one in measured
    )


def build_mini_readings(table: Table, records: Sequence[Record]) -> Grid | None:
    """Build the lines of what was measured in the mini profile under other readings, by experiment and reading."""
    printed = dict.fromkeys(cell.column for cell in table.cells)
    found = collect_mini_readings(table, records)
    metrics = [column for column in printed if any(m.values_by_seed(column) for _, m in found)]
    lines = []
    for reading, measurement in found:
        line = [Text(measurement.experiment), Text(reading), Text(str(measurement.n))]
        for metric in metrics:
            values = list(measurement.values_by_seed(metric).values())
            line.append(Text(write_mean(values) if COLUMNS[metric].unit else _write_distance(values)))
        lines.append(tuple(line))
    header = ("experiment", "reading", "n", *(COLUMNS[metric].heading for metric in metrics))
    return Grid(header, (tuple(lines),)) if lines else None


def _write_distance(values: Sequence[float]) -> str:
    return f"{fmean(values):.4f}" if values else NOT_RUN


def describe_open_points(table: Table) -> tuple[tuple[str, str], ...]:
    """(point, what it is about) of every open point that touches a cell of the table."""
    return tuple((point.point, _describe_point(point, table)) for point in list_touching(table.cells))


def _describe_point(point: ReadingPoint, table: Table) -> str:
    rows = [
        f"({group.name}) {row.label}" if group.name else row.label
        for group in table.groups
        for row in group.rows
        if any(point.touches(cell) for cell in row.cells)
    ]
    others = " or ".join(choice for choice in point.choices if choice != point.default)
    where = "all rows" if len(rows) == len(table.rows) else ", ".join(rows)
    return f"{point.default} here, not {others}: {where}"

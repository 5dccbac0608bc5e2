"""Rows of the user's own, below the paper's, for all formats: no print, no delta, no verdict."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from repro.paper import COLUMNS
from repro.rendering.grid import NOT_RUN, Grid, Notes, Text, write_mean, write_signed
from repro.statistics.seeds import compute_deviation
from repro.verification.own_rows import OwnRow

NOT_PUBLISHED = "not published: a row of your own, for which the paper has no number, and which has no verdict"
ABOUT = (
    "Not published, and in no comparison above. Scaled-down networks on generated data, as for the paper's rows; "
    "parameters and FLOPs are of the full-size networks. Mean ± standard deviation over n seeds, in %. What is gained "
    "is over the baseline of the group, mean ± standard deviation over the seeds that both have: a spread of "
    "trainings, on the same images or videos. `repro compare` tests two rows on the same items and has intervals."
)


def build_own_lines(row: OwnRow, columns: Sequence[str], source: str, notes: Notes) -> tuple[Text, ...]:
    """Build the line of an own row at the full profile, below the lines of the paper's rows.

    Args:
        source: where the numbers come from: `ours (trained, n = 3; D1)`.
    """
    line = [Text(f"{row.label}: {source}", notes=notes.number(NOT_PUBLISHED, row.shortfall))]
    return (*line, *(_write_column(row, column) for column in columns))


def _write_column(row: OwnRow, column: str) -> Text:
    if not COLUMNS[column].measured:
        return _write_count(row, column)
    values = _list_values(row, column)
    if not values:
        return Text(NOT_RUN)
    decimals = 1 if COLUMNS[column].unit else 3
    spread = compute_deviation(values)
    return Text(f"{fmean(values):.{decimals}f}" + ("" if spread is None else f"±{spread:.{decimals}f}"))


def _list_values(row: OwnRow, column: str) -> list[float]:
    return list(row.measurement.values_by_seed(column).values()) if row.measurement else []


def _write_count(row: OwnRow, column: str) -> Text:
    if row.count is None:
        return Text(NOT_RUN)
    if column == "params":
        return Text(f"{row.count.params / 1e6:.2f}M")
    return Text(f"{row.count.paper_flops / 2**30:.2f}G")


def build_mini_own(rows: Sequence[OwnRow]) -> Grid | None:
    """Build the lines of own rows in the mini profile, with counts and what they gain over their baselines."""
    columns = dict.fromkeys(column for row in rows for column in row.group.columns if COLUMNS[column].unit == "%")
    metrics = [c for c in columns if any(row.measurement and row.measurement.values_by_seed(c) for row in rows)]
    if not metrics:
        return None
    lines = []
    for row in rows:
        of_several = [one for one in rows if one.experiment.name == row.experiment.name]
        label = f"{row.label}, {row.way}" if len(of_several) > 1 else row.label
        beside = f"({row.group.name}) " if row.group.name else ""
        line = [
            Text(f"{beside}{label}"), Text(str(row.measurement.n if row.measurement else 0)),
            _write_count(row, "params"), _write_count(row, "flops"),
        ]  # fmt: skip
        for metric in metrics:
            line.append(
                Text(write_mean(list(row.measurement.values_by_seed(metric).values()) if row.measurement else []))
            )
        line += [Text(_write_gain(row.gains.get(metric, ()))) for metric in metrics]
        lines.append(tuple(line))
    headings = [COLUMNS[metric].heading for metric in metrics]
    header = ("row of your own", "n", "#param", "FLOPs", *headings, *(f"{heading} gained" for heading in headings))
    return Grid(header, (tuple(lines),))


def _write_gain(values: Sequence[float]) -> str:
    if not values:
        return NOT_RUN
    spread = compute_deviation(values)
    return write_signed(fmean(values), 1) + ("" if spread is None else f" ± {spread:.1f}")

"""Rows of the user's own, below the paper's, for all formats: no print, no delta, no verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    "trainings, on the same images or videos; a dash stands where the baseline was not trained with one of the seeds. "
    "`repro compare` tests two rows on the same items and has intervals."
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


def list_own_numbers(table: int, full: Sequence[OwnRow], mini: Sequence[OwnRow]) -> Iterator[dict[str, object]]:
    """List what is known of own rows for a CSV file, in full precision: counts once, then metrics at each profile."""
    counted = {row.experiment.name: row for row in (*mini, *full) if row.count}
    for row in counted.values():
        assert row.count is not None  # as asked above
        for column, value in (("params", row.count.params / 1e6), ("flops", row.count.paper_flops / 2**30)):
            yield {
                **_describe_row(table, row), "column": column, "unit": COLUMNS[column].unit, "profile": "full",
                "ours": value, "n": 1, "source": "counted", "engine": row.count.counter,
                "records": f"complexity/{row.count.filename}",
            }  # fmt: skip
    for profile, rows in (("full", full), ("mini", mini)):
        for row in rows:
            if row.measurement is None:
                continue
            first = row.measurement.first
            for metric in first.metrics:
                values = _list_values(row, metric.name)
                yield {
                    **_describe_row(table, row), "column": metric.name, "unit": metric.unit, "profile": profile,
                    "ours": fmean(values), "spread": compute_deviation(values), "n": len(values),
                    "source": first.answered_by, "engine": first.engine,
                    "records": " ".join(record.filename for record in row.measurement.records),
                }  # fmt: skip


def _describe_row(table: int, row: OwnRow) -> dict[str, object]:
    return {
        "table": table, "group": row.group.name, "row": row.label, "experiment": row.experiment.name,
        "verdict": "not compared", "reason": "; ".join(text for text in (NOT_PUBLISHED, row.shortfall) if text),
    }  # fmt: skip

"""The results of the mini profile beside a table of the paper: means over seeds, orderings, statistics of attention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from repro.experiments import get
from repro.paper import COLUMNS, DATASETS, STATISTICS, Table
from repro.paper.tolerances import Orderings
from repro.records import Record
from repro.rendering.grid import NOT_RUN, Grid, Text, write_mean, write_signed
from repro.statistics.seeds import compute_deviation
from repro.verification.measurements import Measurement, collect
from repro.verification.orderings import Ordering, published_orderings


@dataclass(frozen=True)
class MiniView:
    """Results of the mini profile: a table of its own."""

    about: str
    grid: Grid
    summary: str
    orderings: Grid | None
    deviations: tuple[str, ...]
    about_statistics: str = ""
    statistics: Grid | None = None  #: of attention, beside the paper's


def collect_mini(table: Table, records: Sequence[Record]) -> dict[str, Measurement]:
    """Collect the mini-profile measurement of every experiment of the table that has one."""
    run = {record.experiment for record in records if record.profile == "mini"}
    names = [name for name in table.experiments if name in run]
    if not names:
        return {}
    from repro.experiments.mini import shrink

    measured, _ = collect(records, {name: shrink(get(name)) for name in names}, "mini")
    return {name: measured[name][0] for name in names if measured[name]}


#: What to know about the generated data sets and their short schedules, by the task.
_CAVEATS = {
    "coco": "A detector either finds the far cue within the schedule or does not, so a spread can be wide or, from few "
    "seeds, misleadingly narrow.",
    "imagenet": "Top-5 says little: once textures are read, two classes are left.",
    "kinetics": "The networks for videos are half trained: their losses still fall at the end.",
}


def build_mini(table: Table, measured: Mapping[str, Measurement], rule: Orderings) -> MiniView:
    """The view of the mini profile's results for the rows of `table`.

    Args:
        measured: as `collect_mini` gives it; not empty.
        rule: when two rows are in the published order.
    """
    datasets = dict.fromkeys(get(row.experiment).dataset for row in table.rows)
    about = (
        f"Scaled-down networks{_describe_lengths(table, measured)}. "
        "Mean ± standard deviation over n seeds, in %; only the order of rows can be compared with the paper's. "
        "Context is worth having on these data by construction, and the task was settled with seed 0 in view "
        "(docs/mini.md). All seeds share the data and what the networks start from: a spread is of how the rest is "
        "initialised and of the order of the data." + "".join(f" {_CAVEATS[dataset]}" for dataset in datasets)
    )
    labels = {row.experiment: row.label for row in reversed(table.rows)}
    printed_columns = dict.fromkeys(cell.column for cell in table.cells)
    printed = {(row.experiment, cell.column) for row in table.rows for cell in row.cells}
    metrics = [column for column in printed_columns if any(m.first.metric(column) for m in measured.values())]
    lines = []
    for name, measurement in measured.items():
        line = [Text(f"{labels[name]} ({name})"), Text(str(measurement.n))]
        for metric in metrics:
            values = list(measurement.values_by_seed(metric).values())
            line.append(Text(write_mean(values) if values or (name, metric) in printed else "-"))
        cost = fmean(r.cost.train_seconds + r.cost.evaluate_seconds for r in measurement.records)
        lines.append((*line, Text(f"{cost:.0f} s")))
    header = ("row (experiment)", "n", *(COLUMNS[metric].heading for metric in metrics), "time a run")
    orderings = published_orderings(table, {name: [m] for name, m in measured.items()}, rule)
    distinct = tuple({ordering.question: ordering for ordering in reversed(orderings)}.values())[::-1]
    deviations = dict.fromkeys(
        text for m in measured.values() for r in m.records_behind(printed_columns) for text in r.deviations
    )
    run = [ordering for ordering in distinct if ordering.n]
    orderings_grid = _build_orderings_grid(run) if run else None
    statistics = _build_statistics_grid(table, measured)
    return MiniView(
        about, Grid(header, (tuple(lines),)), _count_orderings(distinct), orderings_grid, tuple(deviations),
        _ABOUT_STATISTICS if statistics else "",
        statistics,
    )  # fmt: skip


_ABOUT_STATISTICS = (
    "Mean distances between the positions of an image or a clip: those of the paper, and those of the scaled-down "
    "networks on generated data, mean ± standard deviation over n seeds, or of one seed ± standard error over images "
    "or videos. They are of different networks and data: no difference between the two says anything."
)


def _build_statistics_grid(table: Table, measured: Mapping[str, Measurement]) -> Grid | None:
    """A line for each row whose attention was looked at: by column what the paper prints, then ours."""
    columns = [column for column in STATISTICS if any(cell.column == column for cell in table.cells)]
    lines = []
    for row in (row for row in table.rows if columns and row.experiment in measured):
        attention = measured[row.experiment].select_for(columns[0])
        if not attention.values_by_seed(columns[0]):
            continue
        line = [Text(f"{row.label} ({row.experiment})"), Text(str(attention.n))]
        for column in columns:
            cell = row.cell(column)
            values = list(attention.values_by_seed(column).values())
            line += [
                Text(cell.printed if cell else "-"),
                Text(_write_distance(attention, column, values) if values else "-"),
            ]
        lines.append(tuple(line))
    header = ["row (experiment)", "n"]
    for column in columns:
        header += [f"{COLUMNS[column].heading}: paper", "mini profile"]
    return Grid(tuple(header), (tuple(lines),)) if lines else None


def _write_distance(attention: Measurement, column: str, values: Sequence[float]) -> str:
    """Write a mean with its uncertainty: four decimals, or as many as show two digits of that."""
    uncertainty = compute_deviation(values)
    if uncertainty is None:
        uncertainty = attention.first.require(column).standard_error
    digits = max(4, 1 - math.floor(math.log10(uncertainty))) if uncertainty else 4
    return f"{fmean(values):.{digits}f}" + ("" if uncertainty is None else f" ± {uncertainty:.{digits}f}")


def _describe_lengths(table: Table, measured: Mapping[str, Measurement]) -> str:
    """How long networks were trained and on how much they were evaluated, by the data set that theirs stands for."""
    titles = {}
    for group in (group for group in table.groups if any(row.experiment in measured for row in group.rows)):
        first = next(measured[row.experiment].first for row in group.rows if row.experiment in measured)
        items = f"{first.dataset.evaluated} {DATASETS[group.dataset].items} evaluated"
        titles[first.training.iterations if first.training else 0, items] = group.title
    if len(titles) > 1:
        each = (f"{title}: trained for {n} iterations, {items}" for (n, items), title in titles.items())
        return f" on small generated data sets. {'; '.join(each)}"
    ((n, items),) = titles
    return (f", trained for {n} iterations" if n else "") + f" on a small generated data set; {items}"


def _count_orderings(distinct: Sequence[Ordering]) -> str:
    number = {v: sum(o.verdict == v for o in distinct) for v in ("holds", "contrary", "inconclusive", "not run")}
    seeds = sorted({ordering.n for ordering in distinct if ordering.n})
    n = f"n = {seeds[0]}" if len(seeds) == 1 else f"n = {seeds[0]} to {seeds[-1]}" if seeds else "n = 0"
    return (
        f"Of {len(distinct)} distinct published orderings, {number['holds']} hold, {number['contrary']} are contrary, "
        f"{number['inconclusive']} are inconclusive and {number['not run']} were not run ({n} paired seeds)."
    )


def _build_orderings_grid(distinct: Sequence[Ordering]) -> Grid:
    """A line per pair of rows, those against their baseline first: by metric the published gap, ours, the verdict."""
    columns = tuple(dict.fromkeys(ordering.column for ordering in distinct))
    pairs: dict[tuple[str, str], dict[str, Ordering]] = {}
    for ordering in sorted(distinct, key=lambda o: not o.against_baseline):
        pairs.setdefault(ordering.question[:2], {})[ordering.column] = ordering
    lines = []
    for by_column in pairs.values():
        any_ = next(iter(by_column.values()))
        line = [Text(f"({any_.group.name}) {any_.better.label} > {any_.worse.label}")]
        for column in columns:
            if column in by_column:
                line += [Text(f"{by_column[column].published:+.1f}"), _write_ordering(by_column[column])]
            else:
                reversed_ = column in pairs.get((any_.worse.experiment, any_.better.experiment), ())
                line += [Text("reversed" if reversed_ else "tie"), Text("no such order")]
        lines.append(tuple(line))
    header = ["published order"]
    for column in columns:
        header += [f"{COLUMNS[column].heading}: paper", "mini profile"]
    return Grid(tuple(header), (tuple(lines),))


def _write_ordering(ordering: Ordering) -> Text:
    ours = NOT_RUN if ordering.ours is None else write_signed(ordering.ours, 1)
    if ordering.low is None or ordering.high is None:
        return Text(f"{ours}, {ordering.verdict} ({ordering.reason})")
    return Text(f"{ours} ({write_signed(ordering.low, 1)} to {write_signed(ordering.high, 1)}), {ordering.verdict}")

"""The mini profile beside a table of the paper: means over seeds, answers to statements, statistics of attention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from repro.experiments import get
from repro.paper import COLUMNS, DATASETS, STATISTICS, Table
from repro.paper.hypotheses import Hypotheses
from repro.rendering.grid import NOT_RUN, Grid, Text, write_mean, write_p, write_signed
from repro.statistics.seeds import compute_deviation
from repro.verification.hypotheses import Answer, answer_family, count_answers, describe_conditions
from repro.verification.measurements import Measurement
from repro.verification.orderings import Ordering, explore_orderings


@dataclass(frozen=True)
class MiniView:
    """Results of the mini profile: a table of its own."""

    about: str
    grid: Grid
    summary: str  #: of the answers; empty where nothing was asked of the table
    answers: Grid | None
    conditions: str  #: whether the statements were written down before the runs, and what these share
    about_orderings: str
    orderings: Grid | None
    deviations: tuple[str, ...]
    about_statistics: str = ""
    statistics: Grid | None = None  #: of attention, beside the paper's
    way: str = ""  #: in which it was measured, where there are several
    asked: tuple[Answer, ...] = ()  #: the answers as such


#: What to know about the generated data sets and their short schedules, by the task.
_CAVEATS = {
    "coco": "Blocks are inserted into a detector that was trained on scenes lit everywhere.",
    "imagenet": "A network finds the light at the edge within the schedule or does not, so a spread can be wide or, "
    "from few seeds, misleadingly narrow. Top-5 says little: once textures are read, two classes are left.",
    "kinetics": "Blocks are inserted into a network for videos that was trained on the same videos.",
}


def build_mini(table: Table, measured: Mapping[str, Measurement], rules: Hypotheses, way: str = "") -> MiniView:
    """The view of the mini profile's results for the rows of `table`.

    Args:
        measured: in one way, as `collect_mini` gives it; not empty.
        rules: the statements of the paper that are asked about.
        way: its name, where there are several.
    """
    datasets = dict.fromkeys(get(row.experiment).dataset for row in table.rows)
    about = (
        f"Scaled-down networks{_describe_lengths(table, measured)}. "
        "Mean ± standard deviation over n seeds, in %; only the order of rows can be compared with the paper's. "
        "Context is worth having on these data by construction, and the task was settled after earlier runs were seen "
        "(docs/mini.md). All seeds share the data and a pre-trained classifier. What networks start from is trained "
        "with each seed: a spread is of all the rest." + "".join(f" {_CAVEATS[dataset]}" for dataset in datasets)
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
    answers = answer_family(rules.of_table(table.number), measured, rules)
    orderings = explore_orderings(table, measured, rules)
    deviations = dict.fromkeys(
        text for m in measured.values() for r in m.records_behind(printed_columns) for text in r.deviations
    )
    statistics = _build_statistics_grid(table, measured)
    return MiniView(
        about, Grid(header, (tuple(lines),)),
        count_answers(answers) if answers else "",
        build_answers_grid(answers) if answers else None,
        " ".join(describe_conditions(answers)),
        _ABOUT_ORDERINGS if orderings else "",
        _build_orderings_grid(orderings) if orderings else None,
        tuple(deviations),
        _ABOUT_STATISTICS if statistics else "",
        statistics,
        way,
        answers,
    )  # fmt: skip


_ABOUT_ORDERINGS = (
    "Exploratory, not asked before: every two rows that the paper prints apart, each pair of experiments once. p is of "
    "an exact rank test, two-sided; adjusted after Benjamini and Hochberg. Only the sign of a difference is compared. "
    "A printed difference is one of at most 0.2 points: within the scatter of the paper's own single trainings, it "
    "says nothing about which row is better."
)
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


def build_answers_grid(answers: Sequence[Answer]) -> Grid:
    """Build the grid of the answers: a line for each statement of a family."""
    lines = []
    for answer in answers:
        numbers = [Text(NOT_RUN)] * 4
        if answer.effect is not None:
            effect = write_signed(answer.effect, 1)
            numbers = [
                Text(str(len(answer.seeds))),
                Text(effect),
                *(Text(write_p(p)) for p in answer.p_values),
            ]
        why = f" ({answer.reason})" if answer.reason else ""
        lines.append((Text(answer.hypothesis.says), *numbers, Text(answer.shown + why)))
    return Grid(("statement", "n", "effect", "p", "adjusted p", "answer"), (tuple(lines),))


#: Two printed numbers this near each other may have come out in either order (docs/hypotheses.md).
_WITHIN_SCATTER = 0.2


def _mark_printed(ordering: Ordering) -> str:
    return ", a printed difference" if ordering.published <= _WITHIN_SCATTER + 1e-9 else ""


def _build_orderings_grid(orderings: Sequence[Ordering]) -> Grid:
    """A line per pair of rows, those against their baseline first: the published gap, ours, p and adjusted p."""
    lines = tuple(
        (
            Text((f"({o.group.name}) " if o.group.name else "") + f"{o.better.label} > {o.worse.label}"),
            Text(write_signed(o.published, o.better.require(o.column).decimals) + _mark_printed(o)),
            Text(write_signed(o.ours, 1)),
            Text(str(o.n)),
            Text(write_p(o.p)),
            Text(write_p(o.adjusted)),
        )
        for o in sorted(orderings, key=lambda o: not o.against_baseline)
    )
    heading = COLUMNS[orderings[0].column].heading
    return Grid(("order", f"{heading}: paper", "mini profile", "n", "p", "adjusted p"), (lines,))

"""What a reader of a reproduced table sees, once for all formats: numbers as text, marks, notes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from repro import __version__
from repro.experiments import get
from repro.paper import COLUMNS, DATASETS, STATISTICS, Cell, Group, Table, tolerances
from repro.paper.tolerances import Fixed, Seeds, Tolerances
from repro.paths import PUBLISHED, TABLES, sha256
from repro.records import Record, Store
from repro.statistics.seeds import compute_deviation
from repro.verification import ledger, orderings
from repro.verification.integrity import Finding, findings
from repro.verification.measurements import Measurement, collect
from repro.verification.orderings import Effect, Ordering
from repro.verification.verdicts import CellVerdict, RowVerdict, Verification, coverage, no_tolerance, verify

LOCK = TABLES.parent / "requirements.lock"
NOT_RUN = "—"
#: What the numbers of a table are in, by the unit of its columns.
UNITS = {
    "%": "AP and accuracy in %",
    "M": "#param in millions",
    "G": "FLOPs in units of 2^30 operations, counted as the paper counts",
    "": "distances without a unit",
}


@dataclass(frozen=True)
class Text:
    """The content of one grid cell: text, the verdict it is marked with, the notes it points to.

    `delta` stands behind the text in parentheses where a format shows deltas; `about` is what the verdict rests on.
    """

    text: str
    delta: str = ""
    mark: str = ""
    notes: tuple[int, ...] = ()
    bold: bool = False
    about: CellVerdict | None = None


@dataclass(frozen=True)
class Grid:
    """A table to draw: first column to the left, the others to the right. `blocks` are lines that belong together."""

    header: tuple[str, ...]
    blocks: tuple[tuple[tuple[Text, ...], ...], ...]


@dataclass(frozen=True)
class Section:
    title: str
    grid: Grid


@dataclass(frozen=True)
class Mini:
    """Results of the mini profile: a table of its own."""

    about: str
    grid: Grid
    summary: str
    orderings: Grid | None
    deviations: tuple[str, ...]
    about_statistics: str = ""
    statistics: Grid | None = None  #: of attention, beside the paper's


@dataclass(frozen=True)
class View:
    """One reproduced table. All formats draw from this and compute nothing."""

    number: int
    title: str
    coverage: str
    units: str
    groups: tuple[Section, ...]
    notes: tuple[str, ...]
    effects: Grid | None
    effects_measured: bool
    counts: Grid | None
    mini: Mini | None
    deviations: tuple[str, ...]
    tolerances: tuple[tuple[str, str], ...]
    provenance: tuple[tuple[str, str], ...]
    verification: Verification
    mini_measurements: tuple[Measurement, ...] = ()


@dataclass
class _Notes:
    """Numbers notes in the order in which the table first points to them."""

    texts: list[str] = field(default_factory=list)

    def number(self, *texts: str) -> tuple[int, ...]:
        for text in texts:
            if text and text not in self.texts:
                self.texts.append(text)
        return tuple(self.texts.index(text) + 1 for text in texts if text)


def build(table: Table, store: Store) -> View:
    """The view of `table` with what `store` holds.

    Raises:
        ReproError: a record, the ledger or the tolerances are damaged; the file is named.
    """
    files, counts, rules = store.files(), store.counts(), tolerances.load()
    records, wrong = list(files.values()), findings(files)
    verification = verify(table, records, counts, rules, wrong)
    mini = mini_measurements(table, records)
    notes, deviations = _Notes(), _Notes()
    groups = []
    for group in table.groups:
        rows = [row for row in verification.rows if row.group is group]
        groups.append(Section(_title(group), _group_grid(rows, notes, deviations)))
    effects = orderings.effects(verification.rows)
    return View(
        number=table.number,
        title=table.title,
        coverage=coverage(verification.cells),
        units="; ".join(UNITS[unit] for unit in dict.fromkeys(cell.unit for cell in table.cells)),
        groups=tuple(groups),
        notes=tuple(notes.texts),
        effects=_effects_grid(effects) if effects else None,
        effects_measured=any(effect.n for effect in effects),
        counts=_counts_grid(verification.rows),
        mini=_mini(table, mini, rules) if mini else None,
        deviations=tuple(deviations.texts),
        tolerances=_tolerances(table, rules),
        provenance=_provenance(table, verification, mini, wrong),
        verification=verification,
        mini_measurements=tuple(mini.values()),
    )


def mini_measurements(table: Table, records: Sequence[Record]) -> dict[str, Measurement]:
    """The mini-profile measurement of every experiment of the table that has one."""
    run = {record.experiment for record in records if record.profile == "mini"}
    names = [name for name in table.experiments if name in run]
    if not names:
        return {}
    from repro.experiments.mini import shrink

    measured, _ = collect(records, {name: shrink(get(name)) for name in names}, "mini")
    return {name: measured[name][0] for name in names if measured[name]}


def _title(group: Group) -> str:
    return f"({group.name}) {group.title}" if len(group.name) == 1 else group.title


# -- the table itself -------------------------------------------------------------------------------------------------


def _group_grid(rows: Sequence[RowVerdict], notes: _Notes, deviations: _Notes) -> Grid:
    columns = rows[0].group.columns
    header = ("row", *(COLUMNS[column].heading for column in columns))
    return Grid(header, tuple(_row_block(row, columns, notes, deviations) for row in rows))


def _row_block(
    row: RowVerdict, columns: Sequence[str], notes: _Notes, deviations: _Notes
) -> tuple[tuple[Text, ...], ...]:
    """Two lines: what the paper prints, and below it ours with its delta and verdict."""
    verdicts = {verdict.cell.column: verdict for verdict in row.cells}
    paper, ours = [Text(row.row.label, bold=True)], [Text(_source(row, deviations))]
    for column in columns:
        if verdict := verdicts.get(column):
            paper.append(Text(verdict.cell.printed))
            ours.append(_ours(verdict, notes))
        else:
            paper.append(Text("-"))
            ours.append(Text("-", notes=notes.number("the paper prints no number here")))
    return tuple(paper), tuple(ours)


def _source(row: RowVerdict, deviations: _Notes) -> str:
    """Where the numbers of a row come from: `ours (trained, n = 3; D1, D2)`, `ours (authors' weights; D3)`.

    Where COCO's server evaluated them: `ours (evaluation server: authors' weights; D3)`.
    """
    measurement = row.measurement
    if measurement is None:
        return "ours (counted)" if any(cell.source == "counted" for cell in row.cells) else "ours"
    texts = dict.fromkeys(text for record in _used(measurement, row.row.cells) for text in record.deviations)
    numbers = ", ".join(f"D{number}" for number in deviations.number(*texts))
    checkpoint = measurement.first.weights.checkpoint
    if checkpoint:
        how = "authors' weights" if checkpoint.match == "exact" else "near weights"
    else:
        how = f"{measurement.first.source}, n = {measurement.n}"
    if measurement.first.submitted:
        how = f"{measurement.first.answered_by}: {how}"
    return f"ours ({how}{'; ' + numbers if numbers else ''})"


def _ours(verdict: CellVerdict, notes: _Notes) -> Text:
    if verdict.ours is None:
        return Text(NOT_RUN, notes=notes.number(f"not run: {verdict.reason}"), about=verdict)
    reason = "" if verdict.verdict in ("match", "ledger") else f"{verdict.verdict}: {verdict.reason}"
    spread = "" if verdict.spread is None else f"±{verdict.spread:.{verdict.cell.decimals}f}"
    suffix = "" if verdict.cell.printed[-1].isdigit() else verdict.cell.unit
    text = f"{verdict.ours:.{verdict.cell.decimals}f}{spread}{suffix}"
    # Of what was measured in another way, a difference would be read as one from the paper.
    undecided = verdict.verdict == "inconclusive" and verdict.reason != no_tolerance(verdict.cell.column)
    delta = "" if undecided else signed(verdict.delta, verdict.cell.decimals)
    return Text(text, delta, verdict.verdict, notes.number(reason, verdict.note), about=verdict)


def _used(measurement: Measurement, cells: Sequence[Cell]) -> tuple[Record, ...]:
    """The records that the measured cells among `cells` come from."""
    attention = any(cell.column in STATISTICS for cell in cells)
    return measurement.records + (measurement.statistics if attention else ())


def signed(value: float, decimals: int) -> str:
    """With its sign; zero has none."""
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text


# -- below it ---------------------------------------------------------------------------------------------------------


def _effects_grid(effects: Sequence[Effect]) -> Grid:
    """A line per row: published, and where there is one our difference, mean ± standard deviation over seeds."""
    columns = tuple(dict.fromkeys(effect.column for effect in effects))
    measured = any(effect.n for effect in effects)
    lines: dict[tuple[str, str], list[Text]] = {}
    for effect in effects:
        group, label = effect.row.group.name, effect.row.row.label
        line = lines.setdefault((group, label), [Text(f"({group}) {label}" if group else label)])
        decimals = effect.row.row.cell(effect.column).decimals
        text = signed(effect.published, decimals)
        if measured:
            ours = NOT_RUN if effect.ours is None else signed(effect.ours, decimals)
            spread = "" if effect.spread is None else f"±{effect.spread:.{decimals}f}"
            text = f"{text} / {ours}{spread}"
        line.append(Text(text))
    header = ("against the baseline", *(COLUMNS[column].heading for column in columns))
    return Grid(header, (tuple(tuple(line) for line in lines.values()),))


def _counts_grid(rows: Sequence[RowVerdict]) -> Grid | None:
    """Exact counts, one line per distinct experiment, in both conventions."""
    counted = {row.row.experiment: row.count for row in rows if row.count}
    if not counted:
        return None
    header = ("experiment", "parameters", "MACs (10^9)", "paper's operations (2^30)", "input")
    lines = tuple(
        (
            Text(name),
            Text(f"{count.params:,}"),
            Text(f"{count.macs / 1e9:.3f}"),
            Text(f"{count.paper_flops / 2**30:.3f}"),
            Text(" x ".join(map(str, count.input_shape))),
        )
        for name, count in counted.items()
    )
    return Grid(header, (lines,))


#: Of the generated data sets and their short schedules.
_CAVEATS = {
    "coco": "A detector either finds the far cue within the schedule or does not, so a spread can be wide or, from few "
    "seeds, misleadingly narrow.",
    "imagenet": "Top-5 says little: once textures are read, two classes are left.",
    "kinetics": "The networks for videos are half trained: their losses still fall at the end.",
}


def _datasets(table: Table) -> tuple[str, ...]:
    return tuple(dict.fromkeys(get(row.experiment).dataset for row in table.rows))


def _mini(table: Table, measured: dict[str, Measurement], rules: Tolerances) -> Mini:
    about = (
        f"Scaled-down networks{_lengths(table, measured)}. "
        "Mean ± standard deviation over n seeds, in %; only the order of rows can be compared with the paper's. "
        "Context is worth having on these data by construction, and the task was settled with seed 0 in view "
        "(docs/mini.md). All seeds share the data and what the networks start from: a spread is of how the rest is "
        "initialised and of the order of the data." + "".join(f" {_CAVEATS[dataset]}" for dataset in _datasets(table))
    )
    labels = {row.experiment: row.label for row in reversed(table.rows)}
    columns = dict.fromkeys(cell.column for cell in table.cells)
    printed = {(row.experiment, cell.column) for row in table.rows for cell in row.cells}
    metrics = [column for column in columns if any(m.first.metric(column) for m in measured.values())]
    lines = []
    for name, measurement in measured.items():
        line = [Text(f"{labels[name]} ({name})"), Text(str(measurement.n))]
        for metric in metrics:
            values = list(measurement.values(metric).values())
            line.append(Text(_mean(values) if values or (name, metric) in printed else "-"))
        cost = fmean(r.cost.train_seconds + r.cost.evaluate_seconds for r in measurement.records)
        lines.append((*line, Text(f"{cost:.0f} s")))
    header = ("row (experiment)", "n", *(COLUMNS[metric].heading for metric in metrics), "time a run")
    found = orderings.orderings(table, {name: [m] for name, m in measured.items()}, rules.orderings)
    distinct = tuple({ordering.question: ordering for ordering in reversed(found)}.values())[::-1]
    deviations = dict.fromkeys(text for m in measured.values() for r in _used(m, table.cells) for text in r.deviations)
    run = [ordering for ordering in distinct if ordering.n]
    orderings_grid = _orderings_grid(run) if run else None
    statistics = _statistics_grid(table, measured)
    return Mini(
        about, Grid(header, (tuple(lines),)), _summary(distinct), orderings_grid, tuple(deviations),
        _ABOUT_STATISTICS if statistics else "",
        statistics,
    )  # fmt: skip


_ABOUT_STATISTICS = (
    "Mean distances between the positions of an image or a clip: those of the paper, and those of the scaled-down "
    "networks on generated data, mean ± standard deviation over n seeds, or of one seed ± standard error over images "
    "or videos. They are of different networks and data: no difference between the two says anything."
)


def _statistics_grid(table: Table, measured: dict[str, Measurement]) -> Grid | None:
    """A line for each row whose attention was looked at: by column what the paper prints, then ours."""
    columns = [column for column in STATISTICS if any(cell.column == column for cell in table.cells)]
    lines = []
    for row in (row for row in table.rows if columns and row.experiment in measured):
        attention = measured[row.experiment].of(columns[0])
        if not attention.values(columns[0]):
            continue
        line = [Text(f"{row.label} ({row.experiment})"), Text(str(attention.n))]
        for column in columns:
            cell = row.cell(column)
            values = list(attention.values(column).values())
            line += [Text(cell.printed if cell else "-"), Text(_distance(attention, column, values) if values else "-")]
        lines.append(tuple(line))
    header = ["row (experiment)", "n"]
    for column in columns:
        header += [f"{COLUMNS[column].heading}: paper", "mini profile"]
    return Grid(tuple(header), (tuple(lines),)) if lines else None


def _distance(attention: Measurement, column: str, values: Sequence[float]) -> str:
    """With its uncertainty: four decimals, or as many as show two digits of that."""
    uncertainty = compute_deviation(values)
    if uncertainty is None:
        uncertainty = attention.first.metric(column).standard_error
    digits = max(4, 1 - math.floor(math.log10(uncertainty))) if uncertainty else 4
    return f"{fmean(values):.{digits}f}" + ("" if uncertainty is None else f" ± {uncertainty:.{digits}f}")


def _lengths(table: Table, measured: dict[str, Measurement]) -> str:
    """How long networks were trained and on how much they were evaluated, by the data set that theirs stands for."""
    found = {}
    for group in (group for group in table.groups if any(row.experiment in measured for row in group.rows)):
        first = next(measured[row.experiment].first for row in group.rows if row.experiment in measured)
        items = f"{first.dataset.evaluated} {DATASETS[group.dataset].items} evaluated"
        found[first.training.iterations if first.training else 0, items] = group.title
    if len(found) > 1:
        each = (f"{title}: trained for {n} iterations, {items}" for (n, items), title in found.items())
        return f" on small generated data sets. {'; '.join(each)}"
    ((n, items),) = found
    return (f", trained for {n} iterations" if n else "") + f" on a small generated data set; {items}"


def _mean(values: Sequence[float]) -> str:
    if not values:
        return NOT_RUN
    spread = compute_deviation(values)
    return f"{fmean(values):.1f}" + ("" if spread is None else f" ± {spread:.1f}")


def _summary(distinct: Sequence[Ordering]) -> str:
    number = {v: sum(o.verdict == v for o in distinct) for v in ("holds", "contrary", "inconclusive", "not run")}
    seeds = sorted({ordering.n for ordering in distinct if ordering.n})
    n = f"n = {seeds[0]}" if len(seeds) == 1 else f"n = {seeds[0]} to {seeds[-1]}" if seeds else "n = 0"
    return (
        f"Of {len(distinct)} distinct published orderings, {number['holds']} hold, {number['contrary']} are contrary, "
        f"{number['inconclusive']} are inconclusive and {number['not run']} were not run ({n} paired seeds)."
    )


def _orderings_grid(distinct: Sequence[Ordering]) -> Grid:
    """A line per pair of rows, those against their baseline first: by metric the published gap, ours, the verdict."""
    columns = tuple(dict.fromkeys(ordering.column for ordering in distinct))
    pairs: dict[tuple[str, str], dict[str, Ordering]] = {}
    for ordering in sorted(distinct, key=lambda o: not o.against_baseline):
        pairs.setdefault(ordering.question[:2], {})[ordering.column] = ordering
    lines = []
    for found in pairs.values():
        any_ = next(iter(found.values()))
        line = [Text(f"({any_.group.name}) {any_.better.label} > {any_.worse.label}")]
        for column in columns:
            ordering = found.get(column)
            if ordering is None:
                opposite = (any_.worse.experiment, any_.better.experiment) in pairs
                opposite = opposite and column in pairs[any_.worse.experiment, any_.better.experiment]
                line += [Text("reversed" if opposite else "tie"), Text("no such order")]
                continue
            line += [Text(f"{ordering.published:+.1f}"), _ordering_text(ordering)]
        lines.append(tuple(line))
    header = ["published order"]
    for column in columns:
        header += [f"{COLUMNS[column].heading}: paper", "mini profile"]
    return Grid(tuple(header), (tuple(lines),))


def _ordering_text(ordering: Ordering) -> Text:
    interval = "" if ordering.low is None else f" ({signed(ordering.low, 1)} to {signed(ordering.high, 1)})"
    why = f" ({ordering.reason})" if ordering.low is None else ""
    return Text(f"{signed(ordering.ours, 1)}{interval}, {ordering.verdict}{why}")


def _tolerances(table: Table, rules: Tolerances) -> tuple[tuple[str, str], ...]:
    columns = list(dict.fromkeys(cell.column for cell in table.cells))
    stated = []
    for rule in (rules.checkpoint, rules.converted, rules.one_seed):
        if widths := _widths(table, rule):
            stated.append((rule.applies_to, f"half-width in %: {widths}. {rule.rationale}"))
    if widest := _widths(table, rules.seeds):
        text = f"{rules.seeds.confidence:.0%} prediction interval, at most (in %): {widest}. {rules.seeds.rationale}"
        stated.append((rules.seeds.applies_to, text))
    if without := [COLUMNS[c].heading for c in columns if c in rules.undeclared.metrics]:
        text = f"{', '.join(without)}: none is declared, and no verdict is given. {rules.undeclared.rationale}"
        stated.append((rules.undeclared.applies_to, text))
    if "params" in columns or "flops" in columns:
        text = "the exact count, rounded or truncated, is the print; what is not stands in the ledger with its reason."
        stated.append(("#param", text))
        text = "in the paper's convention, within one unit of the last printed digit."
        stated.append(("FLOPs", text))
    order = rules.orderings
    stated.append((order.applies_to, f"{order.confidence:.0%}, at least {order.seeds} seeds. {order.rationale}"))
    return tuple(stated)


def _widths(table: Table, rule: Fixed | Seeds) -> str:
    """The width of each column on the data sets that the table has it on."""
    found: dict[str, dict[str, None]] = {}
    for group in table.groups:
        for column in (column for column in group.columns if column in rule.on(group.dataset)):
            found.setdefault(column, {})[f"{rule.on(group.dataset)[column]:g}"] = None
    return ", ".join(f"{COLUMNS[column].heading} {' or '.join(widths)}" for column, widths in found.items())


def _provenance(
    table: Table, verification: Verification, mini: dict[str, Measurement], wrong: Sequence[Finding]
) -> tuple[tuple[str, str], ...]:
    used = [m for m in (row.measurement for row in verification.rows) if m] + list(mini.values())
    records = {record.filename: record for measurement in used for record in _used(measurement, table.cells)}
    counts = {row.count.filename: row.count for row in verification.rows if row.count}
    facts = [("package", f"gcnet-repro {__version__}")]
    if records:
        commits = sorted({_commit(record) for record in records.values()})
        numbers = {p: sum(r.profile == p for r in records.values()) for p in ("full", "mini")}
        facts.append(("records", f"{numbers['full']} of the full profile, {numbers['mini']} of the mini profile"))
        facts.append(("measured at commit", ", ".join(commits)))
        facts.append(("engine", ", ".join(sorted({record.engine for record in records.values()}))))
        facts.append(("evaluator", ", ".join(sorted({record.evaluator for record in records.values()}))))
    if counts:
        counters = ", ".join(sorted({count.counter for count in counts.values()}))
        facts.append(("complexity", f"{len(counts)} networks counted by {counters}"))
    inputs = [PUBLISHED / f"table{table.number}.yaml", TABLES / "tolerances.yaml", ledger.LEDGER, LOCK]
    facts += [(path.name, f"sha256 {sha256(path)}") for path in inputs if path.exists()]
    facts += [(f"wrong: record {f.file}", f.text) for f in wrong if f.record.experiment in table.experiments]
    facts += [(f"unused record {unused.filename}", unused.reason) for unused in verification.unused]
    again = f"`nox -s reproduce -- --table {table.number}`; from the records alone: `repro table {table.number}`"
    facts.append(("regenerate", again))
    return tuple(facts)


def _commit(record: Record) -> str:
    commit = record.environment.get("commit") or "unknown"
    return f"{commit} with uncommitted changes" if record.environment.get("dirty") else str(commit)

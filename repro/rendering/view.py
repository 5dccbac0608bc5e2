"""What a reader of a reproduced table sees, once for all formats: numbers as text, marks, notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from repro.paper import COLUMNS, Group, Row, Table, tolerances
from repro.paper.hypotheses import load_hypotheses
from repro.records import Store
from repro.rendering.grid import NOT_RUN, Grid, Notes, Text, write_signed
from repro.rendering.mini_view import MiniView, build_mini
from repro.rendering.own_rows import ABOUT, build_mini_own, build_own_lines
from repro.rendering.provenance import describe_tolerances, trace_provenance
from repro.rendering.reading_rows import (
    build_mini_readings,
    build_reading_line,
    collect_mini_readings,
    describe_open_points,
)
from repro.verification.agreement import explain_no_tolerance
from repro.verification.coverage import Coverage
from repro.verification.hypotheses import collect_mini
from repro.verification.integrity import admit
from repro.verification.judgement import verify
from repro.verification.measurements import Measurement
from repro.verification.orderings import Effect, effects_over_baseline
from repro.verification.other_readings import ReadingRow, list_reading_rows
from repro.verification.own_rows import OwnRow, is_placed, list_own_rows
from repro.verification.verdicts import CellVerdict, RowVerdict, Verification

#: What the numbers of a table are in, by the unit of its columns.
UNITS = {
    "%": "AP and accuracy in %",
    "M": "#param in millions",
    "G": "FLOPs in units of 2^30 operations, counted as the paper counts",
    "": "distances without a unit",
}


@dataclass(frozen=True)
class Section:
    """A group of rows under its title."""

    title: str
    grid: Grid


@dataclass(frozen=True)
class TableView:
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
    mini: tuple[MiniView, ...]  #: one for each way of measuring
    deviations: tuple[str, ...]
    tolerances: tuple[tuple[str, str], ...]
    provenance: tuple[tuple[str, str], ...]
    verification: Verification
    mini_measurements: tuple[Measurement, ...] = ()
    open_points: tuple[tuple[str, str], ...] = ()  #: of the protocol: the point, and which rows it touches
    readings: tuple[ReadingRow, ...] = ()  #: measured under others than the default
    mini_readings: Grid | None = None
    mini_reading_measurements: tuple[tuple[str, Measurement], ...] = ()  #: with the reading of each
    own: tuple[OwnRow, ...] = ()  #: of the user's, at the full profile
    own_mini: tuple[OwnRow, ...] = ()
    mini_own: Grid | None = None
    about_own: str = ""


def build(table: Table, store: Store) -> TableView:
    """The view of `table` with what `store` holds.

    Raises:
        ReproError: a record, the ledger or the tolerances are damaged; the file is named.
    """
    admitted, counts, rules = admit(store), store.counts(), tolerances.load()
    records, problems = admitted.records, admitted.problems
    verification = verify(table, records, counts, rules, problems)
    mini = collect_mini(table, records)
    # One on another data set is of several ways.
    small = tuple({m.first.filename: m for _, measured in mini for m in measured.values()}.values())
    notes, deviations = Notes(), Notes()
    readings = list_reading_rows(table, records, problems)
    own_problems = [p for p in admitted.own_problems if is_placed(p.record.experiment, table)]
    own, own_mini = (list_own_rows(table, records, counts, profile) for profile in ("full", "mini"))
    mini_own = build_mini_own(own_mini)
    groups = []
    for group in table.groups:
        rows = [row for row in verification.rows if row.group is group]
        mine = [row for row in own if row.group.name == group.name]
        groups.append(Section(_write_title(group), _build_group_grid(rows, readings, mine, notes, deviations)))
    effects = effects_over_baseline(verification.rows)
    return TableView(
        number=table.number,
        title=table.title,
        coverage=Coverage.count(verification.cells).describe(),
        units="; ".join(UNITS[unit] for unit in dict.fromkeys(cell.unit for cell in table.cells)),
        groups=tuple(groups),
        notes=tuple(notes.texts),
        effects=_build_effects_grid(effects) if effects else None,
        effects_measured=any(effect.n for effect in effects),
        counts=_build_counts_grid(verification.rows),
        mini=tuple(
            build_mini(table, measured, load_hypotheses(), way if len(mini) > 1 else "") for way, measured in mini
        ),
        deviations=tuple(deviations.texts),
        tolerances=describe_tolerances(table, rules),
        provenance=trace_provenance(table, verification, small, [*problems, *own_problems]),
        verification=verification,
        mini_measurements=small,
        open_points=describe_open_points(table),
        readings=readings,
        mini_readings=build_mini_readings(table, records),
        mini_reading_measurements=collect_mini_readings(table, records),
        own=own,
        own_mini=own_mini,
        mini_own=mini_own,
        about_own=ABOUT if mini_own else "",
    )


def _write_title(group: Group) -> str:
    return f"({group.name}) {group.title}" if len(group.name) == 1 else group.title


# -- the table itself -------------------------------------------------------------------------------------------------


def _build_group_grid(
    rows: Sequence[RowVerdict], readings: Sequence[ReadingRow], own: Sequence[OwnRow], notes: Notes, deviations: Notes
) -> Grid:
    columns = rows[0].group.columns
    header = ("row", *(COLUMNS[column].heading for column in columns))
    blocks = []
    for row in rows:
        lines = list(_build_row(row, columns, notes, deviations))
        for other in (other for other in readings if (other.group, other.row) == (row.group, row.row)):
            alike = [one for one in readings if (one.group, one.row, one.name) == (row.group, row.row, other.name)]
            source = _describe_measurement(
                other.measurement, _list_columns(row.row), deviations, with_engine=len(alike) > 1
            )
            lines.append(build_reading_line(other, columns, source, notes))
        blocks.append(tuple(lines))
    lines = []
    for mine in own:
        source = "not run"
        if mine.measurement:
            source = _describe_measurement(mine.measurement, columns, deviations, with_engine=True)
        lines.append(build_own_lines(mine, columns, source, notes))
    return Grid(header, (*blocks, *([tuple(lines)] if lines else [])))


def _build_row(
    row: RowVerdict, columns: Sequence[str], notes: Notes, deviations: Notes
) -> tuple[tuple[Text, ...], ...]:
    """What the paper prints, and below it ours with its delta and verdict: a line for each way of measuring."""
    verdicts = {verdict.cell.column: verdict for verdict in row.cells}
    paper = [Text(row.row.label, bold=True)]
    for column in columns:
        paper.append(Text(verdicts[column].cell.printed if column in verdicts else "-"))
    lines = [tuple(paper)]
    for number, measurement in enumerate([m for _, m in row.measurements] or [None]):
        ours = [Text(_describe_source(row, measurement, deviations))]
        for column in columns:
            verdict = verdicts.get(column)
            if verdict is None:
                ours.append(Text("-", notes=notes.number("the paper prints no number here")))
            elif verdict.ways:
                clash = f"conflict: {verdict.reason}" if verdict.verdict == "conflict" else ""
                written = _write_ours(verdict.ways[number], notes)
                ours.append(replace(written, notes=tuple(dict.fromkeys((*written.notes, *notes.number(clash))))))
            elif number and not COLUMNS[column].measured:
                ours.append(Text(""))  # the count stands in the first line
            else:
                ours.append(_write_ours(verdict, notes))
        lines.append(tuple(ours))
    return tuple(lines)


def _describe_source(row: RowVerdict, measurement: Measurement | None, deviations: Notes) -> str:
    """Where the numbers of a line come from: `ours (trained, n = 3; D1, D2)`, `ours (authors' weights; D3)`.

    Where COCO's server evaluated them: `ours (evaluation server: authors' weights; D3)`. Of several ways, each names
    its engine.
    """
    if measurement is None:
        return "ours (counted)" if any(cell.source == "counted" for cell in row.cells) else "ours"
    return _describe_measurement(measurement, _list_columns(row.row), deviations, with_engine=len(row.measurements) > 1)


def _list_columns(row: Row) -> list[str]:
    return [cell.column for cell in row.cells]


def _describe_measurement(
    measurement: Measurement, columns: Sequence[str], deviations: Notes, *, with_engine: bool = False
) -> str:
    texts = dict.fromkeys(text for record in measurement.records_behind(columns) for text in record.deviations)
    numbers = ", ".join(f"D{number}" for number in deviations.number(*texts))
    checkpoint = measurement.first.weights.checkpoint
    if checkpoint:
        how = "authors' weights" if checkpoint.match == "exact" else "near weights"
    else:
        how = f"{measurement.first.source}, n = {measurement.n}"
    if measurement.first.submitted:
        how = f"{measurement.first.answered_by}: {how}"
    if with_engine:
        how += f", {measurement.first.engine}"
    return f"ours ({how}{'; ' + numbers if numbers else ''})"


def _write_ours(verdict: CellVerdict, notes: Notes) -> Text:
    if verdict.ours is None:
        return Text(NOT_RUN, notes=notes.number(f"{verdict.verdict}: {verdict.reason}"), about=verdict)
    reason = "" if verdict.verdict in ("compatible", "match", "ledger") else f"{verdict.verdict}: {verdict.reason}"
    spread = "" if verdict.spread is None else f"±{verdict.spread:.{verdict.cell.decimals}f}"
    suffix = "" if verdict.cell.printed[-1].isdigit() else verdict.cell.unit
    text = f"{verdict.ours:.{verdict.cell.decimals}f}{spread}{suffix}"
    # Of what was measured in another way, a difference would be read as one from the paper.
    undecided = verdict.verdict == "inconclusive" and verdict.reason != explain_no_tolerance(verdict.cell.column)
    delta = "" if undecided or verdict.delta is None else write_signed(verdict.delta, verdict.cell.decimals)
    return Text(text, delta, verdict.verdict, notes.number(reason, verdict.note, verdict.assumption), about=verdict)


# -- below it ---------------------------------------------------------------------------------------------------------


def _build_effects_grid(effects: Sequence[Effect]) -> Grid:
    """A line per row and way: published, and if there is one our difference, mean ± standard deviation over seeds."""
    columns = tuple(dict.fromkeys(effect.column for effect in effects))
    measured = any(effect.n for effect in effects)
    lines: dict[tuple[str, str, str], list[Text]] = {}
    for effect in effects:
        group, label = effect.row.group.name, effect.row.row.label
        name = (f"({group}) {label}" if group else label) + (f", {effect.way}" if effect.way else "")
        line = lines.setdefault((group, label, effect.way), [Text(name)])
        decimals = effect.row.row.require(effect.column).decimals
        text = write_signed(effect.published, decimals)
        if measured:
            ours = NOT_RUN if effect.ours is None else write_signed(effect.ours, decimals)
            spread = "" if effect.spread is None else f"±{effect.spread:.{decimals}f}"
            text = f"{text} / {ours}{spread}"
        line.append(Text(text))
    header = ("against the baseline", *(COLUMNS[column].heading for column in columns))
    return Grid(header, (tuple(tuple(line) for line in lines.values()),))


def _build_counts_grid(rows: Sequence[RowVerdict]) -> Grid | None:
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

"""The complexity cells of the paper's tables beside our counts, as rows and as text. Imports no torch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from repro import ledger, paper
from repro.complexity import unsupported
from repro.experiments import get
from repro.ledger import SCALE, Verdict
from repro.paper import Cell, Table
from repro.records import Count
from repro.render import escape_md, escape_tex, latex_grid, markdown_grid
from repro.view import NOT_RUN, Grid, Text, signed

_RULES = {"params": ledger.verdict_params, "flops": ledger.verdict_flops}


@dataclass(frozen=True)
class Row:
    """One row of a table. `verdicts` by column, for the published cells of a network that was counted."""

    table: Table
    group: paper.Group
    row: paper.Row
    count: Count | None

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """By column, "params" and "flops".

        Raises:
            ReproError: a ledger entry is stale or not needed.
        """
        if self.count is None:
            return {}
        cells = ((column, self.row.cell(column)) for column in _RULES)
        return {column: _RULES[column](cell, self.count) for column, cell in cells if cell is not None}

    @property
    def reason(self) -> str | None:
        """Why there is no count."""
        return None if self.count else unsupported(get(self.row.experiment))


def tables() -> list[int]:
    """The tables that print parameters or FLOPs."""
    return [table.number for table in paper.tables() if any(cell.column in _RULES for cell in table.cells)]


def rows(numbers: Iterable[int], counts: Mapping[str, Count]) -> list[Row]:
    """The rows of these tables in the paper's order, with the counts by experiment name."""
    return [
        Row(table, group, row, counts.get(row.experiment))
        for table in map(paper.load, numbers)
        for group in table.groups
        for row in group.rows
    ]


def off(found: Sequence[Row]) -> list[Cell]:
    """The cells that neither match nor stand in the ledger."""
    return [
        row.row.cell(column) for row in found for column, verdict in row.verdicts.items() if verdict.verdict == "off"
    ]


def as_data(row: Row) -> dict[str, object]:
    """A row as plain data. `*_how`: what a verdict rests on; `*_delta`: ours - published, in millions and in 2**30."""
    data: dict[str, object] = {
        "table": row.table.number,
        "group": row.group.name,
        "row": row.row.label,
        "experiment": row.row.experiment,
        "params": row.count and row.count.params,
        "macs": row.count and row.count.macs,
        "paper_flops": row.count and row.count.paper_flops,
    }
    for column in _RULES:
        cell, verdict = row.row.cell(column), row.verdicts.get(column)
        data[f"published_{column}"] = cell and cell.printed
        data[f"{column}_verdict"] = verdict.verdict if verdict else cell and "not run"
        data[f"{column}_how"] = verdict.how if verdict else cell and row.reason
        data[f"{column}_delta"] = verdict and verdict.delta
    data["ledger"] = [verdict.entry.model_dump() for verdict in row.verdicts.values() if verdict.entry]
    data["input_shape"] = row.count and row.count.input_shape
    data["rois"] = row.count and row.count.rois
    return data


def text(found: Sequence[Row], form: Literal["json", "csv", "md", "tex"]) -> str:
    """The rows as a document in that format."""
    if form == "json":
        return json.dumps([as_data(row) for row in found], indent=1) + "\n"
    if form == "csv":
        return _csv(found)
    return _document(found, form)


def _csv(found: Sequence[Row]) -> str:
    output = io.StringIO()
    lines = [as_data(row) for row in found]
    writer = csv.DictWriter(output, lines[0].keys(), lineterminator="\n")
    writer.writeheader()
    for line in lines:
        explained = "; ".join(f"{entry['column']}: {entry['reason']}" for entry in line["ledger"])
        nested = {key: json.dumps(line[key]) if line[key] else "" for key in ("input_shape", "rois")}
        writer.writerow({**line, **nested, "ledger": explained})
    return output.getvalue()


_HEADER = ("", "#param (M)", "exact", "FLOPs (2^30)", "counted", "delta", "MACs (10^9)")
_ABOUT = (
    "#param: learnable parameters, frozen stages included; it matches when the exact integer, rounded or truncated, is "
    "the print. FLOPs: operations in the paper's convention; they match within one printed digit. MACs: "
    "multiply-accumulates of convolutions, matrix products and linear layers, which is another number."
)


def _document(found: Sequence[Row], form: Literal["md", "tex"]) -> str:
    escape, grid = (escape_md, markdown_grid) if form == "md" else (escape_tex, latex_grid)
    notes: list[str] = []
    parts = []
    for table in dict.fromkeys(row.table for row in found):
        own = [row for row in found if row.table is table]
        blocks = tuple(
            tuple(_line(row, notes) for row in own if row.group is group)
            for group in table.groups
            if any(row.group is group for row in own)
        )
        title = f"Table {table.number}: parameters and operations"
        parts.append(f"## {title}" if form == "md" else rf"\subsection*{{{title}}}")
        parts += [grid(Grid(_HEADER, blocks)), escape(_coverage(own))]
    parts += [escape(_ABOUT), *map(escape, _inputs(found))]
    parts += [f"{number}. {escape(note)}" for number, note in enumerate(notes, 1)]
    return "\n\n".join(parts) + "\n"


def _line(row: Row, notes: list[str]) -> tuple[Text, ...]:
    def numbers(*texts: str | None) -> tuple[int, ...]:
        for note in texts:
            if note and note not in notes:
                notes.append(note)
        return tuple(notes.index(note) + 1 for note in texts if note)

    name = Text(f"({row.group.name}) {row.row.label}" if row.group.name else row.row.label)
    params, flops = row.row.cell("params"), row.row.cell("flops")
    published = [Text(cell.printed if cell else "-") for cell in (params, flops)]
    if row.count is None:
        missing = Text(NOT_RUN, notes=numbers(f"not counted: {row.reason}"))
        return name, published[0], missing, published[1], missing, missing, missing
    verdicts = row.verdicts
    of_params, of_flops = verdicts.get("params"), verdicts.get("flops")
    exact = Text(
        f"{row.count.params:,}",
        mark=of_params.verdict if of_params else "",
        notes=numbers(_note(params, of_params)),
    )
    counted = Text(
        f"{row.count.paper_flops / SCALE['flops']:.3f}",
        mark=of_flops.verdict if of_flops else "",
        notes=numbers(_note(flops, of_flops)),
    )
    delta = Text(signed(of_flops.delta, 3) if of_flops else "-")
    return name, published[0], exact, published[1], counted, delta, Text(f"{row.count.macs / 1e9:.3f}")


def _note(cell: Cell | None, verdict: Verdict | None) -> str | None:
    """What a reader has to know beside the mark."""
    if cell is None or verdict is None:
        return None
    if verdict.entry:
        return f"{cell}: {verdict.entry.reason} `tables/ledger.yaml` says what else was tried."
    if verdict.verdict == "off" or verdict.how == "truncated":
        return f"{cell}: {verdict.how}."
    return None


def _coverage(found: Sequence[Row]) -> str:
    """How the published cells of one table fare, by column."""
    lines = []
    for column in _RULES:
        cells = [row.row.cell(column) for row in found if row.row.cell(column)]
        if cells:
            verdicts = [row.verdicts[column] for row in found if column in row.verdicts]
            kinds = {kind: sum(v.verdict == kind for v in verdicts) for kind in ("match", "ledger", "off")}
            how = f" ({sum(v.how == 'truncated' for v in verdicts)} by truncation)" if column == "params" else ""
            lines.append(
                f"{paper.COLUMNS[column].heading}: {kinds['match']} of {len(cells)} cells match{how}, "
                f"{kinds['ledger']} in the ledger, {kinds['off']} off, {len(cells) - len(verdicts)} not counted."
            )
    return " ".join(lines)


def _inputs(found: Sequence[Row]) -> list[str]:
    """At which input sizes, with how many RoIs and by what the networks were counted."""
    lines = dict.fromkeys(
        f"Input {' x '.join(map(str, row.count.input_shape))}"
        + "".join(f", {number} RoIs through the {head.replace('_', ' ')}" for head, number in row.count.rois.items())
        + f"; {row.count.counter}."
        for row in found
        if row.count
    )
    return list(lines)

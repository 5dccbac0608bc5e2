"""The complexity cells of the paper's tables beside our counts, as rows and as text. Imports no torch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from repro import paper
from repro.paper import Cell, Table
from repro.records import Count
from repro.rendering.tables import escape_md, escape_tex, latex_grid, markdown_grid
from repro.rendering.view import Grid, Text, signed
from repro.verification import ledger
from repro.verification.ledger import SCALE, Verdict

_RULES = {"params": ledger.verdict_params, "flops": ledger.verdict_flops}


@dataclass(frozen=True)
class Row:
    """One row of a table, and the count of its network."""

    table: Table
    group: paper.Group
    row: paper.Row
    count: Count

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """By column, "params" and "flops", for the published cells.

        Raises:
            ReproError: a ledger entry is stale or not needed.
        """
        cells = ((column, self.row.cell(column)) for column in _RULES)
        return {column: _RULES[column](cell, self.count) for column, cell in cells if cell is not None}


def tables() -> list[int]:
    """The tables that print parameters or FLOPs."""
    return [table.number for table in paper.tables() if any(cell.column in _RULES for cell in table.cells)]


def rows(numbers: Iterable[int], counts: Mapping[str, Count]) -> list[Row]:
    """The rows of these tables in the paper's order, with the counts by experiment name."""
    return [
        Row(table, group, row, counts[row.experiment])
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
        "params": row.count.params,
        "macs": row.count.macs,
        "paper_flops": row.count.paper_flops,
    }
    for column in _RULES:
        cell, verdict = row.row.cell(column), row.verdicts.get(column)
        data[f"published_{column}"] = cell and cell.printed
        data[f"{column}_verdict"] = verdict and verdict.verdict
        data[f"{column}_how"] = verdict and verdict.how
        data[f"{column}_delta"] = verdict and verdict.delta
    data["ledger"] = [verdict.entry.model_dump() for verdict in row.verdicts.values() if verdict.entry]
    data["input_shape"] = row.count.input_shape
    data["rois"] = row.count.rois
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


_HEADER = ("", "#param (M)", "exact", "delta", "FLOPs (2^30)", "counted", "delta", "MACs (10^9)")
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
    def numbers(note: str | None) -> tuple[int, ...]:
        if note is None:
            return ()
        if note not in notes:
            notes.append(note)
        return (notes.index(note) + 1,)

    def compared(column: str, ours: str) -> tuple[Text, Text, Text]:
        cell, verdict = row.row.cell(column), row.verdicts.get(column)
        if cell is None or verdict is None:
            return Text("-"), Text(ours), Text("-")
        marked = Text(ours, mark=verdict.verdict, notes=numbers(_note(cell, verdict)))
        return Text(cell.printed), marked, Text(signed(verdict.delta, 3))

    return (
        Text(f"({row.group.name}) {row.row.label}" if row.group.name else row.row.label),
        *compared("params", f"{row.count.params:,}"),
        *compared("flops", f"{row.count.paper_flops / SCALE['flops']:.3f}"),
        Text(f"{row.count.macs / 1e9:.3f}"),
    )


def _note(cell: Cell, verdict: Verdict) -> str | None:
    """What a reader has to know beside the mark."""
    if verdict.entry:
        return f"{cell}: {verdict.entry.reason} `tables/ledger.yaml` says what else was tried."
    if verdict.verdict == "off" or verdict.how == "truncated":
        return f"{cell}: {verdict.how}."
    return None


def _coverage(found: Sequence[Row]) -> str:
    """How the published cells of one table fare, by column."""
    lines = []
    for column in _RULES:
        verdicts = [row.verdicts[column] for row in found if column in row.verdicts]
        if verdicts:
            kinds = {kind: sum(v.verdict == kind for v in verdicts) for kind in ("match", "ledger", "off")}
            how = f" ({sum(v.how == 'truncated' for v in verdicts)} by truncation)" if column == "params" else ""
            lines.append(
                f"{paper.COLUMNS[column].heading}: {kinds['match']} of {len(verdicts)} cells match{how}, "
                f"{kinds['ledger']} in the ledger, {kinds['off']} off."
            )
    return " ".join(lines)


def _inputs(found: Sequence[Row]) -> list[str]:
    """At which input sizes, with how many RoIs and by what the networks were counted."""
    return list(dict.fromkeys(f"{at(row.count.input_shape, row.count.rois)}; {row.count.counter}." for row in found))


def at(input_shape: Sequence[int], rois: Mapping[str, int]) -> str:
    """The size of the input and the number of RoIs through each head, in words."""
    by_head: dict[str, list[int]] = {}
    for head, number in rois.items():
        by_head.setdefault(head.rstrip("_0123456789"), []).append(number)
    parts = [f"Input {' x '.join(map(str, input_shape))}"]
    for head, numbers in by_head.items():
        which = "the" if len(numbers) == 1 else f"each of {len(numbers)}"
        parts.append(f"{numbers[0]} RoIs through {which} {head.replace('_', ' ')}{'s' if len(numbers) > 1 else ''}")
    return ", ".join(parts)

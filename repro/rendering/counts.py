"""The complexity cells of the paper's tables beside our counts, as rows and as text. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from repro import paper
from repro.paper import Cell, Table
from repro.records import Count
from repro.rendering.escaping import escape_md, escape_tex, write_rows
from repro.rendering.grid import Grid, Text, write_signed
from repro.rendering.tables import write_latex_grid, write_markdown_grid
from repro.verification import ledger
from repro.verification.ledger import SCALE, CountVerdict, LedgerEntry

Form = Literal["json", "csv", "md", "tex"]
_RULES = {"params": ledger.judge_params, "flops": ledger.judge_flops}


@dataclass(frozen=True)
class CountedRow:
    """One row of a table, and the count of its network."""

    table: Table
    group: paper.Group
    row: paper.Row
    count: Count

    @property
    def verdicts(self) -> dict[str, CountVerdict]:
        """The verdicts of the published cells by column, "params" and "flops".

        Raises:
            ReproError: a ledger entry is stale or not needed.
        """
        cells = ((column, self.row.cell(column)) for column in _RULES)
        return {column: _RULES[column](cell, self.count) for column, cell in cells if cell is not None}


def list_counted_tables() -> list[int]:
    """List the tables that print parameters or FLOPs."""
    return [table.number for table in paper.load_all() if any(cell.column in _RULES for cell in table.cells)]


def list_rows(numbers: Iterable[int], counts: Mapping[str, Count]) -> list[CountedRow]:
    """List the rows of these tables in the paper's order.

    Args:
        counts: by the names of the experiments.
    """
    return [
        CountedRow(table, group, row, counts[row.experiment])
        for table in map(paper.load, numbers)
        for group in table.groups
        for row in group.rows
    ]


def find_off(rows: Sequence[CountedRow]) -> list[Cell]:
    """Find the cells that neither match nor stand in the ledger."""
    return [
        row.row.require(column) for row in rows for column, verdict in row.verdicts.items() if verdict.verdict == "off"
    ]


def row_as_data(row: CountedRow) -> dict[str, object]:
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
    data["ledger"] = [entry.model_dump() for entry in _list_entries(row)]
    data["input_shape"] = row.count.input_shape
    data["rois"] = row.count.rois
    return data


def _list_entries(row: CountedRow) -> list[LedgerEntry]:
    return [verdict.entry for verdict in row.verdicts.values() if verdict.entry]


def render(rows: Sequence[CountedRow], form: Form) -> str:
    """Render the rows as a document in that format."""
    if form == "json":
        return json.dumps([row_as_data(row) for row in rows], indent=1) + "\n"
    if form == "csv":
        return _write_csv(rows)
    return _write_document(rows, form)


def _write_csv(rows: Sequence[CountedRow]) -> str:
    lines = []
    for row in rows:
        data = row_as_data(row)
        explained = "; ".join(f"{entry.column}: {entry.reason}" for entry in _list_entries(row))
        nested = {key: json.dumps(data[key]) if data[key] else "" for key in ("input_shape", "rois")}
        lines.append({**data, **nested, "ledger": explained})
    return write_rows(list(row_as_data(rows[0])), lines)


_HEADER = ("", "#param (M)", "exact", "delta", "FLOPs (2^30)", "counted", "delta", "MACs (10^9)")
_ABOUT = (
    "#param: learnable parameters, frozen stages included; it matches when the exact integer, rounded or truncated, is "
    "the print. FLOPs: operations in the paper's convention; they match within one printed digit. MACs: "
    "multiply-accumulates of convolutions, matrix products and linear layers, which is another number."
)


def _write_document(rows: Sequence[CountedRow], form: Literal["md", "tex"]) -> str:
    escape, grid = (escape_md, write_markdown_grid) if form == "md" else (escape_tex, write_latex_grid)
    notes: list[str] = []
    parts = []
    for table in dict.fromkeys(row.table for row in rows):
        own = [row for row in rows if row.table is table]
        blocks = tuple(
            tuple(_write_line(row, notes) for row in own if row.group is group)
            for group in table.groups
            if any(row.group is group for row in own)
        )
        title = f"Table {table.number}: parameters and operations"
        parts.append(f"## {title}" if form == "md" else rf"\subsection*{{{title}}}")
        parts += [grid(Grid(_HEADER, blocks)), escape(_count_matches(own))]
    parts += [escape(_ABOUT), *map(escape, _list_inputs(rows))]
    parts += [f"{number}. {escape(note)}" for number, note in enumerate(notes, 1)]
    return "\n\n".join(parts) + "\n"


def _write_line(row: CountedRow, notes: list[str]) -> tuple[Text, ...]:
    def number(note: str | None) -> tuple[int, ...]:
        if note is None:
            return ()
        if note not in notes:
            notes.append(note)
        return (notes.index(note) + 1,)

    def compare(column: str, ours: str) -> tuple[Text, Text, Text]:
        cell, verdict = row.row.cell(column), row.verdicts.get(column)
        if cell is None or verdict is None:
            return Text("-"), Text(ours), Text("-")
        marked = Text(ours, mark=verdict.verdict, notes=number(_explain(cell, verdict)))
        return Text(cell.printed), marked, Text(write_signed(verdict.delta, 3))

    return (
        Text(f"({row.group.name}) {row.row.label}" if row.group.name else row.row.label),
        *compare("params", f"{row.count.params:,}"),
        *compare("flops", f"{row.count.paper_flops / SCALE['flops']:.3f}"),
        Text(f"{row.count.macs / 1e9:.3f}"),
    )


def _explain(cell: Cell, verdict: CountVerdict) -> str | None:
    """Say what a reader has to know beside the mark."""
    if verdict.entry:
        return f"{cell}: {verdict.entry.reason} `tables/ledger.yaml` says what else was tried."
    if verdict.verdict == "off" or verdict.how == "truncated":
        return f"{cell}: {verdict.how}."
    return None


def _count_matches(rows: Sequence[CountedRow]) -> str:
    """Say by column how many published cells of one table match, are in the ledger, and are off."""
    lines = []
    for column in _RULES:
        verdicts = [row.verdicts[column] for row in rows if column in row.verdicts]
        if verdicts:
            kinds = {kind: sum(v.verdict == kind for v in verdicts) for kind in ("match", "ledger", "off")}
            how = f" ({sum(v.how == 'truncated' for v in verdicts)} by truncation)" if column == "params" else ""
            lines.append(
                f"{paper.COLUMNS[column].heading}: {kinds['match']} of {len(verdicts)} cells match{how}, "
                f"{kinds['ledger']} in the ledger, {kinds['off']} off."
            )
    return " ".join(lines)


def _list_inputs(rows: Sequence[CountedRow]) -> list[str]:
    """Say at which input sizes, with how many RoIs and by what the networks were counted."""
    return list(
        dict.fromkeys(f"{describe_input(row.count.input_shape, row.count.rois)}; {row.count.counter}." for row in rows)
    )


def describe_input(input_shape: Sequence[int], rois: Mapping[str, int]) -> str:
    """Describe the size of the input and the number of RoIs through each head, in words."""
    by_head: dict[str, list[int]] = {}
    for head, number in rois.items():
        by_head.setdefault(head.rstrip("_0123456789"), []).append(number)
    parts = [f"Input {' x '.join(map(str, input_shape))}"]
    for head, numbers in by_head.items():
        which = "the" if len(numbers) == 1 else f"each of {len(numbers)}"
        parts.append(f"{numbers[0]} RoIs through {which} {head.replace('_', ' ')}{'s' if len(numbers) > 1 else ''}")
    return ", ".join(parts)

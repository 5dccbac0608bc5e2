"""Cells as a person names them: `2/a/+1 GC/ap_box`, or something near it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from repro import paper
from repro.errors import ReproError, unknown
from repro.paper import COLUMNS, Cell


def find(name: str) -> tuple[Cell, ...]:
    """The cells of `TABLE/GROUP/ROW[/COLUMN]`: one, or those of a row.

    Case, spaces and punctuation need not be as in the paper, columns may be named by their headings, and a group may be
    left out where the row stands in one alone.

    Raises:
        ReproError: there are no such cells, or several rows are meant; the nearest or those are offered.
    """
    parts = [_simplify(part) for part in name.split("/")]
    number = parts[0].removeprefix("table")
    if not number.isdigit() or int(number) not in paper.CELLS:
        raise ReproError(
            f"{name!r} does not begin with a table of the paper, 1 to {max(paper.CELLS)}: 2/a/+1 GC/ap_box"
        )
    cells = paper.load(int(number)).cells
    rest = "".join(parts[1:])
    rows = {(cell.group, cell.row): [c for c in cells if (c.group, c.row) == (cell.group, cell.row)] for cell in cells}
    named = [chosen for row, in_row in rows.items() if (chosen := _match(rest, row, in_row))]
    if len(named) == 1:
        return tuple(named[0])
    if named:
        raise ReproError(f"{name!r} is in several groups: {' or '.join(cells[0].address for cells in named)}?")
    whole = len(parts) > 3 or any(rest.endswith(plain) for column in COLUMNS for plain in _name_column(column))
    known = [cell.address if whole else _name_row(cell) for cell in cells]
    raise unknown("cell", name, dict.fromkeys(known))


def _match(rest: str, row: tuple[str, str], cells: Sequence[Cell]) -> Sequence[Cell]:
    """The cells of a row that `rest`, all that follows the table, names."""
    group, label = map(_simplify, row)
    # "r16 (ratio 16)" is named by "r16" as well, and "+1 GC" by "1gc".
    labels = {label, label.lstrip("+"), _simplify(row[1].partition(" (")[0])}
    for before in {group + name for name in labels} | labels:
        if rest == before:
            return cells
        for cell in cells:
            if rest.startswith(before) and rest[len(before) :] in _name_column(cell.column):
                return [cell]
    return []


def _name_column(column: str) -> set[str]:
    return {_simplify(column), _simplify(COLUMNS[column].heading)}


def _name_row(cell: Cell) -> str:
    return cell.address.rpartition("/")[0]


def _simplify(text: str) -> str:
    return re.sub(r"[^a-z0-9+]", "", text.lower())

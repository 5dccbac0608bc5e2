"""What the paper prints: five tables, 72 rows, 475 cells, as typed data with their printed precision.

The numbers stand in `tables/published/table{1..5}.yaml`. Loading checks them and names file, row and column of what
is wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NoReturn

from repro import experiments
from repro.errors import ReproError
from repro.files.yaml_files import load_yaml
from repro.paths import PUBLISHED

Unit = Literal["%", "M", "G", ""]


@dataclass(frozen=True)
class Column:
    """A kind of number: what stands above it and in which unit. `measured` says whether data and weights are needed."""

    heading: str
    unit: Unit
    measured: bool = True


#: By column id. The ids of the measured columns are the names of the metrics in a record.
COLUMNS: dict[str, Column] = {
    "ap_box": Column("AP box", "%"),
    "ap50_box": Column("AP50 box", "%"),
    "ap75_box": Column("AP75 box", "%"),
    "ap_mask": Column("AP mask", "%"),
    "ap50_mask": Column("AP50 mask", "%"),
    "ap75_mask": Column("AP75 mask", "%"),
    "params": Column("#param", "M", measured=False),
    "flops": Column("FLOPs", "G", measured=False),
    "top1": Column("Top-1", "%"),
    "top5": Column("Top-5", "%"),
    "cos_input": Column("cos input", ""),
    "cos_output": Column("cos output", ""),
    "cos_att": Column("cos att", ""),
    "jsd_att": Column("JSD att", ""),
}

#: Columns that are not metrics of predictions but statistics of the attention inside the network.
STATISTICS = ("cos_input", "cos_output", "cos_att", "jsd_att")


@dataclass(frozen=True)
class PublishedDataSet:
    """What the numbers of a group were measured on; `size` where the protocol fixes it."""

    needs: str
    items: str
    size: int | None


#: By the name that a record carries as its `dataset.name`.
DATASETS: dict[str, PublishedDataSet] = {
    "coco-val2017": PublishedDataSet("COCO 2017", "images", 5000),
    "coco-test-dev2017": PublishedDataSet("the COCO test-dev server", "images", 20288),
    "imagenet-val": PublishedDataSet("ImageNet", "images", 50000),
    # Videos disappear: no two copies have the same number.
    "kinetics-val": PublishedDataSet("Kinetics-400", "videos", None),
}

#: Cells per table; a file that holds another number of them has lost or gained some.
CELLS = {1: 44, 2: 224, 3: 147, 4: 40, 5: 20}

_PRINTED = re.compile(r"(?P<number>\d+(\.(?P<fraction>\d+))?)(?P<suffix>[A-Za-z%]*)")
_DASH = "-"  #: the paper prints a dash: no cell


@dataclass(frozen=True)
class Cell:
    """One published number. `value` is in `unit`; `decimals` is the printed precision."""

    table: int
    group: str
    row: str
    column: str
    printed: str
    value: float
    decimals: int
    unit: Unit

    @property
    def address(self) -> str:
        """The name of the cell in claims and on the command line: `2/a/+1 GC/ap_box`."""
        return f"{self.table}/{self.group}/{self.row}/{self.column}"

    def __str__(self) -> str:
        group = f"({self.group})" if len(self.group) == 1 else f" {self.group}" if self.group else ""
        return f"Table {self.table}{group}, {self.row}, {COLUMNS[self.column].heading}"


@dataclass(frozen=True)
class Row:
    """One row: the paper's label, the experiment that it names, and its cells in the order of the columns."""

    label: str
    experiment: str
    cells: tuple[Cell, ...]

    def cell(self, column: str) -> Cell | None:
        """The cell in `column`, or None where the paper prints a dash."""
        return next((cell for cell in self.cells if cell.column == column), None)

    def require(self, column: str) -> Cell:
        """The cell in `column`.

        Raises:
            ReproError: the paper prints a dash there, or the row has no such column.
        """
        cell = self.cell(column)
        if cell is None:
            raise ReproError(f"row {self.label!r} has no number in column {column!r}")
        return cell

    @property
    def is_baseline(self) -> bool:
        return self.label.endswith("baseline")


@dataclass(frozen=True)
class Group:
    """A part of a table under one heading, all of it measured on one data set."""

    name: str
    title: str
    dataset: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def baseline(self, row: Row) -> Row | None:
        """The baseline that `row` is compared with, the nearest one above it; None for a baseline itself."""
        above = self.rows[: self.rows.index(row)]
        return None if row.is_baseline else next((other for other in reversed(above) if other.is_baseline), None)


@dataclass(frozen=True)
class Table:
    number: int
    title: str
    groups: tuple[Group, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(row for group in self.groups for row in group.rows)

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(cell for row in self.rows for cell in row.cells)

    @property
    def experiments(self) -> tuple[str, ...]:
        """The distinct experiments of the rows, in order of appearance."""
        return tuple(dict.fromkeys(row.experiment for row in self.rows))


def load_all(directory: Path = PUBLISHED) -> tuple[Table, ...]:
    """All five tables, checked.

    Raises:
        ReproError: as `load`.
    """
    return tuple(load(number, directory) for number in CELLS)


@cache
def load(number: int, directory: Path = PUBLISHED) -> Table:
    """Table `number` of the paper, checked.

    Raises:
        ReproError: there is no such table, or its file is malformed; the message names file, row and column.
    """
    if number not in CELLS:
        raise ReproError(f"the paper has no Table {number}: it has Tables 1 to {max(CELLS)}")
    return _Reader(number, directory / f"table{number}.yaml").read_table()


class _Reader:
    """Turns one file into a `Table`; holds what the messages need."""

    def __init__(self, number: int, path: Path):
        self.number = number
        self.path = path

    def read_table(self) -> Table:
        content = load_yaml(self.path)
        number, title, groups = self.read_fields(content, "the file", table=int, title=str, groups=list)
        if number != self.number:
            self.fail(f"says that it is table {number}")
        table = Table(number, title, tuple(self.read_group(group) for group in groups))
        if len({group.name for group in table.groups}) != len(table.groups):
            self.fail("names a group twice")
        if len(table.cells) != CELLS[number]:
            self.fail(f"has {len(table.cells)} cells; Table {number} of the paper has {CELLS[number]}")
        return table

    def read_group(self, content: object) -> Group:
        name, title, dataset, columns, rows = self.read_fields(
            content, "a group", group=str, title=str, dataset=str, columns=list, rows=list
        )
        where = f"group {name!r}"
        if dataset not in DATASETS:
            self.fail(f"{where}: unknown dataset {dataset!r}; known: {', '.join(DATASETS)}")
        for column in columns:
            if not isinstance(column, str) or column not in COLUMNS:
                self.fail(f"{where}: unknown column {column!r}; known: {', '.join(COLUMNS)}")
            if columns.count(column) > 1:
                self.fail(f"{where}: column {column!r} stands twice")
        group = Group(name, title, dataset, tuple(columns), tuple(self.read_row(row, name, columns) for row in rows))
        labels = [row.label for row in group.rows]
        for label in labels:
            if labels.count(label) > 1:
                self.fail(f"{where}: row {label!r} stands twice")
        return group

    def read_row(self, content: object, group: str, columns: list[str]) -> Row:
        label, experiment, printed = self.read_fields(
            content, f"a row of group {group!r}", row=str, experiment=str, printed=dict
        )
        where = f"group {group!r}, row {label!r}"
        try:
            experiments.get(experiment)
        except ReproError as error:
            self.fail(f"{where}: {error}")
        for column in columns:
            if column not in printed:
                self.fail(f"{where}, column {column!r}: the cell is missing")
        for column in printed:
            if column not in columns:
                self.fail(f"{where}, column {column!r}: the group has no such column")
        cells = (
            self.read_cell(printed[column], group, label, column) for column in columns if printed[column] != _DASH
        )
        return Row(label, experiment, tuple(cells))

    def read_cell(self, printed: object, group: str, row: str, column: str) -> Cell:
        where = f"group {group!r}, row {row!r}, column {column!r}"
        if not isinstance(printed, str):
            self.fail(f"{where}: {printed!r} is not quoted, which loses its printed precision")
        match = _PRINTED.fullmatch(printed)
        if match is None:
            self.fail(f"{where}: {printed!r} is not a number")
        unit = COLUMNS[column].unit
        if match["suffix"] not in ("", unit):
            self.fail(f"{where}: {printed!r} is in {match['suffix']!r}, the column in {unit!r}")
        decimals = len(match["fraction"] or "")
        return Cell(self.number, group, row, column, printed, float(match["number"]), decimals, unit)

    def read_fields(self, content: object, where: str, **types: type) -> list[Any]:
        """The values of a mapping that must have exactly these keys with values of these types."""
        if not isinstance(content, dict):
            self.fail(f"{where} is not a mapping")
        if set(content) != set(types):
            self.fail(f"{where} has the keys {', '.join(map(str, content))}; expected: {', '.join(types)}")
        for key, kind in types.items():
            if not isinstance(content[key], kind):
                self.fail(f"{where}: {key} is {content[key]!r}, not of type {kind.__name__}")
        return [content[key] for key in types]

    def fail(self, what: str) -> NoReturn:
        raise ReproError(f"{self.path}: {what}")

"""Points of the protocol that nothing settles: `tables/readings.yaml`, checked against a schema, the rows and the code.

`repro.experiments.readings` has the code of every choice.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from repro import paper
from repro.errors import ReproError
from repro.experiments import readings
from repro.files.schema import FrozenModel, describe_violation
from repro.files.yaml_files import load_yaml
from repro.paper import COLUMNS, STATISTICS, Cell, Group, Row
from repro.paths import TABLES

Concern = Literal["accuracy", "attention", "counts"]


class ReadingSource(FrozenModel):
    """Where something about a choice is written, and what it says."""

    source: str = Field(min_length=1)
    says: str = Field(min_length=1)


class ReadingChoice(FrozenModel):
    """One reading of a point."""

    means: str = Field(min_length=1)
    evidence: tuple[ReadingSource, ...] = Field(min_length=1)


class KnownEffect(FrozenModel):
    """What is known of how much the choice moves, in words with its figure, and from where."""

    figure: str = Field(min_length=1)
    source: str = Field(min_length=1)


class ReadingPoint(FrozenModel):
    """A question that neither the paper nor its code answers, and the readings of it that can be run."""

    point: str
    question: str = Field(min_length=1)
    default: str
    why: str = Field(min_length=1)
    rows: tuple[str, ...] = Field(min_length=1)  #: TABLE/GROUP/ROW, TABLE/GROUP/* or TABLE/*
    concerns: tuple[Concern, ...] = Field(min_length=1)
    effect: KnownEffect | Literal["not known"]
    choices: dict[str, ReadingChoice] = Field(min_length=2)

    @model_validator(mode="after")
    def _check(self) -> ReadingPoint:
        if self.point not in readings.POINTS:
            raise ValueError(f"the code has no point {self.point!r}")
        if self.default != (known := readings.default_of(self.point)):
            raise ValueError(f"default is {self.default!r}, in the code {known!r}")
        if list(self.choices) != (coded := list(readings.POINTS[self.point])):
            raise ValueError(f"choices are {', '.join(self.choices)}; the code has {', '.join(coded)}")
        for pattern in self.rows:
            if not any(_matches(pattern, address) for address in list_rows()):
                raise ValueError(f"rows: the paper has no row {pattern!r}")
        return self

    def touches(self, cell: Cell) -> bool:
        """Whether the number of a cell can be another under another choice."""
        column = COLUMNS[cell.column]
        concern = "attention" if cell.column in STATISTICS else "accuracy" if column.measured else "counts"
        address = cell.address.rpartition("/")[0]
        return concern in self.concerns and any(_matches(pattern, address) for pattern in self.rows)


_POINTS = TypeAdapter(tuple[ReadingPoint, ...])


@cache
def list_rows() -> dict[str, tuple[Group, Row]]:
    """The rows of all tables by their addresses: `2/a/+1 GC`."""
    return {
        f"{table.number}/{group.name}/{row.label}": (group, row)
        for table in paper.load_all()
        for group in table.groups
        for row in group.rows
    }


def _matches(pattern: str, address: str) -> bool:
    return address.startswith(pattern[:-1]) if pattern.endswith("/*") else address == pattern


@cache
def load(path: Path = TABLES / "readings.yaml") -> tuple[ReadingPoint, ...]:
    """Every point.

    Raises:
        ReproError: the file is malformed, or says something else than the code or the tables have; the message names
            file and point.
    """
    content = load_yaml(path)
    try:
        points = _POINTS.validate_python(content)
    except ValidationError as error:
        where = error.errors(include_url=False)[0]["loc"]
        named = ""
        if where and isinstance(content, list) and isinstance(where[0], int) and isinstance(content[where[0]], dict):
            named = f" (point {content[where[0]].get('point')!r})"
        raise ReproError(f"{path}{named}: {describe_violation(error, 'the file')}") from None
    names = [point.point for point in points]
    if names != (coded := list(readings.POINTS)):
        raise ReproError(f"{path}: has the points {', '.join(names)}; the code has {', '.join(coded)}")
    return points


def list_touching(cells: tuple[Cell, ...]) -> tuple[ReadingPoint, ...]:
    """The points that touch at least one of the cells."""
    return tuple(point for point in load() if any(point.touches(cell) for cell in cells))

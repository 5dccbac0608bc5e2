"""Arithmetic and comparisons over published cells: a small closed set of operators, in exact interval arithmetic.

An expression stands in YAML as nested mappings of one operator each. A number is

    2/a/+all GC/ap_box          a cell: TABLE/GROUP/ROW/COLUMN
    0.5                         a constant
    difference: [a, b]          a - b
    ratio: [a, b]               a / b
    increase: [new, old]        new / old - 1, in %
    smallest: [a, ...]          and `largest`

and a statement is

    greater: [a, b]             a > b; `less` is a < b
    increasing: [a, b, ...]     a < b < ..., each above the one before it
    comparable: [a, b, base]    |a - b| < |b - base|: they differ by less than b gains
    all: [s, ...]               every statement; `mostly`: more than half; `at_least_two`

`*` as the column of the cells of one comparison stands for each headline metric of their group: AP box and AP mask, or
top-1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path

from repro import paper
from repro.paper.published import COLUMNS, Cell, Group

#: What a sentence that names no metric is about: the paper's own headline numbers.
HEADLINE = ("ap_box", "ap_mask", "top1")
EACH = "*"


@dataclass(frozen=True)
class Range:
    """A number that is known within bounds: every value from `low` to `high` is possible."""

    low: Fraction
    value: Fraction
    high: Fraction

    @classmethod
    def exactly(cls, value: Fraction) -> Range:
        return cls(value, value, value)

    def __sub__(self, other: Range) -> Range:
        return Range(self.low - other.high, self.value - other.value, self.high - other.low)

    def __truediv__(self, other: Range) -> Range:
        if other.low <= 0 <= other.high:
            raise ZeroDivisionError
        corners = [a / b for a in (self.low, self.high) for b in (other.low, other.high)]
        return Range(min(corners), self.value / other.value, max(corners))

    def __abs__(self) -> Range:
        nearest = Fraction(0) if self.low <= 0 <= self.high else min(abs(self.low), abs(self.high))
        return Range(nearest, abs(self.value), max(abs(self.low), abs(self.high)))


Reading = Callable[[Cell], Range]


@cache
def as_printed(cell: Cell) -> Range:
    """What a printed number stands for: a published 39.4 is anything from 39.35 to 39.45."""
    value, half = Fraction(str(cell.value)), Fraction(1, 2 * 10**cell.decimals)
    return Range(value - half, value, value + half)


@dataclass(frozen=True)
class Constant:
    value: Fraction

    def evaluate(self, reading: Reading) -> Range:
        return Range.exactly(self.value)

    def cells(self) -> Iterator[Cell]:
        yield from ()

    def text(self, shown: Callable[[Cell], str]) -> str:
        return f"{float(self.value):g}"


@dataclass(frozen=True)
class Quantity:
    """What one cell holds."""

    cell: Cell

    def evaluate(self, reading: Reading) -> Range:
        return reading(self.cell)

    def cells(self) -> Iterator[Cell]:
        yield self.cell

    def text(self, shown: Callable[[Cell], str]) -> str:
        return shown(self.cell)


@dataclass(frozen=True)
class Operation:
    """Numbers combined to a number."""

    operator: str
    numbers: tuple[Number, ...]

    def evaluate(self, reading: Reading) -> Range:
        """Bounds that no assignment of values within the cells' bounds can leave."""
        found = [number.evaluate(reading) for number in self.numbers]
        if self.operator == "difference":
            return found[0] - found[1]
        if self.operator == "ratio":
            return found[0] / found[1]
        if self.operator == "increase":
            ratio = found[0] / found[1]
            return Range(*(100 * (bound - 1) for bound in (ratio.low, ratio.value, ratio.high)))
        pick = min if self.operator == "smallest" else max
        return Range(*(pick(bounds) for bounds in zip(*((r.low, r.value, r.high) for r in found), strict=True)))

    def cells(self) -> Iterator[Cell]:
        for number in self.numbers:
            yield from number.cells()

    def text(self, shown: Callable[[Cell], str]) -> str:
        parts = [number.text(shown) for number in self.numbers]
        if self.operator in ("smallest", "largest"):
            return f"{self.operator} of {', '.join(parts)}"
        first, second = (
            f"({part})" if isinstance(number, Operation) else part
            for part, number in zip(parts, self.numbers, strict=True)
        )
        return {
            "difference": f"{first} - {second}",
            "ratio": f"{first} / {second}",
            "increase": f"{first} / {second} - 1",
        }[self.operator]


Number = Constant | Quantity | Operation


@dataclass(frozen=True)
class Truth:
    """`holds`: with the numbers as they stand; `possible`: with some values within their bounds."""

    holds: bool
    possible: bool


@dataclass(frozen=True)
class Comparison:
    """One comparison of numbers."""

    operator: str
    numbers: tuple[Number, ...]

    def evaluate(self, reading: Reading) -> Truth:
        found = [number.evaluate(reading) for number in self.numbers]
        if self.operator == "comparable":
            distance, gain = abs(found[0] - found[1]), abs(found[1] - found[2])
            found = [distance, gain]
        elif self.operator == "greater":
            found.reverse()
        pairs = [(a, b) for place, a in enumerate(found) for b in found[place + 1 :]]
        return Truth(all(a.value < b.value for a, b in pairs), all(a.low < b.high for a, b in pairs))

    def cells(self) -> Iterator[Cell]:
        for number in self.numbers:
            yield from number.cells()

    def comparisons(self) -> Iterator[Comparison]:
        yield self

    def text(self, shown: Callable[[Cell], str]) -> str:
        parts = [number.text(shown) for number in self.numbers]
        if self.operator == "comparable":
            return f"|{parts[0]} - {parts[1]}| < |{parts[1]} - {parts[2]}|"
        return (" > " if self.operator == "greater" else " < ").join(parts)


@dataclass(frozen=True)
class Combination:
    """Statements combined. `others`: the same comparison in the metrics that `*` leaves out, which decide nothing."""

    operator: str
    statements: tuple[Statement, ...]
    others: tuple[Comparison, ...] = ()

    def evaluate(self, reading: Reading) -> Truth:
        found = [statement.evaluate(reading) for statement in self.statements]
        needed = {"all": len(found), "mostly": len(found) // 2 + 1, "at_least_two": 2}[self.operator]
        return Truth(sum(truth.holds for truth in found) >= needed, sum(truth.possible for truth in found) >= needed)

    def cells(self) -> Iterator[Cell]:
        for statement in self.statements:
            yield from statement.cells()

    def comparisons(self) -> Iterator[Comparison]:
        for statement in self.statements:
            yield from statement.comparisons()

    def elsewhere(self) -> Iterator[Comparison]:
        """`others` of this and of all that it combines."""
        yield from self.others
        for statement in self.statements:
            if isinstance(statement, Combination):
                yield from statement.elsewhere()


Statement = Comparison | Combination
Expression = Number | Statement

#: Operator: the least and the most operands.
_NUMERIC = {"difference": (2, 2), "ratio": (2, 2), "increase": (2, 2), "smallest": (2, None), "largest": (2, None)}
_COMPARING = {"greater": (2, 2), "less": (2, 2), "increasing": (2, None), "comparable": (3, 3)}
_COMBINING = {"all": (1, None), "mostly": (3, None), "at_least_two": (2, None)}


@dataclass(frozen=True)
class Parser:
    """Reads expressions whose cells lie in `published`; `column` is what `*` stands for where it may stand."""

    published: Path
    column: str | None = None

    def expression(self, content: object) -> Expression:
        """
        Raises:
            ValueError: an unknown operator, a wrong number of operands, or an address of no cell, in words.
        """
        if isinstance(content, dict) and next(iter(content), None) in (*_COMPARING, *_COMBINING):
            return self.statement(content)
        return self.number(content)

    def number(self, content: object) -> Number:
        if isinstance(content, str):
            return Quantity(self.cell(content))
        if isinstance(content, int | float) and not isinstance(content, bool):
            return Constant(Fraction(str(content)))
        operator, operands = _operation(content, _NUMERIC, "an operator on numbers")
        return Operation(operator, tuple(map(self.number, operands)))

    def statement(self, content: object) -> Statement:
        operator, operands = _operation(content, _COMPARING | _COMBINING, "a statement")
        if operator in _COMBINING:
            return Combination(operator, tuple(map(self.statement, operands)))
        addresses = [address for address in _strings(operands) if address.endswith(f"/{EACH}")]
        if self.column or not addresses:
            return Comparison(operator, tuple(map(self.number, operands)))
        shared = [set(self.group(address).columns) for address in addresses]
        metrics = [c for c in COLUMNS if COLUMNS[c].unit == "%" and all(c in columns for columns in shared)]
        each = {metric: replace(self, column=metric).statement(content) for metric in metrics}
        headline = tuple(each[metric] for metric in metrics if metric in HEADLINE)
        if not headline:
            raise ValueError(f"no headline metric ({', '.join(HEADLINE)}) is printed for all of {', '.join(addresses)}")
        return Combination("all", headline, tuple(each[metric] for metric in metrics if metric not in HEADLINE))

    def cell(self, address: str) -> Cell:
        label, column = self._row(address)
        if column == EACH:
            if self.column is None:
                raise ValueError(f"{address!r}: {EACH!r} stands in comparisons only")
            column = self.column
        group = self.group(address)
        row = next((row for row in group.rows if row.label == label), None)
        if row is None:
            raise ValueError(f"{address!r}: no such row; known: {', '.join(row.label for row in group.rows)}")
        if column not in group.columns:
            raise ValueError(f"{address!r}: no such column; known: {', '.join(group.columns)}")
        cell = row.cell(column)
        if cell is None:
            raise ValueError(f"{address!r}: the paper prints a dash")
        return cell

    def group(self, address: str) -> Group:
        parts = address.split("/")
        if len(parts) < 4 or not parts[0].isdecimal() or int(parts[0]) not in paper.CELLS:
            raise ValueError(f"{address!r} is no address of a cell: TABLE/GROUP/ROW/COLUMN")
        groups = {group.name: group for group in paper.load(int(parts[0]), self.published).groups}
        if parts[1] not in groups:
            raise ValueError(f"{address!r}: no such group; known: {', '.join(map(repr, groups))}")
        return groups[parts[1]]

    @staticmethod
    def _row(address: str) -> tuple[str, str]:
        """(label, column). A label may hold a slash: "w/o ratio"."""
        label, _, column = "/".join(address.split("/")[2:]).rpartition("/")
        return label, column


def address(cell: Cell) -> str:
    """As an expression names it."""
    return f"{cell.table}/{cell.group}/{cell.row}/{cell.column}"


def _operation(content: object, known: dict[str, tuple[int, int | None]], what: str) -> tuple[str, list]:
    if not isinstance(content, dict) or len(content) != 1:
        raise ValueError(f"{content!r} is not {what}: one of {', '.join(known)} with a list")
    ((operator, operands),) = content.items()
    if operator not in known:
        raise ValueError(f"{operator!r} is not {what}; known: {', '.join(known)}")
    least, most = known[operator]
    if not isinstance(operands, list) or len(operands) < least or (most is not None and len(operands) > most):
        raise ValueError(f"{operator} takes {least if least == most else f'{least} or more'} operands, in a list")
    return operator, operands


def _strings(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for item in content:
            yield from _strings(item)
    elif isinstance(content, dict):
        for item in content.values():
            yield from _strings(item)

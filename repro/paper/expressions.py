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
        ranges = [number.evaluate(reading) for number in self.numbers]
        if self.operator == "difference":
            return ranges[0] - ranges[1]
        if self.operator == "ratio":
            return ranges[0] / ranges[1]
        if self.operator == "increase":
            ratio = ranges[0] / ranges[1]
            return Range(*(100 * (bound - 1) for bound in (ratio.low, ratio.value, ratio.high)))
        pick = min if self.operator == "smallest" else max
        return Range(*(pick(bounds) for bounds in zip(*((r.low, r.value, r.high) for r in ranges), strict=True)))

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
    """`holds`: with the numbers as they stand; `possible`, `certain`: with some, with all values within their bounds.

    Bounds that touch do not overlap: a number between two printed ones is rounded to one of them.
    """

    holds: bool
    possible: bool
    certain: bool


@dataclass(frozen=True)
class Inequality:
    """One comparison of numbers."""

    operator: str
    numbers: tuple[Number, ...]

    def evaluate(self, reading: Reading) -> Truth:
        ranges = [number.evaluate(reading) for number in self.numbers]
        if self.operator == "comparable":
            distance, gain = abs(ranges[0] - ranges[1]), abs(ranges[1] - ranges[2])
            ranges = [distance, gain]
        elif self.operator == "greater":
            ranges.reverse()
        pairs = [(a, b) for place, a in enumerate(ranges) for b in ranges[place + 1 :]]
        holds = all(a.value < b.value for a, b in pairs)
        certain = holds and all(a.high <= b.low for a, b in pairs)
        return Truth(holds, all(a.low < b.high for a, b in pairs), certain)

    @property
    def gaps(self) -> tuple[Operation, ...]:
        """What has to be positive: the differences of its numbers in order; of `comparable`, there is none."""
        if self.operator == "comparable":
            return ()
        ascending = self.numbers[::-1] if self.operator == "greater" else self.numbers
        return tuple(
            Operation("difference", (b, a)) for place, a in enumerate(ascending) for b in ascending[place + 1 :]
        )

    def cells(self) -> Iterator[Cell]:
        for number in self.numbers:
            yield from number.cells()

    def comparisons(self) -> Iterator[Inequality]:
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
    others: tuple[Inequality, ...] = ()

    def evaluate(self, reading: Reading) -> Truth:
        truths = [statement.evaluate(reading) for statement in self.statements]
        counts = [sum(getattr(truth, field) for truth in truths) for field in ("holds", "possible", "certain")]
        return Truth(*(count >= self.needed for count in counts))

    @property
    def needed(self) -> int:
        """How many of the statements have to be true."""
        return {"all": len(self.statements), "mostly": len(self.statements) // 2 + 1, "at_least_two": 2}[self.operator]

    def cells(self) -> Iterator[Cell]:
        for statement in self.statements:
            yield from statement.cells()

    def comparisons(self) -> Iterator[Inequality]:
        for statement in self.statements:
            yield from statement.comparisons()

    def elsewhere(self) -> Iterator[Inequality]:
        """`others` of this and of all that it combines."""
        yield from self.others
        for statement in self.statements:
            if isinstance(statement, Combination):
                yield from statement.elsewhere()


Statement = Inequality | Combination
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

    def parse(self, content: object) -> Expression:
        """Parse an expression as YAML gives it.

        Raises:
            ValueError: an unknown operator, a wrong number of operands, or an address of no cell, in words.
        """
        if isinstance(content, dict) and next(iter(content), None) in (*_COMPARING, *_COMBINING):
            return self._parse_statement(content)
        return self._parse_number(content)

    def _parse_number(self, content: object) -> Number:
        if isinstance(content, str):
            return Quantity(self.find_cell(content))
        if isinstance(content, int | float) and not isinstance(content, bool):
            return Constant(Fraction(str(content)))
        operator, operands = _parse_operation(content, _NUMERIC, "an operator on numbers")
        return Operation(operator, tuple(map(self._parse_number, operands)))

    def _parse_statement(self, content: object) -> Statement:
        operator, operands = _parse_operation(content, _COMPARING | _COMBINING, "a statement")
        if operator in _COMBINING:
            return Combination(operator, tuple(map(self._parse_statement, operands)))
        addresses = [address for address in _iterate_strings(operands) if address.endswith(f"/{EACH}")]
        if self.column or not addresses:
            return self._parse_inequality(operator, operands)
        shared = [set(self.find_group(address).columns) for address in addresses]
        metrics = [c for c in COLUMNS if COLUMNS[c].unit == "%" and all(c in columns for columns in shared)]
        each = {metric: replace(self, column=metric)._parse_inequality(operator, operands) for metric in metrics}
        headline = tuple(each[metric] for metric in metrics if metric in HEADLINE)
        if not headline:
            raise ValueError(f"no headline metric ({', '.join(HEADLINE)}) is printed for all of {', '.join(addresses)}")
        return Combination("all", headline, tuple(each[metric] for metric in metrics if metric not in HEADLINE))

    def _parse_inequality(self, operator: str, operands: list[object]) -> Inequality:
        return Inequality(operator, tuple(map(self._parse_number, operands)))

    def find_cell(self, address: str) -> Cell:
        """The cell at an address.

        Raises:
            ValueError: there is none; the message says what is known there.
        """
        label, column = self._split(address)
        if column == EACH:
            if self.column is None:
                raise ValueError(f"{address!r}: {EACH!r} stands in comparisons only")
            column = self.column
        group = self.find_group(address)
        row = next((row for row in group.rows if row.label == label), None)
        if row is None:
            raise ValueError(f"{address!r}: no such row; known: {', '.join(row.label for row in group.rows)}")
        if column not in group.columns:
            raise ValueError(f"{address!r}: no such column; known: {', '.join(group.columns)}")
        cell = row.cell(column)
        if cell is None:
            raise ValueError(f"{address!r}: the paper prints a dash")
        return cell

    def find_group(self, address: str) -> Group:
        """The group in which the cell at an address stands.

        Raises:
            ValueError: the address is malformed, or there is no such group.
        """
        parts = address.split("/")
        if len(parts) < 4 or not parts[0].isdecimal() or int(parts[0]) not in paper.CELLS:
            raise ValueError(f"{address!r} is no address of a cell: TABLE/GROUP/ROW/COLUMN")
        groups = {group.name: group for group in paper.load(int(parts[0]), self.published).groups}
        if parts[1] not in groups:
            raise ValueError(f"{address!r}: no such group; known: {', '.join(map(repr, groups))}")
        return groups[parts[1]]

    @staticmethod
    def _split(address: str) -> tuple[str, str]:
        """(label, column). A label may hold a slash: "w/o ratio"."""
        label, _, column = "/".join(address.split("/")[2:]).rpartition("/")
        return label, column


def _parse_operation(content: object, known: dict[str, tuple[int, int | None]], what: str) -> tuple[str, list[object]]:
    if not isinstance(content, dict) or len(content) != 1:
        raise ValueError(f"{content!r} is not {what}: one of {', '.join(known)} with a list")
    ((operator, operands),) = content.items()
    if operator not in known:
        raise ValueError(f"{operator!r} is not {what}; known: {', '.join(known)}")
    least, most = known[operator]
    if not isinstance(operands, list) or len(operands) < least or (most is not None and len(operands) > most):
        raise ValueError(f"{operator} takes {least if least == most else f'{least} or more'} operands, in a list")
    return operator, operands


def _iterate_strings(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for item in content:
            yield from _iterate_strings(item)
    elif isinstance(content, dict):
        for item in content.values():
            yield from _iterate_strings(item)

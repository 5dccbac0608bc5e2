"""Whether a count agrees with the print, and the ledger of the cells for which it does not. Imports no torch.

`docs/complexity.md` has the rules, and the evidence for the convention in which operations are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from repro import paper
from repro.errors import ReproError
from repro.files.schema import describe_violation
from repro.files.yaml_files import load_yaml
from repro.paper import Cell
from repro.paths import TABLES
from repro.records import Count

LEDGER = TABLES / "ledger.yaml"
#: What one printed M (of parameters) and one printed G (of operations) stand for.
SCALE = {"params": 10**6, "flops": 2**30}


class LedgerEntry(BaseModel):
    """One published cell that the count does not give, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    table: int = Field(ge=min(paper.CELLS), le=max(paper.CELLS))
    group: str
    row: str
    column: Literal["params", "flops"]
    printed: str
    ours: int = Field(gt=0, description="the exact count: parameters, or operations in the paper's convention")
    reason: str = Field(min_length=1)
    ruled_out: list[str] = Field(min_length=1, description="readings that were tried and do not give the print either")

    @property
    def address(self) -> tuple[int, str, str, str]:
        return self.table, self.group, self.row, self.column


@dataclass(frozen=True)
class Ledger:
    """The entries of one file, at most one for a cell."""

    path: Path
    entries: tuple[LedgerEntry, ...]

    def entry(self, cell: Cell) -> LedgerEntry | None:
        """The entry of `cell`, if it has one."""
        return next((entry for entry in self.entries if entry.address == _get_address(cell)), None)


@dataclass(frozen=True)
class CountVerdict:
    """How a count compares with its cell.

    `delta` is ours - published in the unit of the cell; `how` says in words what the verdict rests on.
    """

    verdict: Literal["match", "ledger", "off"]
    how: str
    delta: float
    entry: LedgerEntry | None = None


@cache
def load(path: Path = LEDGER) -> Ledger:
    """The ledger, checked against the published tables.

    Raises:
        ReproError: the file is malformed, or an entry names a cell that the paper does not have, or twice, or
            quotes it wrongly; the message names file and entry.
    """
    content = load_yaml(path)
    if not isinstance(content, list):
        raise ReproError(f"ledger {path} must be a list of entries")
    entries: list[LedgerEntry] = []
    for number, item in enumerate(content, 1):
        where = f"ledger {path}, entry {number}"
        if isinstance(item, dict):
            where += " (" + ", ".join(f"{key} {item.get(key)!r}" for key in ("table", "group", "row", "column")) + ")"
        try:
            entry = LedgerEntry.model_validate(item)
        except ValidationError as error:
            raise ReproError(f"{where}: {describe_violation(error, 'entry')}") from None
        cells = (cell for cell in paper.load(entry.table).cells if _get_address(cell) == entry.address)
        cell = next(cells, None)
        if cell is None:
            raise ReproError(f"{where}: the paper has no such cell")
        if cell.printed != entry.printed:
            raise ReproError(f"{where}: printed is {entry.printed!r}, but the paper prints {cell.printed!r}")
        if any(entry.address == other.address for other in entries):
            raise ReproError(f"{where}: the cell has an entry already")
        entries.append(entry)
    return Ledger(path, tuple(entries))


def judge_params(cell: Cell, count: Count, ledger: Ledger | None = None) -> CountVerdict:
    """Compare parameters with a cell of column `params`: a match if the print is the integer, rounded or truncated.

    A cell that does not match by rounding may have a ledger entry. One that matches by truncation stays a match.

    Args:
        ledger: `load()` unless given.

    Raises:
        ReproError: the cell's ledger entry is stale or not needed.
    """
    exact = Decimal(count.params) / SCALE["params"]
    printed, digit = _parse_printed(cell)
    rounded = exact.quantize(digit, ROUND_HALF_UP) == printed
    truncated = exact.quantize(digit, ROUND_DOWN) == printed
    how = "rounded" if rounded else "truncated" if truncated else None
    return _judge(cell, count.params, how, rounded, ledger)


def judge_flops(cell: Cell, count: Count, ledger: Ledger | None = None) -> CountVerdict:
    """Compare operations with a cell of column `flops`: a match within one printed digit, in the paper's convention.

    Args:
        ledger: `load()` unless given.

    Raises:
        ReproError: the cell's ledger entry is stale or not needed.
    """
    printed, digit = _parse_printed(cell)
    difference = abs(Fraction(count.paper_flops, SCALE["flops"]) - Fraction(printed))
    matches = difference <= Fraction(digit)
    return _judge(cell, count.paper_flops, f"within {digit} {cell.unit}" if matches else None, matches, ledger)


def _judge(cell: Cell, ours: int, how: str | None, settled: bool, ledger: Ledger | None) -> CountVerdict:
    """Decide a verdict.

    `how`: what a match rests on, None without one; `settled`: whether there is nothing for a ledger to explain.
    """
    ledger = load() if ledger is None else ledger
    entry = ledger.entry(cell)
    if entry is not None and entry.ours != ours:
        raise ReproError(
            f"ledger {ledger.path} is stale: {cell}: it says {entry.ours:,}, the count is {ours:,}. "
            "Find out which of the two is right and correct the entry or the network."
        )
    if entry is not None and settled:
        raise ReproError(f"ledger {ledger.path}: {cell} matches ({how}) and needs no entry: remove it")
    delta = float(Fraction(ours, SCALE[cell.column]) - Fraction(_parse_printed(cell)[0]))
    if how is not None:
        return CountVerdict("match", how, delta, entry)
    if entry is not None:
        return CountVerdict("ledger", entry.reason, delta, entry)
    return CountVerdict("off", f"{ours:,} is not {cell.printed} by any rule", delta)


def _parse_printed(cell: Cell) -> tuple[Decimal, Decimal]:
    """(the printed number, one unit of its last digit), exactly."""
    digit = Decimal(1).scaleb(-cell.decimals)
    return Decimal(cell.value).quantize(digit), digit


def _get_address(cell: Cell) -> tuple[int, str, str, str]:
    return cell.table, cell.group, cell.row, cell.column

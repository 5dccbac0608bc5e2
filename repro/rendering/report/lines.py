"""Lines of the page's tables: rows in which nothing was measured take one instead of two."""

from __future__ import annotations

from dataclasses import dataclass

from repro.paper import COLUMNS
from repro.rendering.grid import Grid, Text


@dataclass(frozen=True)
class PageCell:
    """A cell of the page: a text, and below it what was counted, where both stand in one line."""

    text: Text
    counted: Text | None = None


@dataclass(frozen=True)
class PageLine:
    """A line of a table of the page.

    `missing` are the notes that say why nothing of the row was measured: it is then the row's only line.
    """

    cells: tuple[PageCell, ...]
    missing: tuple[int, ...] = ()


def fold(grid: Grid) -> tuple[tuple[PageLine, ...], ...]:
    """Fold each block in which nothing was measured into the line of the paper's numbers; others stay as they are."""
    return tuple(_fold_block(block) for block in grid.blocks)


def _fold_block(block: tuple[tuple[Text, ...], ...]) -> tuple[PageLine, ...]:
    if len(block) != 2 or not _is_empty(block[1]):
        return tuple(PageLine(tuple(map(PageCell, line))) for line in block)
    printed, ours = block
    cells = [PageCell(printed[0])]
    for theirs, mine in zip(printed[1:], ours[1:], strict=True):
        is_counted = mine.about is not None and mine.about.ours is not None
        cells.append(PageCell(theirs, mine) if is_counted else PageCell(theirs))
    missing = (note for text in ours if text.about and text.about.ours is None for note in text.notes)
    return (PageLine(tuple(cells), tuple(dict.fromkeys(missing))),)


def _is_empty(line: tuple[Text, ...]) -> bool:
    """Whether a line is of a row of the paper and has no measured number."""
    about = [text.about for text in line if text.about]
    return bool(about) and not any(one.ours is not None and COLUMNS[one.cell.column].measured for one in about)

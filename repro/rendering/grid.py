"""What the formats draw: a grid of texts with marks and notes, and how numbers are written in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from repro.statistics.seeds import compute_deviation
from repro.verification.verdicts import CellVerdict

NOT_RUN = "—"


@dataclass(frozen=True)
class Text:
    """The content of one grid cell: text, the verdict it is marked with, the notes it points to.

    `delta` stands behind the text in parentheses where a format shows deltas; `about` is what the verdict rests on.
    """

    text: str
    delta: str = ""
    mark: str = ""
    notes: tuple[int, ...] = ()
    bold: bool = False
    about: CellVerdict | None = None


@dataclass(frozen=True)
class Grid:
    """A table to draw: first column to the left, the others to the right. `blocks` are lines that belong together."""

    header: tuple[str, ...]
    blocks: tuple[tuple[tuple[Text, ...], ...], ...]


@dataclass
class Notes:
    """Numbers notes in the order in which the table first points to them."""

    texts: list[str] = field(default_factory=list)

    def number(self, *texts: str) -> tuple[int, ...]:
        """Number each text that is not empty; the same text again gets the same number."""
        for text in texts:
            if text and text not in self.texts:
                self.texts.append(text)
        return tuple(self.texts.index(text) + 1 for text in texts if text)


def write_signed(value: float, decimals: int) -> str:
    """Write a number with its sign; zero has none."""
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text


def write_p(p: float) -> str:
    """Write a p-value with two digits, at most four decimals.

    >>> write_p(0.04584), write_p(0.0000123), write_p(1.0)
    ('0.046', '1.2e-05', '1')
    """
    return f"{p:.2g}"


def write_mean(values: Sequence[float]) -> str:
    """Write the mean over seeds with one decimal and, of several, their standard deviation; a dash for none."""
    if not values:
        return NOT_RUN
    spread = compute_deviation(values)
    return f"{fmean(values):.1f}" + ("" if spread is None else f" ± {spread:.1f}")

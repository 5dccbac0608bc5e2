"""The one table that verbs print: columns to the left, two spaces between them, as wide as their longest text."""

from __future__ import annotations

from collections.abc import Sequence


def align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table; `rows` are of the same length, the header among them.

    >>> print("\\n".join(align_columns([("row", "ours"), ("baseline", "37.2")])))
    row       ours
    baseline  37.2
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]

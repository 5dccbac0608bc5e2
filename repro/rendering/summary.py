"""Verdicts as a summary in GitHub's Markdown, for the page of a continuous-integration job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from repro.paper import COLUMNS
from repro.paper.expressions import address
from repro.paths import unwritable
from repro.verification.verdicts import CellVerdict, Verified

VERDICTS = ("match", "ledger", "off", "inconclusive", "not run")


def markdown(verified: Verified) -> str:
    """Coverage of each table, what is off or inconclusive and why, and how to look further."""
    cells = verified.cells
    off, unclear = ([cell for cell in cells if cell.verdict == which] for which in ("off", "inconclusive"))
    judged = sum(cell.verdict != "not run" for cell in cells)
    if not verified.passed:
        parts = [_many(len(off), "cell") + " off", _many(len(verified.findings), "problem") + " with records"]
        edited = sum(cell.loosened for cell in cells)
        parts += [f"{_many(edited, 'tolerance')} edited after the measurement"] if edited else []
        head = f"✗ {', '.join(parts)}"
    elif judged:
        head = "✓ no cell is off"
    else:
        head = "– nothing was measured"
    lines = [f"## Verification against the paper: {head}", ""]
    lines += _grid(("table", "cells", *VERDICTS), _coverage(verified))
    if verified.findings:
        lines += ["", "### Records that are not what they say", ""]
        lines += [f"- `{finding.file}`: {_text(finding.text)}" for finding in verified.findings]
    if off:
        lines += ["", "### Off", "", *_cells(off)]
    if unclear:
        lines += ["", "### Inconclusive", "", *_cells(unclear)]
    reasons = Counter((cell.cell.table, cell.reason) for cell in cells if cell.verdict == "not run")
    if reasons:
        lines += ["", "### Not run", ""]
        lines += [f"- Table {table}, {_many(n, 'cell')}: {_text(reason)}" for (table, reason), n in reasons.items()]
    if verified.unused:
        lines += ["", "### Records that no number comes from", ""]
        lines += [f"- `{unused.filename}`: {_text(unused.reason)}" for unused in verified.unused]
    lines += ["", _further(off or unclear)]
    return "\n".join(lines) + "\n"


def append(verified: Verified, path: Path) -> None:
    """Add the summary to a file, which other steps of the job may have begun.

    Raises:
        ReproError: it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(markdown(verified))
    except OSError as error:
        raise unwritable(path, error) from error


def _coverage(verified: Verified) -> Iterable[tuple[str, ...]]:
    for verification in verified.verifications:
        number = Counter(cell.verdict for cell in verification.cells)
        cells = str(len(verification.cells))
        yield (f"Table {verification.table.number}", cells, *(str(number[verdict]) for verdict in VERDICTS))


def _cells(cells: Sequence[CellVerdict]) -> list[str]:
    head = ("cell", "published", "ours", "Δ", "±", "why")
    return _grid(
        head,
        (
            (
                _text(f"Table {cell.cell.table} {_where(cell)}"),
                cell.cell.printed,
                _text(cell.shown),
                f"{cell.delta:+g}",
                "" if cell.tolerance is None else f"{cell.tolerance:.{cell.cell.decimals + 1}f}",
                _text(cell.reason),
            )
            for cell in cells
        ),
    )


def _where(verdict: CellVerdict) -> str:
    cell = verdict.cell
    return f"{f'({cell.group}) ' if cell.group else ''}{cell.row}, {COLUMNS[cell.column].heading}"


def _further(cells: Sequence[CellVerdict]) -> str:
    example = address(cells[0].cell) if cells else "2/a/baseline/ap_box"
    return f"Everything about one cell: `repro explain '{example}'`. What is there and what comes next: `repro status`."


def _grid(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    return [_line(head), _line("---" for _ in head), *map(_line, lines)]


def _line(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _text(text: str) -> str:
    """Records are quoted: nothing of them may end a cell or start markup."""
    flat = "".join(c if c.isprintable() else " " for c in text)
    for mark in "\\|<>*_`[]":
        flat = flat.replace(mark, f"\\{mark}")
    return flat


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"

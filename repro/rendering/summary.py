"""Verdicts as a summary in GitHub's Markdown, for the page of a continuous-integration job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from repro.files.outputs import append_output
from repro.paper import COLUMNS
from repro.rendering.escaping import code_md, escape_md
from repro.rendering.tables import join_markdown_row
from repro.verification.coverage import Coverage
from repro.verification.demands import Conclusion
from repro.verification.verdicts import VERDICTS, CellVerdict, Verified


def write_summary(conclusion: Conclusion) -> str:
    """Write the coverage of each table, what fails or is inconclusive and why, and how to look further."""
    verified, coverage = conclusion.verified, conclusion.coverage
    cells = verified.cells
    off, alike, unclear = (
        [cell for cell in cells if cell.verdict == which] for which in ("off", "indistinct", "inconclusive")
    )
    conflicts = [cell for cell in cells if cell.verdict == "conflict"]
    mark = "✗" if not conclusion.passed else "✓" if coverage.measured.here else "–"
    head = f"## Verification against the paper: {mark} {escape_md(conclusion.headline)}"
    lines = [head, "", f"{escape_md(coverage.describe())}.", ""]
    lines += _write_grid(("table", "cells", *VERDICTS), _count_by_table(verified))
    if verified.problems:
        lines += ["", "### Records that are not what they say", ""]
        lines += [f"- {code_md(problem.file)}: {escape_md(problem.text)}" for problem in verified.problems]
    if off:
        lines += ["", "### Off", "", *_list_cells(off)]
    if conflicts:
        lines += ["", "### In conflict between ways of measuring", "", *_list_cells(conflicts)]
    if alike:
        lines += ["", "### Indistinct: within tolerance of the print, and of no effect", "", *_list_cells(alike)]
    if unclear:
        lines += ["", "### Inconclusive", "", *_list_cells(unclear)]
    reasons = Counter((cell.cell.table, cell.reason) for cell in cells if cell.verdict == "not run")
    if reasons:
        lines += ["", "### Not run", ""]
        lines += [
            f"- Table {table}, {_count(n, 'cell')}: {escape_md(reason)}" for (table, reason), n in reasons.items()
        ]
    if verified.unused:
        lines += ["", "### Records that no number comes from", ""]
        lines += [f"- {code_md(unused.filename)}: {escape_md(unused.reason)}" for unused in verified.unused]
    lines += ["", _say_how_to_go_on(off or unclear)]
    return "\n".join(lines) + "\n"


def append(conclusion: Conclusion, path: Path) -> None:
    """Add the summary to a file, which other steps of the job may have begun.

    Raises:
        ReproError: it cannot be written.
    """
    append_output(path, write_summary(conclusion))


def _count_by_table(verified: Verified) -> Iterable[tuple[str, ...]]:
    for verification in verified.verifications:
        coverage = Coverage.count(verification.cells)
        numbers = (str(coverage[verdict]) for verdict in VERDICTS)
        yield (f"Table {verification.table.number}", str(coverage.total), *numbers)


def _list_cells(cells: Sequence[CellVerdict]) -> list[str]:
    head = ("cell", "published", "ours", "Δ", "±", "why")
    return _write_grid(
        head,
        (
            (
                escape_md(f"Table {cell.cell.table} {_write_place(cell)}"),
                cell.cell.printed,
                escape_md(cell.shown),
                "" if cell.delta is None else f"{cell.delta:+g}",
                "" if cell.tolerance is None else f"{cell.tolerance:.{cell.cell.decimals + 1}f}",
                escape_md(cell.reason),
            )
            for cell in cells
        ),
    )


def _write_place(verdict: CellVerdict) -> str:
    cell = verdict.cell
    return f"{f'({cell.group}) ' if cell.group else ''}{cell.row}, {COLUMNS[cell.column].heading}"


def _say_how_to_go_on(cells: Sequence[CellVerdict]) -> str:
    example = cells[0].cell.address if cells else "2/a/baseline/ap_box"
    return f"Everything about one cell: `repro explain '{example}'`. What is there and what comes next: `repro status`."


def _write_grid(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    return [join_markdown_row(head), join_markdown_row("---" for _ in head), *map(join_markdown_row, lines)]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"

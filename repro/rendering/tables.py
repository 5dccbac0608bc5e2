"""One view of a reproduced table as Markdown, LaTeX and CSV. Same records, same bytes: nothing here reads the clock."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal, get_args

from repro.files.outputs import write_output
from repro.paper import COLUMNS, STATISTICS, Table
from repro.paths import TEMPLATES
from repro.records import Store
from repro.rendering import view
from repro.rendering.escaping import escape_md, escape_tex, flatten_lines, write_rows
from repro.rendering.grid import NOT_RUN, Grid, Text
from repro.rendering.own_rows import list_own_numbers
from repro.rendering.view import TableView
from repro.statistics.seeds import compute_deviation
from repro.verification.other_readings import NO_VERDICT

Format = Literal["md", "tex", "csv"]

#: How a verdict is marked beside a delta, per format.
MARKS = {
    "md": {
        "compatible": "≈",
        "indistinct": "∼",
        "match": "✓",
        "off": "✗",
        "conflict": "⇄",
        "inconclusive": "?",
        "ledger": "§",
    },
    "tex": {
        "compatible": r"$\approx$",
        "indistinct": r"$\sim$",
        "match": r"$\surd$",
        "off": r"$\times$",
        "conflict": r"$\leftrightarrow$",
        "inconclusive": "?",
        "ledger": r"\S",
    },
}


def render(table: Table, store: Store, form: Format, deltas: bool = True) -> str:
    """Render `table` with what `store` holds. LaTeX can do without the deltas.

    Raises:
        ReproError: a record, the ledger or the tolerances are damaged; the file is named.
    """
    return _render_view(view.build(table, store), form, deltas)


def write_renderings(table: Table, store: Store, directory: Path) -> list[Path]:
    """Write `table{N}.md`, `.tex` and `.csv` into `directory` and return their paths.

    Raises:
        ReproError: as `render`, or the directory cannot be written.
    """
    built = view.build(table, store)
    paths = []
    for form in get_args(Format):
        path = directory / f"table{table.number}.{form}"
        write_output(path, _render_view(built, form))
        paths.append(path)
    return paths


def _render_view(built: TableView, form: Format, deltas: bool = True) -> str:
    if form == "csv":
        return write_csv(built)
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # neither format is HTML: `tex` and `md` escape
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        md=escape_md,
        md_grid=write_markdown_grid,
        tex=escape_tex,
        tex_grid=write_latex_grid,
        line=flatten_lines,
        label=write_label,
        is_wide=is_wide,
    )
    template = environment.get_template(f"table.{form}.j2")
    return template.render(view=built, marks=MARKS[form], not_run=NOT_RUN, deltas=deltas)


# -- Markdown ---------------------------------------------------------------------------------------------------------

_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def write_markdown_grid(grid: Grid) -> str:
    """Write a Markdown table whose columns line up in a terminal too."""
    lines = [[escape_md(text) for text in grid.header]]
    lines += [[_write_markdown(text) for text in line] for block in grid.blocks for line in block]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    head, *body = ([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines)
    return "\n".join(join_markdown_row(line) for line in (head, rule, *body))


def join_markdown_row(cells: Iterable[str]) -> str:
    """Join the cells of one line of a Markdown table, escaped already."""
    return f"| {' | '.join(cells)} |"


def _write_markdown(text: Text) -> str:
    shown = escape_md(text.text)
    if text.bold:
        shown = f"**{shown}**"
    if text.delta:
        shown += f" ({text.delta})"
    if text.mark:
        shown += f" {MARKS['md'][text.mark]}"
    return shown + " ".join(str(number).translate(_SUPERSCRIPT) for number in text.notes)


# -- LaTeX ------------------------------------------------------------------------------------------------------------

_MARKUP = re.compile(r"\\[a-z]+|[\\${}]")
_NUMBER = re.compile(r"(?P<number>[+-]?\d+(\.\d+)?)(?P<behind>[MG%]?( ?[±/] ?.*| s)?)")


def write_latex_grid(grid: Grid, deltas: bool = True) -> str:
    """Write a booktabs tabular, its numbers aligned by siunitx. Blocks are set apart by a little space."""
    first, *columns = zip(*(line for block in grid.blocks for line in block), strict=True)
    aligned = [_align_column(column, deltas) for column in columns]
    lines = [r"\begin{tabular}{l" + "".join(spec for spec, _ in aligned) + "}", r"\toprule"]
    heads = [f"{{{escape_tex(head)}}}" for head in grid.header[1:]]  # braces: no number, for siunitx
    lines += [_join_row([escape_tex(grid.header[0]), *heads]), r"\midrule"]
    cells = zip((_write_latex(text) for text in first), *(cells for _, cells in aligned), strict=True)
    for number, block in enumerate(grid.blocks):
        if number:
            lines.append(r"\addlinespace")
        lines += [_join_row(next(cells)) for _ in block]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


#: Points in 8-point type of a character, about, and of the space between columns; and of the text of a page, at most.
_CHARACTER_WIDTH, _COLUMN_GAP, _TEXT_WIDTH = 4.1, 8.0, 540.0


def is_wide(grid: Grid) -> bool:
    """Whether a table would have to shrink to fit an upright page, and is turned to be legible."""
    lines = [grid.header, *([text.text + text.delta for text in line] for block in grid.blocks for line in block)]
    widths = (max(map(len, column)) for column in zip(*lines, strict=True))
    return sum(_CHARACTER_WIDTH * width + _COLUMN_GAP for width in widths) > _TEXT_WIDTH


def write_label(title: str) -> str:
    """Write the end of a label from a title: that of its group where it has one, as in `(a) Block design`.

    >>> write_label("(a) Block design"), write_label("mini torchvision, bf16"), write_label("")
    ('-a', '-mini-torchvision-bf16', '')
    """
    group = re.match(r"\((\w)\)", title)
    words = re.findall(r"[a-z0-9]+", (group[1] if group else title).lower())
    return "".join(f"-{word}" for word in words)


def _align_column(texts: Sequence[Text], deltas: bool) -> tuple[str, list[str]]:
    """Align a column: (type, cells), aligned at the decimal marker if it has numbers and what has none are dashes."""
    matches = [(_NUMBER.fullmatch(text.text), text) for text in texts]
    others = [text.text for match, text in matches if match is None]
    if len(others) == len(matches) or any(character.isalnum() for text in others for character in text):
        return "r", [_write_latex(text) + _write_behind(text, deltas) for text in texts]
    cells, behind, widths = [], [], [(0, 0)]
    for match, text in matches:
        if match is None:
            cells.append(f"{{{_write_latex(text)}{_write_behind(text, deltas)}}}")
            continue
        after = _set_signs(escape_tex(match["behind"])) + _write_behind(text, deltas)
        cells.append(match["number"] + (f" {{{after}}}" if after else ""))
        behind.append(after)
        whole, _, fraction = match["number"].lstrip("+-").partition(".")
        widths.append((len(whole), len(fraction)))
    signed = any(match and match["number"][0] in "+-" for match, _ in matches)
    options = "retain-explicit-plus,table-format=+" if signed else "table-format="
    options += ".".join(str(max(digits)) for digits in zip(*widths, strict=True))
    if longest := max(behind, key=lambda after: len(_MARKUP.sub("", after))):
        options += f",table-space-text-post={{{longest}}}"
    return f"S[{options}]", cells


def _join_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _set_signs(escaped: str) -> str:
    return re.sub(r"(?<!\w)([+-])(?=\d)", r"$\1$", escaped)  # a sign, not the hyphen of a name


def _write_latex(text: Text) -> str:
    shown = _set_signs(escape_tex(text.text))
    return rf"\textbf{{{shown}}}" if text.bold else shown


def _write_behind(text: Text, deltas: bool) -> str:
    """Write what stands behind the text of a cell: its delta, the mark of its verdict, its notes."""
    shown = f" ({_set_signs(text.delta)})" if text.delta and deltas else ""
    if text.mark:
        shown += f" {MARKS['tex'][text.mark]}"
    if text.notes:
        shown += rf"\textsuperscript{{{','.join(map(str, text.notes))}}}"
    return shown


# -- CSV --------------------------------------------------------------------------------------------------------------

_FIELDS: tuple[str, ...] = (
    "table", "group", "row", "column", "unit", "profile", "published", "ours", "spread", "n", "delta", "tolerance",
    "tolerance_name", "verdict", "reason", "source", "engine", "experiment", "records", "reading",
)  # fmt: skip


def write_csv(built: TableView) -> str:
    """Write a line for every cell, in full precision, then one for every metric of other readings, of the mini profile
    and of rows of the user's own."""
    lines: list[dict[str, object]] = []
    for verdict in (one for summary in built.verification.cells for one in summary.each):
        cell = verdict.cell
        lines.append(
            {
                "table": cell.table, "group": cell.group, "row": cell.row, "column": cell.column, "unit": cell.unit,
                "profile": "full", "published": cell.printed, "ours": verdict.ours, "spread": verdict.spread,
                "n": verdict.n, "delta": verdict.delta, "tolerance": verdict.tolerance,
                "tolerance_name": verdict.applied, "verdict": verdict.verdict,
                "reason": verdict.reason or verdict.note, "source": verdict.source, "engine": verdict.engine,
                "experiment": verdict.experiment, "records": " ".join(verdict.records),
            }
        )  # fmt: skip
    for row in built.readings:
        for value in row.values:
            cell, first = value.cell, row.measurement.first
            lines.append(
                {
                    "table": cell.table, "group": cell.group, "row": cell.row, "column": cell.column,
                    "unit": cell.unit, "profile": "full", "published": cell.printed, "ours": value.ours,
                    "spread": value.spread, "n": value.n, "delta": value.delta, "verdict": "not compared",
                    "reason": value.shortfall or NO_VERDICT, "source": first.answered_by, "engine": first.engine,
                    "experiment": row.experiment.name,
                    "records": " ".join(record.filename for record in row.measurement.records),
                    "reading": row.name,
                }
            )  # fmt: skip
    small = [("", measurement) for measurement in built.mini_measurements]
    others = list(built.mini_reading_measurements)
    if any(mini.statistics for mini in built.mini):
        small += [("", m.select_for(STATISTICS[0])) for _, m in small if m.statistics]
    if STATISTICS[0] in {cell.column for cell in built.verification.table.cells}:
        others += [(reading, m.select_for(STATISTICS[0])) for reading, m in others if m.statistics]
    for reading, measurement in small + others:
        first = measurement.first
        for metric in first.metrics:
            values = list(measurement.values_by_seed(metric.name).values())
            lines.append(
                {
                    "table": built.number, "column": metric.name, "unit": COLUMNS[metric.name].unit, "profile": "mini",
                    "ours": fmean(values), "spread": compute_deviation(values), "n": len(values),
                    "verdict": "not compared", "reason": "the mini profile is not comparable with the paper",
                    "source": first.source,
                    "engine": first.engine, "experiment": measurement.experiment,
                    "records": " ".join(record.filename for record in measurement.records), "reading": reading,
                }
            )  # fmt: skip
    lines += list_own_numbers(built.number, built.own, built.own_mini)
    return write_rows(_FIELDS, lines)

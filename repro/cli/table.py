"""`repro table`: one table of the paper beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repro.cli import completion, options


def command(
    number: Annotated[
        int,
        typer.Argument(
            metavar="N", min=1, max=5, help="Table of the paper.", autocompletion=completion.complete_tables
        ),
    ],
    form: Annotated[
        str,
        typer.Option("--format", help="md, tex or csv.", autocompletion=completion.complete_words("md", "tex", "csv")),
    ] = "md",
    results: options.Results = options.RESULTS,
    output: Annotated[
        Path | None, typer.Option("--output", help="Write to this file instead of stdout; - is stdout.")
    ] = None,
    own: options.With = None,
    deltas: Annotated[bool, typer.Option("--deltas/--no-deltas", help="Show deltas behind our numbers (tex).")] = True,
) -> None:
    """Print a table of the paper with our numbers, deltas and verdicts.

    Examples:

      repro table 2 --format tex --output table2.tex

      repro table 2 --with mine.py
    """
    from repro import paper
    from repro.errors import ReproError
    from repro.files.outputs import write_output
    from repro.records import open_results
    from repro.rendering.tables import Format, render

    formats: tuple[Format, ...] = ("md", "tex", "csv")
    options.load_own(own)
    checked = options.one_of("--format", form, formats)
    if not deltas and form != "tex":
        raise ReproError("--no-deltas is for --format tex; the other formats always show them")
    text = render(paper.load(number), open_results(results), checked, deltas)
    if output is None:
        print(text, end="")
    else:
        write_output(output, text)

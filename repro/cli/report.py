"""`repro report`: all results as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repro.cli import options


def command(
    results: options.Results = options.RESULTS,
    own: options.With = None,
    output: Annotated[Path, typer.Option("--output", help="Write to this file; - is stdout.")] = Path("report.html"),
) -> None:
    """Write coverage, tables, plots, effects, claims, ledger and provenance as one HTML page.

    Example: repro report --output report.html
    """
    from repro.files.outputs import write_output
    from repro.rendering.report import render

    options.load_own(own)
    write_output(output, render(results).encode())
    options.say_beside(output)(str(output))

"""`repro report`: all results as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repro.cli import options


def command(
    results: options.Results = options.RESULTS,
    output: Annotated[Path, typer.Option("--output", help="Write to this file.")] = Path("report.html"),
) -> None:
    """Write coverage, tables, plots, effects, claims, ledger and provenance as one HTML page.

    Example: repro report --results tables/reference --output report.html
    """
    from repro.paths import write_atomically
    from repro.rendering.report import render

    write_atomically(output, render(results).encode())
    print(output)

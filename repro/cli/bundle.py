"""`repro bundle`: an archive for an artifact review."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repro.cli import options
from repro.cli.streams import print_line


def command(
    results: options.Results = options.RESULTS,
    output: Annotated[Path, typer.Option("--output", help="Write to this file; - is stdout.")] = Path("bundle.zip"),
    check: Annotated[
        Path | None,
        typer.Option(
            "--verify", metavar="FILE", help="Check this bundle instead; exits with 1 and names what differs."
        ),
    ] = None,
) -> None:
    """Pack records, tables, the report and all inputs into one archive, without weights and predictions.

    Examples:

      repro bundle --output bundle.zip

      repro bundle --verify bundle.zip
    """
    from repro.rendering import bundle

    if check is None:
        number = bundle.write(results, output)
        options.say_beside(output)(f"{output}: {number} files")
        return
    wrong = bundle.verify(check)
    for line in wrong:
        print_line(line)
    if wrong:
        raise typer.Exit(1)
    print_line(f"{check}: whole, and its tables and report follow from its records")

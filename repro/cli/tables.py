"""`repro tables`: the committed tables, rendered again or checked."""

from __future__ import annotations

from typing import Annotated

import typer

from repro.cli.streams import print_line


def command(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 and name every file that differs.")
    ] = False,
) -> None:
    """Render all five tables from the committed records into tables/generated, or check those there.

    Example: repro tables --check
    """
    from repro.rendering import committed_tables

    if not check:
        for path in committed_tables.write():
            print_line(str(path))
        return
    differences = committed_tables.find_differences()
    for difference in differences:
        print_line(difference)
    if differences:
        print("render them again: repro tables")
        raise typer.Exit(1)
    print(f"every file in {committed_tables.GENERATED} is a rendering of the records in {committed_tables.REFERENCE}")

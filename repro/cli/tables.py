"""`repro tables`: the committed tables, rendered again or checked."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 names every file that is not such a rendering.")
    ] = False,
) -> None:
    """Render all five tables from the committed records into tables/generated, or prove that they are there.

    Example: repro tables --check
    """
    from repro.rendering import committed_tables

    if not check:
        for path in committed_tables.write():
            print(path)
        return
    differences = committed_tables.find_differences()
    for difference in differences:
        print(difference)
    if differences:
        print("render them again: repro tables")
        raise typer.Exit(1)
    print(f"every file in {committed_tables.GENERATED} is a rendering of the records in {committed_tables.REFERENCE}")

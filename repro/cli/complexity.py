"""`repro complexity`: parameters and operations of the full-size networks."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from repro.cli import options


def command(
    table: options.AnyTable = None,
    json: options.Json = False,
    form: Annotated[str, typer.Option("--format", help="md, csv or tex.")] = "md",
    results: options.Results = options.RESULTS,
) -> None:
    """Count parameters and operations of the full-size networks beside the published cells; exit 1 if one is off.

    Counts are kept with the records and made once. No data, weights or GPU are needed.

    Example: repro complexity --table 2 --json
    """
    options.one_of("--format", form, ("md", "csv", "tex"))
    from repro import complexity, paper
    from repro.complexity import report
    from repro.errors import ReproError
    from repro.experiments import get
    from repro.records import Store

    counted = report.tables()
    if table is not None and table not in counted:
        raise ReproError(f"Table {table} prints neither parameters nor FLOPs; Tables {', '.join(map(str, counted))} do")
    numbers = counted if table is None else [table]
    experiments = dict.fromkeys(get(name) for number in numbers for name in paper.load(number).experiments)
    counts = complexity.counts((e for e in experiments if not complexity.unsupported(e)), Store(results / "records"))
    rows = report.rows(numbers, counts)
    print(report.text(rows, "json" if json else form), end="")
    if cells := report.off(rows):
        print("off: " + "; ".join(map(str, cells)), file=sys.stderr)
        raise typer.Exit(1)

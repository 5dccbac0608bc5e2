"""`repro verify`: compares what was measured with what was published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import options

if TYPE_CHECKING:
    from repro.verification.verdicts import Verified


def command(
    table: options.AnyTable = None,
    results: options.Results = options.RESULTS,
    json: options.Json = False,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write a JUnit report with a case for every cell.")
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option("--summary", metavar="FILE", help="Append a summary in Markdown: $GITHUB_STEP_SUMMARY in a job."),
    ] = None,
) -> None:
    """Compare every measured cell with the paper.

    Exits with 1 if a cell is off, ways of measuring are in conflict, a tolerance was loosened after the measurement, or
    a record is not what it says, and names them. Missing data never counts as a pass.

    Examples:

      repro verify --table 2

      repro verify --junit verify.xml --summary "$GITHUB_STEP_SUMMARY"
    """
    from repro import paper
    from repro.records import open_results
    from repro.verification.judgement import verify_all

    chosen = paper.load_all() if table is None else (paper.load(table),)
    verified = verify_all(chosen, open_results(results))
    if junit is not None:
        from datetime import datetime, timezone

        from repro.paths import write_atomically
        from repro.rendering.junit import write_report

        write_atomically(junit, write_report(verified, datetime.now(timezone.utc)))
    if summary is not None:
        from repro.rendering.summary import append

        append(verified, summary)
    if json:
        _print_json(verified)
    else:
        _print(verified)
    if not verified.passed:
        raise typer.Exit(1)


def _print(verified: Verified) -> None:
    from repro.verification.coverage import Coverage
    from repro.verification.other_readings import list_reading_rows

    records = list(verified.files.values())
    for verification in verified.verifications:
        print(f"Table {verification.table.number}: {Coverage.count(verification.cells).describe()}")
        for verdict in verification.cells:
            if (
                verdict.verdict in ("off", "conflict", "ledger", "indistinct", "inconclusive")
                or (verdict.ways and verdict.ours is not None)
                or verdict.note.startswith("its tolerance")
            ):
                print(f"  {verdict}")
    for problem in verified.problems:
        print(f"wrong: {problem}")
    for foreign in verified.foreign:
        print(f"foreign: {foreign}")
    for unused in verified.unused:
        print(f"unused record {unused.filename}: {unused.reason}")
    for row in (row for v in verified.verifications for row in list_reading_rows(v.table, records, verified.problems)):
        print(f"no verdict: {row}")
    if verified.mini:
        number = len(verified.mini)
        others = f" and {number - 1} more, which --json names" if number > 1 else ""
        print(f"of the mini profile, and not compared with the paper: {verified.mini[0]}{others}")


def _print_json(verified: Verified) -> None:
    import json

    from repro.verification.coverage import Coverage
    from repro.verification.other_readings import list_reading_rows

    records = list(verified.files.values())
    wrong = [{"record": problem.file, "reason": problem.text} for problem in verified.problems]
    output = [
        {
            "table": verification.table.number,
            "coverage": Coverage.count(verification.cells).describe(),
            "cells": [verdict.as_dict() for verdict in verification.cells],
            "readings": [row.as_dict() for row in list_reading_rows(verification.table, records, verified.problems)],
            "unused": [{"record": unused.filename, "reason": unused.reason} for unused in verification.unused],
            "wrong": wrong,
            "foreign": [{"record": foreign.file, "reason": foreign.reason} for foreign in verified.foreign],
            "mini": verified.mini,
        }
        for verification in verified.verifications
    ]
    print(json.dumps(output, indent=1, ensure_ascii=False, allow_nan=False))

"""`repro verify`: compares what was measured with what was published."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import completion, options
from repro.cli.streams import print_line

if TYPE_CHECKING:
    from repro.verification.demands import Conclusion

Tables = Annotated[
    list[int] | None,
    typer.Option(
        "--table",
        min=1,
        max=5,
        help="Only this table; may be given several times. All by default.",
        autocompletion=completion.complete_tables,
    ),
]
Require = Annotated[
    str,
    typer.Option(
        "--require",
        metavar="N|N%",
        help="Exit with 1 unless so many distinct numbers of these tables were measured, or such a share of them. "
        "Parameters and FLOPs are counted, not measured: they are not among them.",
    ),
]
FailOn = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-on",
        metavar="VERDICT",
        help="Exit with 1 if a cell has this verdict: not-run, inconclusive, indistinct or ledger; may be given "
        "several times. Off and conflict always fail.",
        autocompletion=completion.complete_words("not-run", "inconclusive", "indistinct", "ledger"),
    ),
]


def command(
    tables: Tables = None,
    results: options.Results = options.RESULTS,
    require: Require = "",
    fail_on: FailOn = None,
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
    a record is not what it says, and names them. Missing data never counts as a pass of its cell; that it is missing
    fails only if --require or --fail-on says so.

    Examples:

      repro verify --table 2

      repro verify --table 2 --table 3 --require 50% --fail-on inconclusive

      repro verify --junit verify.xml --summary "$GITHUB_STEP_SUMMARY"
    """
    from repro import paper
    from repro.errors import ReproError
    from repro.files.outputs import is_stdout, write_output
    from repro.records import open_results
    from repro.verification.demands import Conclusion, choose_verdicts
    from repro.verification.judgement import verify_all

    aside = [option for option, path in (("--junit", junit), ("--summary", summary)) if path and is_stdout(path)]
    if len(aside) + json > 1:
        raise ReproError(f"{' and '.join([*aside, *['--json'] * json])} would be mixed on standard output: name a file")
    store, failing = open_results(results), choose_verdicts(fail_on or ())
    chosen = paper.load_all() if not tables else tuple(paper.load(table) for table in sorted(set(tables)))
    conclusion = Conclusion(verify_all(chosen, store), require, failing)
    passed = conclusion.passed  # before anything is written: a demand that cannot be met is bad input
    if junit is not None:
        from datetime import datetime, timezone

        from repro.rendering.junit import write_report

        write_output(junit, write_report(conclusion, datetime.now(timezone.utc)))
    if summary is not None:
        from repro.rendering.summary import append

        append(conclusion, summary)
    if json:
        _print_json(conclusion)
    else:
        with redirect_stdout(sys.stderr if aside else sys.stdout):
            _print(conclusion)
    if not passed:
        raise typer.Exit(1)


def _print(conclusion: Conclusion) -> None:
    from repro.verification.coverage import Coverage
    from repro.verification.other_readings import list_reading_rows

    verified = conclusion.verified
    records = list(verified.files.values())
    print_line(conclusion.headline)
    for verification in verified.verifications:
        print_line(f"Table {verification.table.number}: {Coverage.count(verification.cells).describe()}")
        for verdict in verification.cells:
            if (
                verdict.verdict in ("off", "conflict", "ledger", "indistinct", "inconclusive")
                or (verdict.ways and verdict.ours is not None)
                or verdict.note.startswith("its tolerance")
                or conclusion.fails(verdict)
            ):
                print_line(f"  {verdict}")
    for problem in verified.problems:
        print_line(f"wrong: {problem}")
    for foreign in verified.foreign:
        print_line(f"foreign: {foreign}")
    for unused in verified.unused:
        print_line(f"unused record {unused.filename}: {unused.reason}")
    for row in (row for v in verified.verifications for row in list_reading_rows(v.table, records, verified.problems)):
        print_line(f"no verdict: {row}")
    if verified.mini:
        several = f"{len(verified.mini)} records, which --json names"
        which = several if len(verified.mini) > 1 else verified.mini[0]
        print_line(f"of the mini profile, and not compared with the paper: {which}; `repro hypotheses` is about them")
    if failures := conclusion.describe_failures():
        print_line(f"failed: {'; '.join(failures)}")
    elif not conclusion.coverage.measured.here:
        print("no number was measured, so that none is off says nothing: `--require N` makes this fail")


def _print_json(conclusion: Conclusion) -> None:
    import json
    from dataclasses import asdict

    from repro.verification.coverage import Coverage
    from repro.verification.other_readings import list_reading_rows

    verified, coverage = conclusion.verified, conclusion.coverage
    records = list(verified.files.values())
    output = {
        "passed": conclusion.passed,
        "headline": conclusion.headline,
        "measured": asdict(coverage.measured),
        "counted": asdict(coverage.counted),
        "verdicts": coverage.verdicts,
        "required": conclusion.required,
        "fail_on": conclusion.fail_on,
        "failures": conclusion.describe_failures(),
        "failed": [verdict.cell.address for verdict in conclusion.failed],
        "wrong": [{"record": problem.file, "reason": problem.text} for problem in verified.problems],
        "foreign": [{"record": foreign.file, "reason": foreign.reason} for foreign in verified.foreign],
        "mini": verified.mini,
        "tables": [
            {
                "table": verification.table.number,
                "coverage": Coverage.count(verification.cells).describe(),
                "cells": [verdict.as_dict() for verdict in verification.cells],
                "readings": [
                    row.as_dict() for row in list_reading_rows(verification.table, records, verified.problems)
                ],
                "unused": [{"record": unused.filename, "reason": unused.reason} for unused in verification.unused],
            }
            for verification in verified.verifications
        ],
    }
    print(json.dumps(output, indent=1, ensure_ascii=False, allow_nan=False))

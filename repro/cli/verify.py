"""`repro verify`: what was measured against what was published."""

from __future__ import annotations

import typer

from repro.cli import options


def command(
    table: options.AnyTable = None, results: options.Results = options.RESULTS, json: options.Json = False
) -> None:
    """Compare every measured cell with the paper. Exit 1 names the cells that are off; missing data is never a pass.

    Example: repro verify --table 2
    """
    from repro import paper
    from repro.records import Store
    from repro.verify import coverage, verify_store

    store = Store(results / "records")
    chosen = paper.tables() if table is None else (paper.load(table),)
    verifications = [verify_store(loaded, store) for loaded in chosen]
    off = [verdict for verification in verifications for verdict in verification.off]
    if json:
        import json as json_

        output = [
            {
                "table": verification.table.number,
                "coverage": coverage(verification.cells),
                "cells": [verdict.as_dict() for verdict in verification.cells],
                "unused": [{"record": unused.filename, "reason": unused.reason} for unused in verification.unused],
            }
            for verification in verifications
        ]
        print(json_.dumps(output, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        for verification in verifications:
            print(f"Table {verification.table.number}: {coverage(verification.cells)}")
            for verdict in verification.cells:
                if verdict.verdict in ("off", "ledger", "inconclusive"):
                    print(f"  {verdict}")
            for unused in verification.unused:
                print(f"  unused record {unused.filename}: {unused.reason}")
    if off:
        raise typer.Exit(1)

"""`repro effects`: what each row gains over its baseline, tested on the same images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import options

if TYPE_CHECKING:
    from repro.paper import Table
    from repro.verification.effects.row_effects import ColumnEffect, RowEffects

DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", envvar="REPRO_DATA", help="COCO 2017, for predictions of the full profile."),
]
Resamples = Annotated[int, typer.Option("--resamples", min=99, help="Of the images, for AP.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the resampling.")]


def command(
    table: options.AnyTable = None,
    results: options.Results = options.RESULTS,
    data_root: DataRoot = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
    json: options.Json = False,
) -> None:
    """Test every row against its group's baseline on the same images, from the stored predictions.

    AP by a paired bootstrap over images, top-1 and top-5 by McNemar's test. Every test is kept in RESULTS/effects and
    not done twice.

    Example: repro effects --table 2
    """
    from repro import paper
    from repro.records import Store
    from repro.verification.effects import row_effects
    from repro.verification.effects.paired_tests import PairedTests

    chosen = paper.tables() if table is None else (paper.load(table),)
    records = Store(results / "records").all()
    tester = PairedTests(
        results, data_root, resamples, seed, threads=_processors(), say=lambda text: print(text, file=sys.stderr)
    )
    found = {
        (loaded.number, profile): row_effects.rows(row_effects.pairs(loaded, records, profile), tester.test)
        for loaded in chosen
        for profile in ("full", "mini")
    }
    if json:
        import json as json_

        output = [one.as_dict() for rows in found.values() for one in rows]
        print(json_.dumps(output, indent=1, ensure_ascii=False, allow_nan=False))
        return
    for loaded in chosen:
        _print(loaded, found[loaded.number, "full"], found[loaded.number, "mini"])


def _processors() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _print(table: Table, full: list[RowEffects], mini: list[RowEffects]) -> None:
    print(f"Table {table.number}: {table.title}")
    if not full:
        print("  no row has a baseline to be compared with\n")
        return
    _section("Full profile", full)
    title = "MINI profile: generated data and scaled-down networks. The numbers are not comparable with the paper's"
    _section(title, mini)
    if any(one.columns for one in (*full, *mini)):
        print("\nIntervals and p-values over images or videos are of other ones like these, not of another training.")


def _section(title: str, rows: list[RowEffects]) -> None:
    tested = [one for one in rows if one.columns]
    print(f"\n{title}: {len(tested)} of {len(rows)} rows tested")
    if tested:
        published = any(column.published is not None for one in tested for column in one.columns)
        head = ("row", "column", *(("published",) if published else ()), "ours", "95 % interval", "p", "n", "of")
        lines = [line for one in tested for column in one.columns for line in _lines(one, column, published)]
        widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
        for line in (head, *lines):
            print("  " + "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    untested: dict[str, list[str]] = {}
    for one in rows:
        for reason in one.missing:
            untested.setdefault(reason, []).append(_name(one))
    for reason, names in untested.items():
        print(f"  not tested: {'; '.join(names)}: {reason}")


def _name(one: RowEffects) -> str:
    group = one.pair.group.name
    return f"({group}) {one.pair.row.label}" if group else one.pair.row.label


def _lines(row: RowEffects, effect: ColumnEffect, published: bool) -> list[tuple[str, ...]]:
    """A line for each seed, and one for their mean."""
    from repro.paper import COLUMNS, DATASETS

    digits = effect.decimals + 1
    begin = (_name(row), COLUMNS[effect.column].heading)
    if published:
        begin += ("" if effect.published is None else f"{effect.published:+.{effect.decimals}f}",)
    items = DATASETS[row.pair.group.dataset].items
    lines = []
    for test, one in effect.tests:
        limits = f"{one.low:+.{digits}f} to {one.high:+.{digits}f}"
        of = f"{items}, seed {test.seed}" if test.source == "trained" else items
        lines.append((*begin, f"{one.difference:+.{digits}f}", limits, _p(one.p), str(test.n), of))
    if effect.low is not None:
        limits = f"{effect.low:+.{digits}f} to {effect.high:+.{digits}f}"
        lines.append((*begin, f"{effect.mean:+.{digits}f}", limits, "", str(len(effect.tests)), "seeds: their mean"))
    return lines


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"

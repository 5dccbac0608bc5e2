"""`repro effects`: what each row gains over its baseline, tested on the same images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import options
from repro.cli.findings import print_left_out
from repro.cli.streams import print_line
from repro.cli.terminal_table import align_columns
from repro.settings import LARGEST_SEED, describe_place

if TYPE_CHECKING:
    from repro.paper import Table
    from repro.verification.effects.paired_effects import ColumnEffect, RowEffects

DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root", envvar="REPRO_DATA", help="Directory of COCO 2017, for predictions of the full profile."
    ),
]
Resamples = Annotated[
    int, typer.Option("--resamples", min=99, max=100_000, help="How many resamples of the images to draw, for AP.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Seed of the resampling.")]

#: What each interval says, and what it does not.
COVERAGE = (
    "A line of one seed has an interval and a p-value that cover images (or videos) only: what others like them would\n"
    "give with the same two trainings. A line of all seeds has the median over seeds and an interval that covers\n"
    "seeds only: the median over other trainings, on the same images. None covers both. Items that were not evaluated\n"
    "are left out: what is said of a whole set assumes that they are missing at random."
)


def command(
    table: options.AnyTable = None,
    results: options.Results = options.RESULTS,
    data_root: DataRoot = None,
    own: options.With = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
    json: options.Json = False,
) -> None:
    """Test every row against its group's baseline on the same images, from the stored predictions.

    AP is tested by a paired bootstrap over images, top-1 and top-5 by McNemar's test, from RESULTS/evidence or from the
    stored predictions. Every test is stored in RESULTS/effects and not repeated. Two experiments stand once, however
    many rows they are.

    Examples:

      repro effects --table 2

      repro effects --table 2 --with mine.py
    """
    from repro import paper
    from repro.records import open_results
    from repro.verification.effects import paired_effects
    from repro.verification.effects.paired_tests import PairedTests
    from repro.verification.integrity import admit
    from repro.verification.measurements import Profile

    options.load_own(own)
    chosen = paper.load_all() if table is None else (paper.load(table),)
    admitted = admit(open_results(results))
    print_left_out(admitted, chosen)
    records = admitted.records
    tester = PairedTests(
        results,
        data_root,
        resamples,
        seed,
        threads=count_processors(),
        say=lambda text: print_line(text, file=sys.stderr),
    )
    profiles: tuple[Profile, ...] = ("full", "mini")
    effects = {
        profile: paired_effects.compare_pairs(paired_effects.pair_tables(chosen, records, profile), tester.test)
        for profile in profiles
    }
    if json:
        import json as json_

        output = [row.as_dict() for rows in effects.values() for row in rows]
        print(json_.dumps(output, indent=1, ensure_ascii=False, allow_nan=False))
        return
    for loaded in chosen:
        full, mini = ([row for row in effects[p] if row.pair.table is loaded] for p in ("full", "mini"))
        _print(loaded, full, mini, describe_place(results))


def count_processors() -> int:
    """Count the processors that this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _print(table: Table, full: list[RowEffects], mini: list[RowEffects], place: str) -> None:
    print(f"Table {table.number}: {table.title}")
    if not full:
        print("  no row has a baseline to be compared with, but for those of other tables\n")
        return
    _print_section("Full profile", full, f"`repro reproduce --table {table.number} --profile full{place}`")
    title = "MINI profile: generated data and scaled-down networks. The numbers are not comparable with the paper's"
    again = (
        f"`repro reproduce --table {table.number} --profile mini --results NEW`, where NEW is a new directory: "
        f"a record that is there is\n  not measured again. Then `repro effects --table {table.number} --results NEW`"
    )
    _print_section(title, mini, again)
    if any(row.columns for row in (*full, *mini)):
        print(f"\n{COVERAGE}")


def _print_section(title: str, rows: list[RowEffects], remedy: str) -> None:
    from repro.paper import DATASETS
    from repro.verification.effects.paired_effects import group_missing, name_row

    tested = [row for row in rows if row.columns]
    print(f"\n{title}: {len(tested)} of {len(rows)} rows tested")
    if tested:
        published = any(column.published is not None for row in tested for column in row.columns)
        head = ("row", "column", *(("published",) if published else ()), "ours", "interval", "p", "n", "covers")
        ways = dict.fromkeys(row.pair.way for row in tested)
        print(f"  measured in {'one way' if len(ways) == 1 else f'{len(ways)} ways'}: {'; '.join(ways)}")
        lines = [
            line
            for row in tested
            for column in row.columns
            for line in write_lines(
                name_row(row) + (f" [{row.pair.way}]" if len(ways) > 1 else ""),
                DATASETS[row.pair.group.dataset].items,
                column,
                published,
            )
        ]
        for line in align_columns([head, *lines]):
            print(f"  {line}")
    for row in tested:
        if row.pair.also:
            print(f"  {name_row(row)} is also {', '.join(row.pair.also)}")
    for note in dict.fromkeys(row.pair.shared_start for row in tested if row.pair.shared_start):
        print_line(f"  note: {note}")
    untested = group_missing(rows)
    for reason, names in untested.items():
        print_line(f"  not tested: {reason}: {'; '.join(names)}")
    if untested:
        print(f"  What is missing is measured, with evidence, by {remedy}.")


def write_lines(name: str, items: str, effect: ColumnEffect, published: bool = False) -> list[tuple[str, ...]]:
    """Write a line for each seed, and one for all of them.

    Args:
        name: of what is compared.
        items: what was evaluated, in words.
        published: whether there is a column of what the paper prints.
    """
    from repro.paper import COLUMNS

    digits = effect.decimals + 1
    begin: tuple[str, ...] = (name, COLUMNS[effect.column].heading)
    if published:
        begin += ("" if effect.published is None else f"{effect.published:+.{effect.decimals}f}",)
    lines: list[tuple[str, ...]] = []
    for test, difference in effect.tests:
        limits = f"{difference.low:+.{digits}f} to {difference.high:+.{digits}f} ({test.confidence:.0%})"
        covers = f"{items} only" + (f" (seed {test.seed})" if test.source == "trained" else "")
        p = f"{difference.p:.3f}" if difference.p >= 0.001 else f"{difference.p:.1e}"
        p = f"<= {p}" if test.has_least_p(difference) else p
        lines.append((*begin, f"{difference.difference:+.{digits}f}", limits, p, str(test.n), covers))
    if len(effect.tests) > 1:
        limits = "none of fewer than 3 seeds"
        if effect.low is not None and effect.confidence is not None:
            limits = f"{effect.low:+.{digits}f} to {effect.high:+.{digits}f} ({effect.confidence:.0%})"
        lines.append(
            (*begin, f"{effect.median:+.{digits}f}", limits, "", str(len(effect.tests)), "seeds only (median)")
        )
    return lines

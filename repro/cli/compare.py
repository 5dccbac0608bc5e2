"""`repro compare`: two experiments, or two records, tested on the same images and by seed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import effects, options
from repro.cli.completion import complete_experiments
from repro.cli.findings import print_left_out
from repro.cli.streams import print_line
from repro.cli.terminal_table import align_columns

if TYPE_CHECKING:
    from repro.records import Record
    from repro.verification.effects.comparisons import Comparison
    from repro.verification.measurements import Profile

_ONE = (
    "An experiment: its name, or FILE.py:NAME for one of your own, which is executed. Or a record: its file, or the "
    "beginning of its name in the store."
)


def command(
    a: Annotated[str, typer.Argument(metavar="A", help=_ONE, autocompletion=complete_experiments)],
    b: Annotated[
        str,
        typer.Argument(
            metavar="B",
            help="The same for the second: two experiments, or two records.",
            autocompletion=complete_experiments,
        ),
    ],
    profile: Annotated[
        str, typer.Option("--profile", help="Of two experiments: full, mini, or auto, full where both were run.")
    ] = "auto",
    results: options.Results = options.RESULTS,
    data_root: effects.DataRoot = None,
    own: options.With = None,
    resamples: effects.Resamples = 1000,
    seed: effects.Seed = 0,
    json: options.Json = False,
) -> None:
    """Test what A has more than B: on the same images, for each seed that both have, and over these seeds.

    AP by a paired bootstrap over images, top-1 and top-5 by McNemar's test, as `repro effects` does it of every row
    against its baseline. It says in what else the two differ than in the network.

    Examples:

      repro compare mine.py:coordinate-attention coco-r50-gc-r16

      repro compare coco-r50-1gc.mini.trained.seed0 coco-r50-1gc.mini.trained.seed1
    """
    from repro.errors import ReproError
    from repro.records import open_results
    from repro.verification.effects import comparisons
    from repro.verification.effects.paired_tests import PairedTests
    from repro.verification.integrity import admit

    wanted = options.one_of("--profile", profile, ("auto", "full", "mini"))
    options.load_own(own)
    tester = PairedTests(
        results, data_root, resamples, seed, threads=effects.count_processors(),
        say=lambda text: print_line(text, file=sys.stderr),
    )  # fmt: skip
    first, second = (_find(one, results) for one in (a, b))
    if isinstance(first, str) and isinstance(second, str):
        at: Profile | None = "full" if wanted == "full" else "mini" if wanted == "mini" else None
        admitted = admit(open_results(results))
        print_left_out(admitted, ())
        runs = comparisons.pair_experiments(first, second, admitted.records, at)
    elif isinstance(first, str) or isinstance(second, str):
        raise ReproError(f"{a} and {b}: one is an experiment and the other a record; compare two of a kind")
    else:
        runs = comparisons.pair_records(first, second)
    comparison = comparisons.compare_runs(runs, tester.test)
    if json:
        import json as json_

        print(json_.dumps(comparison.as_dict(), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        _print(comparison)
    if not comparison.columns:
        raise ReproError(f"nothing could be tested: {comparison.missing[0]}")


def _find(text: str, results: Path) -> str | Record:
    """The name of an experiment, or a record."""
    from repro.experiments import is_defined, own
    from repro.verification.differences import find_record

    if text.endswith(".json") or (".py" not in text and ":" not in text and not is_defined(text)):
        return find_record(text, results)
    return own.name_one(text)


def _print(comparison: Comparison) -> None:
    runs = comparison.runs
    first = runs.pairs[0][0]
    print(f"a: {runs.a}\nb: {runs.b}\n{first.profile} profile, {first.dataset.name}, {runs.way}; a minus b")
    if first.profile == "mini":
        print("generated data and scaled-down networks: the numbers are not comparable with the paper's")
    items = "videos" if "kinetics" in first.dataset.name else "images"
    head = ("", "column", "a minus b", "interval", "p", "n", "covers")
    lines = [line for effect in comparison.columns for line in effects.write_lines("", items, effect)]
    for line in align_columns([head, *lines]) if lines else ():
        print_line(f"  {line}")
    if runs.differs:
        print_line(f"not only the network differs: {', '.join(runs.differs)}. The difference is of all of it together.")
    for reason in comparison.missing:
        print_line(f"not tested: {reason}")
    if runs.alone:
        print_line(f"without a partner of the same seed, and left out: {', '.join(runs.alone)}")
    if lines:
        print(f"\n{effects.COVERAGE}")

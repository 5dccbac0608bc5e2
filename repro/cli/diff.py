"""`repro diff`: what changed between two records, or two stores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import options
from repro.cli.streams import print_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.verification.differences import RecordComparison, StoreComparison

_SHOWN = 5  #: files that one of two stores has alone
_ONE = "A record's file, the beginning of its name in the store, or a directory of results."


def command(
    a: Annotated[str, typer.Argument(metavar="A", help=_ONE)],
    b: Annotated[
        str | None,
        typer.Argument(
            metavar="[B]",
            help="The same for the second: two records, or two directories. Left out: the committed records of this "
            "package, for a directory.",
        ),
    ] = None,
    results: options.Results = options.RESULTS,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code",
            help="Exit with 1 unless weights, predictions and metrics of all records in both, and all counts in both, "
            "are the same bit for bit; also if no record is in both.",
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """Say what differs between two records or two stores, and whether that explains their numbers.

    Exits with 0 whatever is found, but with --exit-code.

    Examples:

      repro diff coco-r50-1gc.mini.trained.seed0 coco-r50-1gc.mini.trained.seed1

      repro diff results

      repro diff results --exit-code
    """
    from repro.errors import ReproError
    from repro.files.places import is_directory
    from repro.paths import REFERENCE
    from repro.verification.differences import RecordComparison, diff

    if b is None and not is_directory(Path(a)):
        raise ReproError(
            f"there is no directory {a}, which could be compared with the committed records. Check the path and the "
            "directory that this command is run in; a record is compared with the one that you name after it."
        )
    b = str(REFERENCE) if b is None else b
    comparison = diff(a, b, results)
    if json:
        import json as json_

        print(json_.dumps(comparison.as_dict(), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        for line in (
            _compare_records(comparison)
            if isinstance(comparison, RecordComparison)
            else (f"a: {a}", f"b: {b}", *_compare_stores(comparison))
        ):
            print_line(line)
    if exit_code and not comparison.repeats:
        raise typer.Exit(1)


def _compare_records(comparison: RecordComparison) -> Iterator[str]:
    from repro.verification.differences import GROUPS

    yield f"a: {comparison.a}"
    yield f"b: {comparison.b}"
    if comparison.deltas:
        yield "metrics"
        width = max(len(delta.metric) for delta in comparison.deltas)
        for delta in comparison.deltas:
            yield f"  {delta.metric:<{width}}  {delta.a:.3f} -> {delta.b:.3f}  ({delta.delta:+.3f} {delta.unit})"
    for group in GROUPS:
        changes = [change for change in comparison.changes if change.group == group]
        if changes:
            yield group
        for change in changes:
            yield f"  {change.field}: {_shorten(change.a)} -> {_shorten(change.b)}"
    explained = {True: "explained: ", False: "not explained: ", None: ""}[comparison.explained]
    yield f"{explained}{comparison.conclusion}"


def _compare_stores(stores: StoreComparison) -> Iterator[str]:
    from repro.rendering.repetition import RESULTS, describe_causes

    for name, files in (("a", stores.only_a), ("b", stores.only_b)):
        if files:
            yield f"only in {name}: {len(files)}"
            yield from (f"  {file}" for file in files[:_SHOWN])
            if len(files) > _SHOWN:
                yield f"  and {len(files) - _SHOWN} more; --json names them all"
    for name, files in (("a", stores.foreign_a), ("b", stores.foreign_b)):
        yield from (f"foreign in {name}, not compared: {file}" for file in files)
    for change in stores.counts:
        yield f"count {change.field}: {_shorten(change.a)} -> {_shorten(change.b)}"
    for comparison in stores.changed:
        yield ""
        yield from _compare_records(comparison)
    if stores.changed:
        yield ""
    total = stores.same + len(stores.changed)
    yield f"of {total} record{'' if total == 1 else 's'} in both, {stores.alike} have the same {RESULTS}, bit for bit"
    yield from (f"not the same, {line}" for line in describe_causes(stores.unlike, "in a", "in b"))
    unexplained = sum(comparison.explained is False for comparison in stores.changed)
    yield f"{stores.same} the same, {len(stores.changed)} changed, {unexplained} of them not explained"


def _shorten(value: object) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""`repro diff`: what changed between two records, or two stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.verification.differences import Comparison, Stores

_ONE = "A record's file, the beginning of its name in the store, or a directory of results."


def command(
    a: Annotated[str, typer.Argument(metavar="A", help=_ONE)],
    b: Annotated[str, typer.Argument(metavar="B", help="As A: two records, or two directories.")],
    results: options.Results = options.RESULTS,
    json: options.Json = False,
) -> None:
    """Say what is not the same in two records or two stores, and whether it explains the numbers. Exit 0 whatever is
    found.

    Examples:

      repro diff coco-r50-1gc.full.trained.seed0 coco-r50-1gc.full.trained.seed1

      repro diff results tables/reference
    """
    from repro.records import Store
    from repro.verification.differences import Comparison, diff

    found = diff(a, b, Store(results / "records"))
    if json:
        import json as json_

        print(json_.dumps(found.as_dict(), indent=1, ensure_ascii=False, allow_nan=False))
        return
    for line in _comparison(found) if isinstance(found, Comparison) else _stores(found):
        print(line)


def _comparison(found: Comparison) -> Iterator[str]:
    from repro.verification.differences import GROUPS

    yield f"a: {found.a}"
    yield f"b: {found.b}"
    if found.deltas:
        yield "metrics"
        width = max(len(delta.metric) for delta in found.deltas)
        for delta in found.deltas:
            yield f"  {delta.metric:<{width}}  {delta.a:.3f} -> {delta.b:.3f}  ({delta.delta:+.3f} {delta.unit})"
    for group in GROUPS:
        changes = [change for change in found.changes if change.group == group]
        if changes:
            yield group
        for change in changes:
            yield f"  {change.field}: {_shown(change.a)} -> {_shown(change.b)}"
    explained = {True: "explained: ", False: "not explained: ", None: ""}[found.explained]
    yield f"{explained}{found.conclusion}"


def _stores(found: Stores) -> Iterator[str]:
    for name, files in (("a", found.only_a), ("b", found.only_b)):
        if files:
            yield f"only in {name}: {len(files)}"
            yield from (f"  {file}" for file in files)
    for change in found.counts:
        yield f"count {change.field}: {_shown(change.a)} -> {_shown(change.b)}"
    for comparison in found.changed:
        yield ""
        yield from _comparison(comparison)
    if found.changed:
        yield ""
    unexplained = sum(comparison.explained is False for comparison in found.changed)
    yield f"{found.same} the same, {len(found.changed)} changed, {unexplained} of them not explained"


def _shown(value: object) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""`repro tolerances`: what counts as agreement, why, and how often it says what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import options
from repro.cli.terminal_table import align_columns

if TYPE_CHECKING:
    from repro.paper import Table
    from repro.paper.tolerances import Tolerances


def command(
    table: options.AnyTable = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Simulate trainings of each table, and judge them: some seconds.")
    ] = False,
) -> None:
    """Print the rules of judgement with their reasons, and what they can tell.

    With --simulate: the probabilities that a number is compatible, indistinct or off, and that `repro verify` exits
    with 1, where nothing, half or all of the printed effects is missing.

    Example: repro tolerances --table 2 --simulate
    """
    from repro import paper
    from repro.paper import tolerances

    rules = tolerances.load()
    for rule in (rules.checkpoint, rules.converted, rules.retrained, rules.undeclared):
        print(f"{rule.applies_to}\n  {rule.rationale}\n")
    print("\n".join(write_widths(rules)))
    if simulate:
        chosen = paper.load_all() if table is None else (paper.load(table),)
        print("\n" + "\n".join(write_operating(chosen, rules)))


def write_widths(rules: Tolerances) -> list[str]:
    """Write the tolerances of trainings by n."""
    from repro.verification.operating import describe_widths

    title = "Trained here, in %: the tolerance by n; then the smallest printed effect that is missed by 5 % at most"
    return [title, *_indent(describe_widths(rules))]


def write_operating(tables: Sequence[Table], rules: Tolerances) -> list[str]:
    """Write what becomes of simulated tables."""
    from repro.verification.operating import DRAWS, describe_operating

    title = (
        f"Probabilities in %, {DRAWS} simulated tables each: a number of a row with a block is compatible; indistinct "
        "from no effect; off. Exit 1: any number of the table is off"
    )
    return [title, *_indent(describe_operating(tables, rules))]


def _indent(lines: Iterable[Sequence[str]]) -> list[str]:
    return [f"  {line}".rstrip() for line in align_columns(list(lines))]

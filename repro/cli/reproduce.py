"""`repro reproduce`: a table of the paper, from whatever is here to the rendered comparison."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from repro.cli import options


def command(
    table: options.Table,
    profile: options.Profile = "auto",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds 0..N-1 of every experiment.")] = 1,
    jobs: Annotated[int, typer.Option("--jobs", min=0, help="Processes side by side; 0: one per core.")] = 0,
    results: options.Results = options.RESULTS,
    data_root: options.DataRoot = None,
    device: options.Device = "auto",
    precision: options.Precision = "32-true",
    initial: options.Initial = None,
    iterations: options.Iterations = None,
) -> None:
    """Count the full-size networks, measure every experiment of the table, render it and verify it.

    Example: repro reproduce --table 2 --seeds 3
    """
    from rich.console import Console

    from repro import plan as planning
    from repro import runner
    from repro.cli.choices import settings
    from repro.render import write_generated
    from repro.verify import verify

    console = Console(stderr=True)
    chosen, why = settings(profile, results, data_root, device, precision, initial, iterations)
    say = lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)  # noqa: E731
    say(f"Table {table}, profile {chosen.profile} ({why})")
    steps = planning.plan(planning.distinct(table), chosen, range(seeds))
    ready = [step for step in steps if step.status == "ready"]
    for step in steps:
        if step.status == "blocked":
            say(f"blocked: {step.experiment.name}: {step.reason}")
    say(f"{sum(step.status == 'measured' for step in steps)} of {len(steps)} measured already, {len(ready)} to run")

"""`repro reproduce`: a table of the paper, from whatever is here to the rendered comparison."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from repro.cli import options
from repro.cli.measuring_options import MeasuringOptions, describe_readings, measuring


@measuring
def command(
    table: options.Table,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Seeds 0..N-1 of every experiment, declared before they are run.")
    ] = 1,
    jobs: Annotated[int, typer.Option("--jobs", min=0, help="Processes side by side; 0: one per core.")] = 0,
    *,
    chosen: MeasuringOptions,
) -> None:
    """Count the full-size networks, measure every experiment of the table, render it and verify it.

    Writes tables/generated/table{N}.md, .tex and .csv. Exits with 1 when a cell is off or an experiment failed.
    Interrupted, the same command goes on; what is measured is not measured again.

    Example: repro reproduce --table 2 --seeds 3
    """
    from rich.console import Console

    from repro import paper
    from repro.cli.hypotheses import write_answers
    from repro.errors import ReproError
    from repro.experiments import get
    from repro.measuring import runner
    from repro.measuring.seeds import declare_seeds
    from repro.planning.plan import attention_experiments, plan
    from repro.rendering.tables import render, write_generated
    from repro.verification.coverage import Coverage
    from repro.verification.integrity import admit
    from repro.verification.judgement import verify_store

    settings, why = chosen.settings()
    console = Console(stderr=True)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    published = paper.load(table)
    say(f"Table {table} of the paper, profile {settings.profile} ({why})")
    if settings.profile == "mini":
        say(f"the full profile is not run: `repro plan --table {table} --profile full` says what each row would take")
    attention = attention_experiments(table)
    steps = plan(published.experiments, settings, range(seeds), attention)
    for line in describe_readings(settings, steps):
        say(line)
    blocked = [step for step in steps if step.status == "blocked"]
    for reason in dict.fromkeys(step.reason for step in blocked):
        say(f"blocked: {', '.join(step.experiment.name for step in blocked if step.reason == reason)}: {reason}")
    if len(blocked) == len(steps):
        raise ReproError(f"nothing can be measured: {blocked[0].reason}")
    ready = [step for step in steps if step.status == "ready"]
    measured = sum(step.status == "measured" for step in steps)
    say(f"{measured} of {len(steps)} experiments measured already, {len(ready)} to run")

    say("counting parameters and operations of the full-size networks")
    from repro import complexity

    complexity.count_experiments(map(get, published.experiments), settings.store)

    if not settings.training_options:
        declare_seeds(steps, settings, seeds)
    outcomes = runner.run(ready, settings, jobs, shlex.join(["repro", *sys.argv[1:]]), console)
    print(render(published, settings.store, "md"))
    paths = write_generated(published, settings.store)
    say("written: " + ", ".join(map(str, paths)))
    verification = verify_store(published, settings.store)
    say(Coverage.count(verification.cells).describe())
    if settings.profile == "mini" and (answers := write_answers(published, admit(settings.store).records)):
        say("\n" + answers)
    for cell in verification.off:
        say(f"off: {cell}")
    failed = [outcome for outcome in outcomes if outcome.failure]
    for outcome in failed:
        say(f"failed: {outcome.step.experiment.name} seed {outcome.step.seed}: {outcome.failure}")
    if verification.off or failed:
        raise typer.Exit(1)

"""`repro plan`: what would run, why, and what it costs."""

from __future__ import annotations

from typing import Annotated

import typer

from repro.cli import options


def command(
    table: options.Table,
    profile: options.Profile = "auto",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds 0..N-1 of every experiment.")] = 1,
    results: options.Results = options.RESULTS,
    data_root: options.DataRoot = None,
    device: options.Device = "auto",
    precision: options.Precision = "32-true",
    initial: options.Initial = None,
    iterations: options.Iterations = None,
    batch_size: options.BatchSize = None,
    micro_batch: options.MicroBatch = None,
    json: options.Json = False,
) -> None:
    """Say for each experiment of a table whether it is measured, ready to run or blocked, and by what.

    Example: repro plan --table 2 --profile full --data-root /data/coco
    """
    from repro import plan as planning
    from repro.cli.choices import settings

    chosen, why = settings(profile, results, data_root, device, precision, initial, iterations, batch_size, micro_batch)
    rows = planning.distinct(table)
    steps = planning.plan(rows, chosen, range(seeds))
    if json:
        import json as json_

        print(json_.dumps([_json(step, rows) for step in steps], indent=1))
        return
    print(f"Table {table}, profile {chosen.profile} ({why})")
    width = max(len(step.experiment.name) for step in steps)
    for step in steps:
        print(
            f"  {step.experiment.name:<{width}}  seed {step.seed}  {step.status:<8}  {step.reason}; cost: {step.cost}"
        )
        print(f"  {'':<{width}}  rows: {', '.join(rows[step.experiment.name])}")
    tally = {status: sum(step.status == status for step in steps) for status in ("measured", "ready", "blocked")}
    print(", ".join(f"{count} {status}" for status, count in tally.items()))


def _json(step, rows: dict[str, list[str]]) -> dict:
    return {
        "experiment": step.experiment.name,
        "seed": step.seed,
        "rows": rows[step.experiment.name],
        "status": step.status,
        "reason": step.reason,
        "cost": step.cost,
        "record": step.record.filename if step.record else None,
    }

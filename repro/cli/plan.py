"""`repro plan`: what would run, why, and what it costs."""

from __future__ import annotations

from typing import Annotated

import typer

from repro.cli import options
from repro.cli.measuring_options import measuring
from repro.experiments import Experiment
from repro.settings import Settings


@measuring
def command(
    table: options.Table,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds 0..N-1 of every experiment.")] = 1,
    json: options.Json = False,
    *,
    chosen: Settings,
    why: str,
) -> None:
    """Say for each experiment of a table whether it is measured, ready to run or blocked, and by what.

    Example: repro plan --table 2 --profile full --data-root /data/coco
    """
    from repro.planning import plan as planning

    rows = planning.distinct(table)
    steps = planning.plan(rows, chosen, range(seeds), planning.of_attention(table))
    if json:
        import json as json_

        print(json_.dumps([_json(step, rows) for step in steps], indent=1))
        return
    print(f"Table {table}, profile {chosen.profile} ({why})")
    width = max(len(step.experiment.name) for step in steps)
    for step in steps:
        how = step.weights.id if step.weights else f"seed {step.seed}"
        print(f"  {step.experiment.name:<{width}}  {how}  {step.status:<8}  {step.reason}; cost: {step.cost}")
        what = f"rows: {', '.join(rows[step.experiment.name])}" if not step.needed_by else _needed(step.needed_by)
        print(f"  {'':<{width}}  {what}")
        if chosen.profile == "full":
            print(f"  {'':<{width}}  public weights: {_public(step.experiment)}")
    tally = {status: sum(step.status == status for step in steps) for status in ("measured", "ready", "blocked")}
    print(", ".join(f"{count} {status}" for status, count in tally.items()))


def _needed(by: tuple[str, ...]) -> str:
    return f"no row: {', '.join(by)} start{'s' if len(by) == 1 else ''} from it"


def _public(experiment: Experiment) -> str:
    """The weights that others published for an experiment, best first, and whether something stands in their way."""
    from repro.checkpoints import registry

    serving = registry.load().list_serving(experiment.name)
    usable = [f"{entry.id} ({serves.match})" for entry, serves in serving if entry.obstacle is None]
    if hindered := [entry.id for entry, _ in serving if entry.obstacle]:
        usable.append(f"{len(hindered)} with an obstacle (`repro checkpoints list --experiment {experiment.name}`)")
    return ", ".join(usable) or "none"


def _json(step, rows: dict[str, list[str]]) -> dict:
    return {
        "experiment": step.experiment.name,
        "source": step.source,
        "weights": step.weights and step.weights.id,
        "seed": step.seed,
        "rows": rows.get(step.experiment.name, []),
        "needed_by": list(step.needed_by),
        "status": step.status,
        "reason": step.reason,
        "cost": step.cost,
        "record": step.record.filename if step.record else None,
        "statistics": step.statistics.filename if step.statistics else None,
    }

"""`repro plan`: what would run, why, and what it costs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import options
from repro.cli.measuring_options import MeasuringOptions, describe_readings, measuring
from repro.experiments import Experiment, is_published, readings
from repro.settings import MOST_SEEDS

if TYPE_CHECKING:
    from repro.planning.plan import Step


@partial(measuring, no_wait=False)
def command(
    table: options.AnyTable = None,
    experiments: options.Experiments = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=MOST_SEEDS, help="Seeds 0..N-1 of every experiment.")] = 1,
    json: options.Json = False,
    *,
    chosen: MeasuringOptions,
) -> None:
    """Say for each experiment of a table whether it is measured, ready to run or blocked, and by what.

    Examples:

      repro plan --table 2 --profile full --data-root /data/coco

      repro plan --experiments mine.py --profile mini --seeds 3
    """
    from repro import paper
    from repro.planning.plan import plan, rows_by_experiment, select_attention
    from repro.verification.own_rows import choose_table

    settings, why = chosen.settings()
    asked = chosen.name_experiments(experiments or [], settings)
    table = choose_table(asked, table)
    names = asked or chosen.name_experiments(paper.load(table).experiments, settings)
    rows = rows_by_experiment(table)
    steps = plan(names, settings, range(seeds), select_attention(names, table))
    if json:
        import json as json_

        print(json_.dumps([_as_json(step, rows) for step in steps], indent=1))
        return
    print(f"Table {table}, profile {settings.profile} ({why})")
    for line in describe_readings(settings, steps):
        print(line)
    width = max(len(step.experiment.name) for step in steps)
    for step in steps:
        how = step.weights.id if step.weights else f"seed {step.seed}"
        reading = f"reading {readings.write(step.experiment.readings)}; " if step.experiment.readings else ""
        print(f"  {step.experiment.name:<{width}}  {how}  {step.status:<8}  {reading}{step.reason}; cost: {step.cost}")
        what = _describe_dependents(step.needed_by) or _describe_rows(step.experiment, rows)
        print(f"  {'':<{width}}  {what}")
        if settings.profile == "full":
            print(f"  {'':<{width}}  public weights: {_describe_public_weights(step.experiment)}")
    tally = {status: sum(step.status == status for step in steps) for status in ("measured", "ready", "blocked")}
    print(", ".join(f"{count} {status}" for status, count in tally.items()))


def _describe_rows(experiment: Experiment, rows: dict[str, list[str]]) -> str:
    if not is_published(experiment.name):
        beside = rows.get(experiment.derived_from, [experiment.derived_from])[0]
        source = f", in {experiment.source.name}" if experiment.source else ""
        return f"not published: a row of your own, beside {beside}{source}"
    return f"rows: {', '.join(rows.get(experiment.name, ['none of this table']))}"


def _describe_dependents(by: tuple[str, ...]) -> str:
    return f"no row: {', '.join(by)} start{'s' if len(by) == 1 else ''} from it" if by else ""


def _describe_public_weights(experiment: Experiment) -> str:
    """The weights that others published for an experiment, best first, and whether something stands in their way."""
    from repro.checkpoints import registry

    serving = registry.load().list_serving(experiment.name)
    usable = [f"{entry.id} ({serves.match})" for entry, serves in serving if entry.obstacle is None]
    if hindered := [entry.id for entry, _ in serving if entry.obstacle]:
        usable.append(f"{len(hindered)} with an obstacle (`repro checkpoints list --experiment {experiment.name}`)")
    return ", ".join(usable) or "none"


def _as_json(step: Step, rows: dict[str, list[str]]) -> dict[str, object]:
    return {
        "experiment": step.experiment.name,
        "readings": dict(step.experiment.readings),
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

"""`repro run`: measure one experiment."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from repro.cli import options
from repro.cli.choices import measuring
from repro.settings import Settings


@measuring
def command(
    experiment: Annotated[str, typer.Argument(help="Its name; `repro list` prints them all.")],
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads of this process.")] = 1,
    json: options.Json = False,
    *,
    chosen: Settings,
    why: str,
) -> None:
    """Train one experiment, or fetch weights of it, evaluate it and record the result. Interrupted, it goes on.

    Examples:

      repro run coco-r50-gc-r16 --profile mini --seed 1

      repro run coco-r50-gc-r16 --source checkpoint --data-root /data/coco
    """
    from dataclasses import replace

    from repro.experiments import get

    get(experiment)
    chosen = replace(chosen, seed=seed, threads=threads)
    print(f"{experiment}: profile {chosen.profile} ({why}), seed {seed}", file=sys.stderr)

    from repro.measure import measure

    record = measure(experiment, chosen, command=shlex.join(["repro", *sys.argv[1:]]), progress=_Report())
    path = chosen.store.directory / record.filename
    if json:
        print(record.model_dump_json(indent=1))
        return
    for metric in record.metrics:
        published = record.weights.checkpoint and record.weights.checkpoint.reported.get(metric.name)
        note = f"  published with the weights: {published}" if published else ""
        print(f"{metric.name:<12} {metric.value:6.2f} {metric.unit}  (n = {metric.n}){note}")
    data = record.dataset
    print(f"{data.evaluated} of {data.required} images evaluated; {record.cost.images_per_second:.2f} images/s, "
          f"peak memory {record.cost.peak_memory_bytes / 2**30:.2f} GiB")  # fmt: skip
    for deviation in record.deviations:
        print(f"deviation: {deviation}")
    print(f"record: {path}")


class _Report:
    """A line on stderr about every 5 % of a stage, and at its ends."""

    def __init__(self) -> None:
        self.last = ("", -1)

    def __call__(self, stage: str, done: int, total: int) -> None:
        part = (stage, 20 * done // total)
        if part != self.last:
            self.last = part
            print(f"{stage}: {done} of {total}", file=sys.stderr, flush=True)

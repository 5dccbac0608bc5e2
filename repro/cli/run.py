"""`repro run`: measure one experiment."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import completion, options
from repro.cli.command_line import describe_command
from repro.cli.measuring_options import MeasuringOptions, measuring
from repro.cli.progress import show_stages
from repro.cli.streams import print_line
from repro.settings import LARGEST_SEED

if TYPE_CHECKING:
    from repro.records import DataSet, Metric


@measuring
def command(
    experiment: Annotated[
        str,
        typer.Argument(metavar="EXPERIMENT", help=options.EXPERIMENT, autocompletion=completion.complete_experiments),
    ],
    seed: Annotated[int, typer.Option("--seed", min=0, max=LARGEST_SEED)] = 0,
    threads: options.Threads = 1,
    json: options.Json = False,
    quiet: options.Quiet = False,
    *,
    chosen: MeasuringOptions,
) -> None:
    """Train one experiment, or fetch weights of it, evaluate it and record the result. Interrupted, it goes on.

    Examples:

      repro run coco-r50-gc-r16 --profile mini --seed 1

      repro run coco-r50-gc-r16 --source checkpoint --data-root /data/coco

      repro run coco-r50-gc-r16 --source trained --data-root /data/coco --devices 8

      repro run coco-r50-gc-r16 --profile mini --set recipe.learning_rate=0.001

      repro run mine.py:coordinate-attention --profile mini
    """
    from repro.data.sources import SOURCES
    from repro.engine import instructions, launch
    from repro.experiments import get, is_published, own, readings
    from repro.files.locks import waiting
    from repro.files.notices import tell
    from repro.planning.full_size import refuse_to_train_for_months
    from repro.planning.work_order import order_work, refuse_options_without_effect

    settings, why = chosen.settings(seed, threads)
    (experiment,) = chosen.name_experiments([own.name_one(experiment)], settings)
    refuse_options_without_effect([get(experiment)], settings)
    os.environ.update(instructions.pin(settings.profile))  # what follows computes with them, in other processes, too
    processes = launch.find_processes(settings.devices)
    if processes.to_start:
        from repro.measuring.measure import check

        order = order_work(experiment, settings)
        refuse_to_train_for_months(order)
        check(order)
        raise typer.Exit(launch.launch(processes.count, ["-m", "repro", *sys.argv[1:]]))
    if processes.rank == 0 and not quiet:
        reading = f", reading {readings.write(settings.readings)}" if settings.readings else ""
        print(f"{experiment}: profile {settings.profile} ({why}), seed {seed}{reading}", file=sys.stderr)

    from repro.engine.distributed import collective_section
    from repro.measuring.measure import measure

    with collective_section(processes):  # what is wrong with the order is reported by one process
        order = order_work(experiment, settings)
        refuse_to_train_for_months(order)
        if processes.rank == 0 and not is_published(experiment):  # its row has them beside the metrics
            from repro import complexity

            complexity.count_experiments([get(experiment)], settings.store)
    given = describe_command()
    say = _say_nothing if quiet else tell
    with show_stages(f"{experiment}, {settings.profile}, seed {seed}", quiet=quiet) as progress:
        record = measure(order, command=given, progress=progress, say=say, keep_weights=order.attention)
        if order.attention and processes.rank == 0:
            from repro.measuring.attention import measure_attention

            with waiting(settings.wait):
                record = measure_attention(record, settings, command=given, progress=progress)
    if processes.rank > 0:
        return
    path = settings.store.directory / record.filename
    if json:
        print(record.model_dump_json(indent=1))
        return
    for metric in record.metrics:
        published = record.weights.checkpoint and record.weights.checkpoint.reported.get(metric.name)
        note = f"  published with the weights: {published}" if published else ""
        error = metric.standard_error
        interval = "" if error is None else f", {_describe_interval(metric, record.dataset)}"
        value = f"{metric.value:6.2f} {metric.unit}"
        if not metric.unit:  # a distance of attention
            value, interval = f"{metric.value:.4g}", "" if error is None else f", standard error {error:.2g}"
        print(f"{metric.name:<12} {value}  (n = {metric.n}{interval}){note}")
    data = record.dataset
    items = SOURCES[order.experiment.dataset].items
    print(f"{data.evaluated} of {data.required} {items} evaluated; {record.cost.images_per_second:.3g} {items}/s, "
          f"peak memory {record.cost.peak_memory_bytes / 2**30:.2f} GiB")  # fmt: skip
    if data.failed:
        print_line(f"could not be read: {', '.join(data.failed)}")
    for deviation in record.deviations:
        print_line(f"deviation: {deviation}")
    print_line(f"record: {path}")


def _say_nothing(text: str) -> None:
    pass


def _describe_interval(metric: Metric, data: DataSet) -> str:
    """The interval of an accuracy, in words; items that were not evaluated may all be wrong or all be right."""
    from repro.statistics.intervals import compute_interval_with_missing, compute_wilson_interval

    missing = max(0, data.required - data.evaluated)
    right = round(metric.value * metric.n / 100)
    low, high = (100 * end for end in compute_interval_with_missing(right, metric.n, missing))
    if not missing:
        return f"95 % interval {low:.2f} to {high:.2f}"
    own = [100 * end for end in compute_wilson_interval(right, metric.n)]
    return (
        f"95 % interval as evaluated (of all {data.required} only if they are missing at random) {own[0]:.2f} to "
        f"{own[1]:.2f}; whatever the missing are, with at least 95 %, {low:.2f} to {high:.2f}"
    )

"""Compares the blocks in `blocks/` with the paper's own in the mini profile: `nox -s blocks -- --seeds 3`.

Every experiment is trained with the same seeds on the same data, and what is measured already is not measured again.
The table is written to blocks-TASK.md in `tables/` of the directory of results, and printed.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rich.console import Console

from repro import complexity
from repro.errors import ReproError
from repro.experiments import get, mini, own
from repro.measuring import runner
from repro.measuring.seeds import declare_seeds
from repro.paper import COLUMNS, STATISTICS
from repro.paths import write_atomically
from repro.planning.plan import plan
from repro.records import Count
from repro.rendering.grid import NOT_RUN, Grid, Text, write_mean
from repro.rendering.tables import write_markdown_grid
from repro.settings import Settings
from repro.statistics.seeds import compute_deviation
from repro.verification.integrity import admit
from repro.verification.measurements import Measurement, collect

BLOCKS = Path(__file__).parent / "blocks"
#: The files, the names that their experiments have behind the task, and whether their blocks have an attention map for
#: each position: these are also compared where non-local blocks stand.
FILES: dict[str, tuple[tuple[str, ...], bool]] = {
    "coordinate_attention": (("coordinate",), False),
    "cbam": (("cbam",), False),
    "eca": (("eca",), False),
    "gather_excite": (("ge-minus", "ge", "ge-plus"), False),
    "double_attention": (("a2",), True),
    "criss_cross": (("criss-cross",), True),
    "disentangled_non_local": (("dnl",), True),
}


@dataclass(frozen=True)
class Task:
    """One of the paper's three tasks: with which of its rows the blocks are compared, and in which metrics."""

    where: str
    single: str  #: what the names of the blocks at the places of non-local blocks begin with
    everywhere: Mapping[str, str]  #: experiments of the paper with blocks in all of c3 to c5, and what they are called
    as_non_local: Mapping[str, str]
    baseline: str
    metrics: tuple[str, ...]


TASKS = {
    "coco": Task(
        "Table 2, Mask R-CNN with ResNet-50", "coco-1",
        {"coco-r50-snl": "SNL", "coco-r50-avg-scale": "avg+scale (SE)", "coco-r50-gc-r16": "GC, ratio 16"},
        {"coco-r50-1nl": "NL", "coco-r50-1snl": "SNL", "coco-r50-1gc": "GC, ratio 16"},
        "coco-r50-baseline", ("ap_box", "ap_mask"),
    ),
    "imagenet": Task(
        "Table 4, ResNet-50 on ImageNet", "imagenet-1",
        {"imagenet-r50-avg-scale": "avg+scale (SE)", "imagenet-r50-gc-r16": "GC, ratio 16"},
        {"imagenet-r50-1nl": "NL", "imagenet-r50-1snl": "SNL", "imagenet-r50-1gc": "GC, ratio 16"},
        "imagenet-r50-baseline", ("top1", "top5"),
    ),
    "kinetics": Task(
        "Table 5, slow-only ResNet-50 on Kinetics", "kinetics-5",
        {"kinetics-r50-gc-r4": "GC, ratio 4"},
        {"kinetics-r50-5nl": "NL", "kinetics-r50-5snl": "SNL", "kinetics-r50-5gc": "GC, ratio 4"},
        "kinetics-r50-baseline", ("top1", "top5"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One experiment of the comparison."""

    experiment: str
    label: str
    part: str  #: of the table
    has_map: bool = False  #: for each position, whose statistics are measured


def list_lines(task: str) -> list[Line]:
    """List what is compared in a task, and load the files; the baseline first, of each part the paper's own before."""
    chosen = TASKS[task]
    lines = [Line(chosen.baseline, "no block", "")]
    everywhere, as_non_local = "in all blocks of c3 to c5", "where non-local blocks stand"
    lines += [Line(name, label, everywhere) for name, label in chosen.everywhere.items()]
    lines += [Line(f"{task}-{name}", name, everywhere, has_map) for name, has_map in _list_blocks()]
    lines += [Line(name, label, as_non_local, label == "NL") for name, label in chosen.as_non_local.items()]
    lines += [Line(f"{chosen.single}-{name}", name, as_non_local, True) for name, has_map in _list_blocks() if has_map]
    for file in FILES:
        own.load(str(BLOCKS / f"{file}.py"))
    return lines


def _list_blocks() -> list[tuple[str, bool]]:
    return [(name, has_map) for names, has_map in FILES.values() for name in names]


def measure(lines: Iterable[Line], settings: Settings, seeds: int, jobs: int) -> list[str]:
    """Measure what is not measured yet, accuracy and attention; returns what failed."""
    names = {line.experiment: line.has_map for line in lines}
    steps = plan(names, settings, range(seeds), [name for name, has_map in names.items() if has_map])
    if blocked := [f"{step.experiment.name}: {step.reason}" for step in steps if step.status == "blocked"]:
        raise ReproError(blocked[0])
    declare_seeds(steps, settings, seeds)
    ready = [step for step in steps if step.status == "ready"]
    outcomes = runner.run(ready, settings, jobs, shlex.join(["python", *sys.argv]), Console(stderr=True))
    return [f"{one.step.experiment.name} seed {one.step.seed}: {one.failure}" for one in outcomes if one.failure]


def render(task: str, lines: Iterable[Line], settings: Settings, counts: Mapping[str, Count]) -> str:
    """Render the comparison as Markdown, from the records that there are.

    Args:
        counts: of the full-size networks, by experiment.
    """
    lines = list(lines)
    experiments = {line.experiment: mini.get_at_profile(line.experiment, "mini") for line in lines}
    collected, _ = collect(admit(settings.store).records, experiments, "mini")
    measured = {name: found[0] for name, found in collected.items() if found}
    metrics = TASKS[task].metrics
    columns = (*metrics, *STATISTICS)
    header = ("block", "experiment", "n", "#param", "FLOPs", "a run", *(COLUMNS[column].heading for column in columns))
    blocks = []
    for part in dict.fromkeys(line.part for line in lines):
        rows = []
        for line in (line for line in lines if line.part == part):
            found, count = measured.get(line.experiment), counts[line.experiment]
            row = [
                line.label, line.experiment, str(found.n if found else 0), f"{count.params / 1e6:.2f}M",
                f"{count.paper_flops / 2**30:.2f}G", _write_seconds(found),
                *(write_mean(_list_values(found, column)) for column in metrics),
                *(_write_statistic(found, column) if line.has_map else "" for column in STATISTICS),
            ]  # fmt: skip
            rows.append(tuple(map(Text, row)))
        blocks.append((part, write_markdown_grid(Grid(header, (tuple(rows),)))))
    tables = "\n\n".join(f"## {part[0].upper()}{part[1:]}\n\n{grid}" if part else grid for part, grid in blocks)
    return (
        f"# Blocks that others published, beside the paper's: {TASKS[task].where}, mini profile\n\n"
        "NOT comparable with the numbers of any paper: scaled-down networks on generated data, on which context is "
        "worth having by construction (docs/mini.md). Accuracy and statistics of attention are means ± standard "
        "deviations over n seeds; all seeds share the data, and what its networks start from is trained with each. "
        "Parameters and FLOPs are of the full-size networks, in the paper's convention. A run is training and "
        "evaluation, on one core of the machine that measured it. Statistics of attention are of blocks that have a "
        "map for each position; with several such blocks they are the mean over these.\n\n"
        f"{tables}\n"
    )


def _list_values(measurement: Measurement | None, column: str) -> list[float]:
    return list(measurement.values_by_seed(column).values()) if measurement else []


def _write_seconds(measurement: Measurement | None) -> str:
    if measurement is None:
        return NOT_RUN
    return f"{fmean(r.cost.train_seconds + r.cost.evaluate_seconds for r in measurement.records):.0f} s"


def _write_statistic(measurement: Measurement | None, column: str) -> str:
    """Write a mean over seeds, with their number where attention was not looked at in all networks."""
    values = _list_values(measurement, column)
    if measurement is None or not values:
        return NOT_RUN
    spread = compute_deviation(values)
    number = f" (n = {len(values)})" if len(values) != measurement.n else ""
    return f"{fmean(values):.3f}" + ("" if spread is None else f" ± {spread:.3f}") + number


def main() -> int:
    """Measure, count and render; 1 if an experiment failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--task", choices=list(TASKS), default="coco")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0..N-1 of every experiment")
    parser.add_argument("--jobs", type=int, default=0, help="processes side by side; 0: one per core")
    parser.add_argument("--only", nargs="+", metavar="EXPERIMENT", help="measure these; the others stay as they are")
    parser.add_argument("--results", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    if arguments.seeds < 0 or arguments.jobs < 0:
        parser.error("--seeds and --jobs are not negative; --seeds 0 renders what is measured")
    lines = list_lines(arguments.task)
    for name in arguments.only or ():
        get(name)
    chosen = [line for line in lines if arguments.only is None or line.experiment in arguments.only]
    settings = Settings(results=arguments.results, profile="mini")
    failed = measure(chosen, settings, arguments.seeds, arguments.jobs)
    compared = [get(line.experiment) for line in lines]
    counted = complexity.count_experiments(compared, settings.store)
    text = render(arguments.task, lines, settings, counted)
    path = arguments.results / "tables" / f"blocks-{arguments.task}.md"
    write_atomically(path, text.encode())
    print(text)
    print(f"written to {path}", file=sys.stderr)
    for one in failed:
        print(f"failed: {one}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ReproError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

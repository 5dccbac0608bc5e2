"""The tables of docs/scale.md: what the whole protocol takes, by the cost model and the timetable of `repro plan`.

python benchmarks/scale.py
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path
from statistics import geometric_mean

from repro import paper
from repro.data.guides import GUIDES
from repro.experiments import EXPERIMENTS
from repro.planning.plan import Step, plan
from repro.planning.rates import MEASURED, estimate
from repro.planning.schedule import Task, find_bounds, find_end, order_by_path, simulate
from repro.planning.storage import estimate_storage
from repro.planning.timetable import build_tasks
from repro.settings import Settings

FLOAT32 = Settings(Path("results"), "full", source="trained")
BF16 = replace(FLOAT32, precision="bf16-mixed")
PRECISIONS = {"float32": FLOAT32, "bf16": BF16}
#: Images, or clips of eight frames, that one core reads in a second. COCO: 17.6 ms an image where the rates were
#: measured; ImageNet: imagenet_input.md; Kinetics: the frames for training of the six clips of decoding.md.
READ_BY_A_CORE = {"coco": 1 / 0.0176, "imagenet": 270, "kinetics": geometric_mean([98, 24, 205, 296, 71, 93]) / 8}
TABLES = range(1, 6)


@cache
def plan_all(precision: str, seeds: int) -> tuple[Step, ...]:
    """The steps of all tables, each experiment trained here."""
    names = dict.fromkeys(name for table in TABLES for name in paper.load(table).experiments)
    return tuple(plan(names, PRECISIONS[precision], range(seeds)))


def select(steps: Iterable[Step], table: int) -> list[Step]:
    """Those of a table, with what its trainings begin with."""
    names = set(paper.load(table).experiments)
    return [step for step in steps if step.experiment.name in names or names & set(step.needed_by)]


def write_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table whose columns but the first stand to the right."""
    lines = [head, [":---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_rates() -> str:
    """Hours of one GPU for each network; those that come out alike in one row."""

    def describe(name: str) -> tuple[str, str, str, str]:
        experiment = EXPERIMENTS[name]
        found = [estimate(experiment, settings) for settings in PRECISIONS.values()]
        rule = {
            "measured": "measured",
            "authors": f"authors' iterations, against {found[0].like}",
            "FLOPs": f"FLOPs, against {found[0].like}",
            "alike": f"as {found[0].like}",
        }[found[0].rule]
        return rule, *(f"{each.hours:.1f}" for each in found), str(experiment.recipe.epochs)

    def order(name: str) -> tuple:
        return EXPERIMENTS[name].dataset, describe(name)[0], float(describe(name)[1]), list(EXPERIMENTS).index(name)

    rows = []
    for (rule, float32, bf16, epochs), alike in groupby(sorted(EXPERIMENTS, key=order), key=describe):
        first, *others = alike
        more = f" and {len(others)} more" if others else ""
        rates = [f"{rate:g}" for rate in MEASURED.get(first, {}).values()] or ["", ""]
        rows.append([f"{first}{more}", rule, *rates, epochs, float32, bf16])
    return write_table(
        ["experiments", "rate", "items/s, float32", "items/s, bf16", "epochs", "hours, float32", "hours, bf16"], rows
    )


def write_hours() -> str:
    """Hours of an H200 for each table and for all."""
    rows = []
    for title, table in [*((f"Table {n}", n) for n in TABLES), ("all, each once", None)]:
        cells = [title]
        for seeds in (1, 3):
            chosen = [plan_all(precision, seeds) for precision in PRECISIONS]
            found = [select(steps, table) if table else steps for steps in chosen]
            hours = [sum(step.seconds for step in steps) / 3600 for steps in found]
            cells += [str(len(found[0])), *(f"{each:,.0f}" for each in hours)]
        rows.append(cells)
    of_each = ["trainings", "hours, float32", "hours, bf16"]
    return write_table(["", *(f"{seeds}: {title}" for seeds in ("1 seed", "3 seeds") for title in of_each)], rows)


def write_storage() -> str:
    """Bytes of the data sets, and of what trainings leave."""
    rows = []
    for guide in (make() for make in GUIDES.values()):
        known = sum(file.size or 0 for file in guide.files)
        rest = "" if all(file.size for file in guide.files) else ", the files whose size is known"
        rows.append([f"{guide.title}{rest}", *[f"{known / 1e9:,.1f} GB"] * 2])
    found = [estimate_storage(step.experiment for step in plan_all("float32", seeds)) for seeds in (1, 3)]
    rows += [
        ["weights of all trainings", *(f"{each.weights / 1e9:.1f} GB" for each in found)],
        ["their logs", *(f"{each.logs / 1e9:.1f} GB" for each in found)],
        ["states of one training at work, at most", *(f"{each.states / 1e9:.1f} GB" for each in found)],
    ]
    return write_table(["", "1 seed", "3 seeds"], rows)


def order_as_planned(tasks: Sequence[Task]) -> list[Task]:
    """The order in which jobs were submitted before: arrays of what is alike, as the plan names the first of each."""
    arrays: dict[tuple[str, tuple[str, ...]], list[Task]] = {}
    for task in tasks:
        arrays.setdefault((task.name.partition("-")[0], task.after), []).append(task)
    return [task for array in arrays.values() for task in array]


def write_schedules(precision: str) -> str:
    """Days on 1, 8 and 64 GPUs: in the order of the plan, what begins the longest chain first, and the two bounds."""
    rows = []
    for seeds in (1, 3):
        for gpus, width in ((1, 1), (8, 1), (8, 8), (64, 1), (64, 8), (64, 16)):
            tasks = build_tasks(plan_all(precision, seeds), replace(PRECISIONS[precision], devices=width))
            bounds = find_bounds(tasks, gpus)
            ends = [find_end(simulate(order, gpus)) for order in (order_as_planned(tasks), order_by_path(tasks))]
            days = [f"{seconds / 86400:.2f}" for seconds in (bounds.chain, bounds.shared, *ends)]
            rows.append(
                [f"{seeds}", str(gpus), str(width), *days, f"{max(0.0, 100 * (ends[1] / bounds.least - 1)):.1f} %"]
            )
    head = ["seeds", "GPUs", "of each training", "longest chain", "work shared", "as planned", "longest chain first"]
    return write_table([*head, "above the bound"], rows)


def write_reading() -> str:
    """Cores that keep one GPU busy with the baseline."""
    rows = []
    for dataset, read in READ_BY_A_CORE.items():
        rates = MEASURED[f"{dataset}-r50-baseline"]
        cores = [f"{rates[precision] / read:.1f}" for precision in ("32-true", "bf16-mixed")]
        rows.append([dataset, f"{read:.0f}", f"{rates['32-true']:g}", f"{rates['bf16-mixed']:g}", *cores])
    return write_table(["", "a core reads", "a GPU takes, float32", "bf16", "cores a GPU, float32", "bf16"], rows)


def write_all() -> dict[str, str]:
    """All tables of the page, by what they show."""
    return {
        "rates": write_rates(),
        "hours": write_hours(),
        "storage": write_storage(),
        "float32": write_schedules("float32"),
        "bf16": write_schedules("bf16"),
        "reading": write_reading(),
    }


if __name__ == "__main__":
    print("\n\n".join(write_all().values()))

"""How the seeds of the mini profile's experiments scatter: a strip plot, and a line for each experiment.

    python benchmarks/mini_distribution.py RESULTS [--before RESULTS] [--table 2] [--plot docs/images/mini-seeds.svg]

RESULTS are directories with `records/`; `--before` is drawn beside, pale.
"""

from __future__ import annotations

import argparse
import statistics
from itertools import pairwise
from pathlib import Path

from repro import paper
from repro.records import Store
from repro.statistics.contrasts import estimate_scatter

METRIC = {2: "ap_box", 3: "ap_box", 4: "top1", 5: "top1"}
UNITS = {"ap_box": "box AP", "top1": "top-1 (%)"}
_SPLIT = 15.0  #: points between two runs of one experiment that lie in two modes


def read(results: Path, table: int) -> dict[str, list[float]]:
    """Values by experiment, in the order of the table and of the seeds."""
    values: dict[str, dict[int, float]] = {name: {} for name in paper.load(table).experiments}
    for record in Store(results / "records").all():
        metric = record.metric(METRIC[table])
        if record.profile == "mini" and record.experiment in values and metric:
            values[record.experiment][record.seed] = metric.value
    return {name: [of_seed[seed] for seed in sorted(of_seed)] for name, of_seed in values.items() if of_seed}


def print_lines(values: dict[str, list[float]]) -> None:
    print("| experiment | seeds | mean | sd | least | most | largest gap |\n|:---|---:|---:|---:|---:|---:|---:|")
    deviations, split = [], 0
    for name, runs in values.items():
        ordered = sorted(runs)
        gap = max((b - a for a, b in pairwise(ordered)), default=0.0)
        deviation = statistics.stdev(runs) if len(runs) > 1 else float("nan")
        deviations.append(deviation)
        split += gap > _SPLIT
        print(f"| {name} | {len(runs)} | {statistics.mean(runs):.1f} | {deviation:.2f} | {ordered[0]:.1f} | "
              f"{ordered[-1]:.1f} | {gap:.1f} |")  # fmt: skip
    print(f"\nmedian sd {statistics.median(deviations):.2f}; sd of at most 2.5: {sum(d <= 2.5 for d in deviations)} of "
          f"{len(deviations)}; split by more than {_SPLIT:g}: {split}")  # fmt: skip
    if len({len(runs) for runs in values.values()}) == 1 and all(len(runs) > 1 for runs in values.values()):
        by_seed = [statistics.mean(runs) for runs in zip(*values.values(), strict=True)]
        remainder, _ = estimate_scatter([[list(values.values())]])
        print(f"means of seeds over all experiments: sd {statistics.stdev(by_seed):.2f}; what network and seed leave: "
              f"sd {remainder**0.5:.2f}")  # fmt: skip


def draw(values: dict[str, list[float]], before: dict[str, list[float]], unit: str, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "mini", "svg.fonttype": "none", "font.family": "sans-serif"}
    from matplotlib import pyplot

    names = list(values)[::-1]
    figure, axes = pyplot.subplots(figsize=(7.5, 0.27 * len(names) + 1.1))
    for place, name in enumerate(names):
        axes.axhline(place, color="#e4e4e4", linewidth=0.6, zorder=0)
        if old := before.get(name):
            axes.plot(
                old,
                [place + 0.22] * len(old),
                "o",
                ms=4,
                mfc="none",
                mec="#b06a2c",
                label="before" if place == 0 else None,
            )
        runs = values[name]
        axes.plot(runs, [place] * len(runs), "|", ms=9, color="#1f4e79", label="now" if place == 0 else None)
    axes.set_yticks(range(len(names)), [name.partition("-")[2] for name in names], fontsize=8)
    axes.set_xlabel(f"{unit} on generated data, one mark for each seed")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if before:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--table", type=int, choices=METRIC, default=2)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    values = read(given.results, given.table)
    before = read(given.before, given.table) if given.before else {}
    if before:
        print("before:\n")
        print_lines(before)
        print("\nnow:\n")
    print_lines(values)
    if given.plot:
        draw(values, before, UNITS[METRIC[given.table]], given.plot)


if __name__ == "__main__":
    main()

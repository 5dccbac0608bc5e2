"""What pages of 2 MiB save the mini profile, as its workers have them, against the system's pages of 4 KiB.

python benchmarks/pages.py RESULTS

Whole runs of `repro run`, one thread, in turn with and without, three seeds of each experiment: seconds of the training
by its record, shared trainings not counted, and whether the weights are those of the committed record.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from repro.paths import REFERENCE
from repro.records import Record, Store

EXPERIMENTS = ("coco-r50-gc-r16", "imagenet-r50-gc-r16")
SEEDS = range(3)
PAGES = {"4 KiB": 0, "2 MiB": 1}


def run(experiment: str, seed: int, tunable: int, results: Path) -> Record:
    """The record of one training."""
    subprocess.run(
        [
            sys.executable, "-m", "repro", "run", experiment, "--profile", "mini", "--seed", str(seed), "--quiet",
            "--results", str(results),
        ],
        env=os.environ | {"GLIBC_TUNABLES": f"glibc.malloc.hugetlb={tunable}"}, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return find(results / "records", experiment, seed)


def find(records: Path, experiment: str, seed: int) -> Record:
    """The record of that training among `records`."""
    wanted = (experiment, "mini", seed)
    return next(each for each in Store(records).all() if (each.experiment, each.profile, each.seed) == wanted)


def main(results: Path) -> None:
    """Print a line for each experiment."""
    print("| a training | 4 KiB, s | 2 MiB, s | ratio | as committed |\n|:---|---:|---:|---:|---:|")
    for experiment in EXPERIMENTS:
        seconds: dict[str, list[float]] = {name: [] for name in PAGES}
        same = 0
        for seed in SEEDS:
            committed = find(REFERENCE / "records", experiment, seed)
            for name, tunable in PAGES.items():
                record = run(experiment, seed, tunable, results / name.replace(" ", ""))
                seconds[name].append(record.cost.train_seconds)
                same += record.weights.sha256 == committed.weights.sha256
        small, huge = (statistics.median(seconds[name]) for name in PAGES)
        print(f"| {experiment} | {small:.1f} | {huge:.1f} | {small / huge:.2f} | {same} of {len(SEEDS) * len(PAGES)} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

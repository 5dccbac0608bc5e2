"""How long the verbs that only read take on a store of 1000 records: whole processes, medians after a warm-up.

python benchmarks/answers.py [--records 1000] [--repeats 10]

Wall time is what a user waits for; user CPU time is what the machine does, whatever else runs on it.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from repro import paper
from repro.experiments import get
from repro.paths import TABLES
from repro.records import Cost, DataSet, Metric, Record, Store, Training, Weights, cache_key

VERBS = (
    "verify",
    "verify --table 2",
    "verify --json",
    "table 2",
    "explain 2/a/+1GC/ap_box",
    "claims",
    "status",
)


def fill(store: Store, number: int) -> None:
    """Records of every row, one seed after the other, near the print; the committed counts beside them."""
    generator = random.Random(0)
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for table in paper.load_all():
        for group in table.groups:
            for row in group.rows:
                accuracies = {cell.column: cell.value for cell in row.cells if cell.unit == "%"}
                rows.setdefault((row.experiment, group.dataset), {}).update(accuracies)
    made = 0
    while made < number:
        for (name, dataset), metrics in rows.items():
            if made == number:
                break
            near = {metric: generator.gauss(value, 0.1) for metric, value in metrics.items()}
            store.add(_record(name, dataset, near, made // len(rows)))
            made += 1
    shutil.copytree(TABLES / "reference" / "records" / "complexity", store.directory / "complexity")


def _record(name: str, dataset: str, metrics: dict[str, float], seed: int) -> Record:
    size = paper.DATASETS[dataset].size or 19906
    predictions, training = cache_key(metrics=metrics, of=name, seed=seed), cache_key(training=name, seed=seed)
    return Record(
        experiment=name,
        profile="full",
        source="trained",
        engine="torchvision",
        seed=seed,
        spec_hash=get(name).spec_hash,
        command=f"repro run {name} --seed {seed}",
        created=f"2026-01-01T00:{seed // 60:02}:{seed % 60:02}+00:00",
        deviations=["rate divided after epochs 8 and 11, not 9 and 11", "batch norm over the batch of one process"],
        metrics=[Metric(name=metric, value=value, unit="%", n=size) for metric, value in metrics.items()],
        evaluator="benchmark 1",
        predictions_sha256=predictions,
        weights=Weights(sha256=cache_key(weights=name, seed=seed), origin="trained here", initial_sha256="0" * 64),
        dataset=DataSet(
            name=dataset,
            annotations_sha256="a" * 64,
            ids_sha256="b" * 64,
            required=size,
            expected=size,
            evaluated=size,
        ),
        training=Training(
            key=training,
            iterations=100,
            recipe_iterations=100,
            effective_batch=16,
            learning_rate=0.02,
            world_size=1,
            final_loss=1.0,
        ),
        numerics={"precision": "32-true", "threads": 1, "tf32": False},
        environment={"commit": "f" * 40, "dirty": False, "torch": "2.15.0", "device": "cpu"},
        cost=Cost(train_seconds=60.0, evaluate_seconds=4.0, peak_memory_bytes=2**30, images_per_second=20.0),
        key=cache_key(predictions=predictions, evaluator="benchmark 1", training=training),
    )


def timed(arguments: list[str], repeats: int) -> list[tuple[float, float]]:
    """(wall, user) seconds of each of `repeats` processes."""
    times = []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(repeats + 1):
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime, time.perf_counter()
        process = subprocess.run(
            [sys.executable, "-m", "repro", *arguments], stdout=subprocess.DEVNULL, env=environment, check=False
        )
        wall = time.perf_counter() - begin
        if process.returncode > 1:  # 1: a cell is off, as of so many it may be
            raise SystemExit(f"repro {' '.join(arguments)} failed")
        times.append((wall, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before))
    return times[1:]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=10)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        fill(Store(Path(directory) / "records"), chosen.records)
        print("| command | median (s) | slowest (s) | user CPU, median (s) |\n|---|---:|---:|---:|")
        for verb in VERBS:
            times = timed([*verb.split(), "--results", directory], chosen.repeats)
            walls, users = zip(*times, strict=True)
            median, user = statistics.median(walls), statistics.median(users)
            print(f"| `repro {verb}` | {median:.2f} | {max(walls):.2f} | {user:.2f} |", flush=True)

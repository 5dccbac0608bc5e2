"""Cold and cached counting of all experiments against the naive way; writes benchmarks/complexity.md.

The naive way carries out a real forward pass of each complete network at full size on the CPU, traced by fvcore with
the same handles. It is timed on one network of each family, whose time stands for the others of the family. Every
timing is a process of its own: wall seconds, and CPU seconds, which other work on the machine disturbs less.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from repro.experiments import EXPERIMENTS
from repro.paths import write_atomically

#: The network that is timed, by the beginning of the names of its family; of several the longest holds.
NAIVE = {
    "coco-r50": "coco-r50-gc-r16",
    "coco-r101": "coco-r101-gc-r16",
    "coco-x101": "coco-x101-gc-r16",
    "coco-x101-cascade": "coco-x101-cascade-gc-r16",
    "coco-x101-dcn-cascade": "coco-x101-dcn-cascade-gc-r16",
    "imagenet": "imagenet-r50-gc-r16",
    "kinetics": "kinetics-r50-5gc",
}
_COUNT = """
import sys
from pathlib import Path
from repro.complexity import count_experiments
from repro.experiments import EXPERIMENTS
from repro.records import Store
store = Store(Path(sys.argv[1]) / "records")
assert len(count_experiments(EXPERIMENTS.values(), store)) == len(EXPERIMENTS)
"""
#: Wall and CPU seconds of building and tracing one complete network; checks the composed count afterwards.
_WHOLE = """
import sys, time
from repro.complexity import count, networks
from repro.complexity.trace import count_parameters
from repro.experiments import get
wall, cpu = time.perf_counter(), time.process_time()
experiment = get(sys.argv[1])
model = networks.build(experiment.network, "cpu")
found = [count(*part) for part in networks.list_traced_parts(model, experiment.network)]
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
composed = networks.count_experiment(experiment)
assert sum(part.macs for part in found) == composed.macs and count_parameters(model) == composed.params
assert sum(part.paper_flops for part in found) == composed.paper_flops
print(wall, cpu)
"""


def seconds(*command: str) -> tuple[float, float]:
    """(wall, CPU) of one Python process."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


def naive_seconds(name: str) -> tuple[float, float]:
    """(wall, CPU) of counting one network by a real forward pass, imports left out."""
    answer = subprocess.run([sys.executable, "-c", _WHOLE, name], check=True, capture_output=True, text=True)
    wall, cpu = map(float, answer.stdout.split())
    return wall, cpu


def family(name: str) -> str:
    return max((start for start in NAIVE if name.startswith(start)), key=len)


def main() -> None:
    total = len(EXPERIMENTS)
    load = os.getloadavg()[0]
    rows = {"imports alone": seconds("-c", "import repro.complexity.networks")}
    with tempfile.TemporaryDirectory() as results:
        cold = seconds("-c", _COUNT, results)
        rows[f"all {total} experiments, nothing cached, imports included"] = cold
        rows[f"all {total} experiments, cached"] = seconds("-c", _COUNT, results)
        tables = ("-m", "repro", "complexity", "--results", results)
        rows["`repro complexity` (Tables 2 to 5), cached"] = seconds(*tables)
    naive = {start: naive_seconds(name) for start, name in NAIVE.items()}
    rows |= {f"naive, {NAIVE[start]}, imports left out": took for start, took in naive.items()}
    every = [naive[family(name)] for name in EXPERIMENTS]
    wall, cpu = (sum(took[i] for took in every) + rows["imports alone"][i] for i in range(2))
    rows[f"naive, all {total}: each as long as the timed one of its family, and one import"] = (wall, cpu)
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    lines = [
        f"# Counting parameters and operations of the {total} experiments",
        "",
        f"`python benchmarks/complexity.py`, {platform.machine()}, {os.cpu_count()} cores, {threads} torch thread(s), "
        f"load average {load:.1f} before it began.",
        "",
        "| what | wall (s) | CPU (s) |",
        "| :--- | ---: | ---: |",
        *(f"| {what} | {took[0]:.1f} | {took[1]:.1f} |" for what, took in rows.items()),
        "",
        f"The naive way takes {cpu / cold[1]:.0f} times the CPU time, imports included. Where both were carried out "
        "they give the same integers (asserted).",
    ]
    text = "\n".join(lines) + "\n"
    write_atomically(Path(__file__).with_suffix(".md"), text.encode())
    print(text, end="")


if __name__ == "__main__":
    main()

"""Cold and cached counting of Table 2 against the naive way; writes benchmarks/complexity.md.

The naive way carries out a real forward pass of each complete network at full size on the CPU, traced by fvcore with
the same handles. It is timed on three of the networks. Every timing is a process of its own: wall seconds, and CPU
seconds, which other work on the machine disturbs less.
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

from repro import paper
from repro.paths import write_atomically

NAIVE = ("coco-r50-baseline", "coco-r50-1nl", "coco-r50-gc-r16")
#: Wall and CPU seconds of building and tracing one complete network; checks the composed count afterwards.
_WHOLE = """
import sys, time
import torch
from repro.complexity import count, networks
from repro.complexity.trace import parameters
from repro.experiments import get
wall, cpu = time.perf_counter(), time.process_time()
experiment = get(sys.argv[1])
with torch.device("cpu"):
    model = networks.build(experiment.network)
    found = [count(*part) for part in networks.traceable(model, experiment.network)]
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
composed = networks.count_experiment(experiment)
assert sum(part.macs for part in found) == composed.macs and parameters(model) == composed.params
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


def main() -> None:
    distinct = len(paper.load(2).experiments)
    rows = {"imports alone": seconds("-c", "import repro.complexity.networks")}
    with tempfile.TemporaryDirectory() as results:
        table = ("-m", "repro", "complexity", "--table", "2", "--results", results)
        rows["`repro complexity --table 2`, nothing cached, imports included"] = cold = seconds(*table)
        rows["the same again, cached"] = seconds(*table)
    naive = [naive_seconds(name) for name in NAIVE]
    rows |= {f"naive, {name}, imports left out": took for name, took in zip(NAIVE, naive, strict=True)}
    wall, cpu = (distinct * sum(took[i] for took in naive) / len(naive) + rows["imports alone"][i] for i in range(2))
    rows[f"naive, {distinct} networks: {distinct} times that mean, and one import"] = (wall, cpu)
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    lines = [
        "# Counting parameters and operations of Table 2",
        "",
        f"`python benchmarks/complexity.py`, {platform.machine()}, {os.cpu_count()} cores, {threads} torch thread(s), "
        f"load average {os.getloadavg()[0]:.1f}. {distinct} distinct networks at 3 x 800 x 1344.",
        "",
        "| what | wall (s) | CPU (s) |",
        "| :--- | ---: | ---: |",
        *(f"| {what} | {took[0]:.1f} | {took[1]:.1f} |" for what, took in rows.items()),
        "",
        f"The naive way takes {cpu / cold[1]:.0f} times the CPU time, imports included, and gives the same integers "
        "(asserted).",
    ]
    text = "\n".join(lines) + "\n"
    write_atomically(Path(__file__).with_suffix(".md"), text.encode())
    print(text, end="")


if __name__ == "__main__":
    main()

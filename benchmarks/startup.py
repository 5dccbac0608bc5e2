"""How long the command line takes to answer, as a user waits for it: whole processes, median of ten after a warm-up.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

VERBS = ("--help", "list", "cells --json", "plan --table 2", "verify --table 2", "table 2")


def seconds(arguments: list[str], repeats: int = 10) -> list[float]:
    """Wall seconds of each of `repeats` runs."""
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "repro", *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - begin)
    return times[1:]


if __name__ == "__main__":
    print("| command | median (s) | slowest (s) |\n|---|---:|---:|")
    for verb in VERBS:
        times = seconds(verb.split())
        print(f"| `repro {verb}` | {statistics.median(times):.2f} | {max(times):.2f} |")

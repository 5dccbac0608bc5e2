"""Mean Jensen-Shannon divergence over all pairs: the exact evaluation, scipy's and ours, side by side on one thread.

Run with `python benchmarks/attention.py`, some minutes; it prints a Markdown table. Seconds are CPU seconds of the
process. What would take minutes or hours is timed on as many pairs as take some seconds and multiplied by the number of
pairs, which the table says.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from scipy.spatial.distance import jensenshannon, pdist

from repro.analysis.divergence import cosine, jensen_shannon
from repro.experiments import NonLocal
from repro.models.context import build

Value = TypeVar("Value")


def made(n: int) -> torch.Tensor:
    """Rows as different as those of a network: softmax of standard normal logits, float32."""
    return torch.randn(n, n, generator=torch.Generator().manual_seed(0)).softmax(1)


def exact(values: torch.Tensor, some: int) -> tuple[float, int]:
    """Sum over pairs i < j, and their number, for i in the first `some` rows: float64, a block of rows at a time.

    The divergence is the entropy of the mean less the mean of the entropies: one logarithm for a pair and a key.
    """
    negative = (values * values.log()).sum(1)
    total, pairs = 0.0, 0
    for i in range(some):
        for block, entropies in zip(values[i + 1 :].split(64), negative[i + 1 :].split(64), strict=True):
            middle = (values[i] + block).div_(2)
            total += float(((negative[i] + entropies) / 2 - middle.mul_(middle.log()).sum(1)).sum())
            pairs += len(block)
    return total, pairs


def naive(values: torch.Tensor, some: int) -> tuple[float, int]:
    """The same by the paper's formula, a row against all others at a time: two logarithms for a pair and a key."""
    total, pairs = 0.0, 0
    for i in range(some):
        x, y = values[i : i + 1], values[i + 1 :]
        total += float((x * (2 * x / (x + y)).log() + y * (2 * y / (x + y)).log()).sum()) / 2
        pairs += len(y)
    return total, pairs


def scipys(values: torch.Tensor, some: int) -> tuple[float, int]:
    distances = pdist(values[:some].numpy(), "jensenshannon")
    return float((distances**2).sum()), len(distances)


METHODS = {
    "exact, blocked, float64": exact,
    "the formula, row by row, float64": naive,
    "scipy.spatial.distance.pdist": scipys,
}


def timed(call: Callable[[], Value], repeats: int = 1) -> tuple[Value, float]:
    """The value and the least CPU seconds of so many calls."""
    best = float("inf")
    for _ in range(repeats):
        begin = time.process_time()
        value = call()
        best = min(best, time.process_time() - begin)
    return value, best


def sizes() -> Iterator[str]:
    """Rows of the table: N, method, value, seconds, how many times as long as ours."""
    for n, rows_of in ((1000, (1000, 200, 1000)), (4200, (40, 10, 300))):
        rows = made(n)
        value, ours = timed(lambda rows=rows: jensen_shannon(rows.split(256)), repeats=3)
        yield f"| {n} | ours, float32 | {value:.9f} | {ours:.2f} | |"
        wide = rows.double()
        wide /= wide.sum(1, keepdim=True)
        value, seconds = timed(lambda wide=wide: jensen_shannon(wide.split(256)))
        yield f"| {n} | ours, float64 | {value:.9f} | {seconds:.2f} | |"
        every = n * (n - 1) // 2
        for (name, method), some in zip(METHODS.items(), rows_of, strict=True):
            (total, pairs), part = timed(lambda method=method, wide=wide, some=some: method(wide, some))
            seconds = part * every / pairs
            value = f"{2 * total / n**2:.9f}" if pairs == every else "-"
            note = "" if pairs == every else f" ({pairs} of {every} pairs timed)"
            yield f"| {n} | {name} | {value} | {seconds:.1f}{note} | {seconds / ours:.0f} |"


def check() -> str:
    """The exact evaluation against scipy on pairs, so that the table compares with the right thing."""
    few = made(1000)[:40].double()
    few /= few.sum(1, keepdim=True)
    pairs = np.mean([jensenshannon(a, b) ** 2 for a in few.numpy() for b in few.numpy()])
    return f"exact / scipy - 1 on 40 rows: {2 * exact(few, 40)[0] / 1600 / pairs - 1:.1e}"


def resident() -> str:
    """Peak memory over what is resident when the rows are there, in a process of its own; rows whole and streamed."""
    program = (
        "import resource, sys, torch\n"
        "torch.set_num_threads(1)\n"
        "sys.path.insert(0, 'benchmarks')\n"
        "from attention import Streamed, made\n"
        "from repro.analysis.divergence import jensen_shannon\n"
        "rows = Streamed(4200) if sys.argv[1] == 'streamed' else made(4200).split(256)\n"
        "warm = jensen_shannon(made(100).split(10))\n"
        "open('/proc/self/clear_refs', 'w').write('5')\n"
        "status = lambda key: next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith(key))\n"
        "before = status('VmRSS')\n"
        "jensen_shannon(rows)\n"
        "print((status('VmHWM') - before) / 1024)\n"
    )
    shown = []
    for kind in ("whole", "streamed"):
        run = subprocess.run([sys.executable, "-c", program, kind], capture_output=True, text=True, check=True)
        shown.append(f"{float(run.stdout):.1f} MiB {'on top of the whole map' if kind == 'whole' else 'rows streamed'}")
    return f"peak resident memory at N = 4200: {', '.join(shown)}"


class Streamed:
    """Rows of a Gaussian block over 4200 positions, made when they are asked for."""

    def __init__(self, n: int) -> None:
        torch.manual_seed(0)
        self.block = build(NonLocal("embedded_gaussian", subsample=False), 64)
        self.x = torch.randn(1, 64, 50, n // 50)

    @torch.no_grad()
    def __iter__(self) -> Iterator[torch.Tensor]:
        for rows in self.block.attention_rows(self.x):
            yield rows[0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("| N = K | method | value | s | times ours |")
    print("| ---: | :--- | ---: | ---: | ---: |")
    for line in sizes():
        print(line, flush=True)
    print()
    print(check())
    rows = made(4200)
    print(f"cosine distance of 4200 rows of 4200: {timed(lambda: cosine(rows.split(256)).mean, 3)[1]:.2f} s")
    print(resident())

"""The mean divergence over all pairs of rows of attention maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import torch

from gpu_sections.run import BenchmarkRun, Calls
from repro import kernels
from repro.analysis import divergence
from repro.analysis.attention import choose_row_count


def measure_divergence(run: BenchmarkRun) -> None:
    """Mean divergence over all pairs of rows, N = K = 4200."""
    n = 100 if run.small else 4200
    rows = torch.randn(n, n, generator=torch.Generator().manual_seed(0)).softmax(1)
    here = rows.to(run.device)
    value = divergence.jensen_shannon([rows])
    rows_at_once = choose_row_count(torch.empty(1, 1, n, device="meta"))

    def measure(size: int) -> float:
        return divergence.jensen_shannon(here.split(size))

    @contextmanager
    def use_tile(tile: tuple[int, int]) -> Iterator[None]:
        tiles = mock.patch.object(divergence, "_LARGE_TILE", tile)
        with tiles, mock.patch.object(kernels, "can_run_on", return_value=False):
            yield

    def make_old(tile: tuple[int, int], size: int) -> Callable[[], float]:
        def called() -> float:
            with use_tile(tile):
                return measure(size)

        return called

    calls: Calls = {
        "tile 64 x 1024, before": make_old((64, 1024), 256),
        "large tile, no kernel, rows in 256": make_old((4096, 8192), 256),
        "large tile, no kernel, whole map": make_old((4200, 8192), n),
        "rows in 256": lambda: measure(256),
        "as `repro analyze` makes them": lambda: measure(rows_at_once),
        "whole map": lambda: measure(n),
    }
    medians = run.compare(calls, seconds=8, repeats=15)
    first = next(iter(medians.values()))
    run.say("| what | ms | times as fast | value / CPU's - 1 | peak MiB |")
    run.say("| :--- | ---: | ---: | ---: | ---: |")
    for name, took in medians.items():
        if run.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        resident = torch.cuda.memory_allocated() if run.device.type == "cuda" else 0
        off = float(calls[name]()) / value - 1
        peak = (torch.cuda.max_memory_allocated() - resident) / 2**20 if run.device.type == "cuda" else float("nan")
        run.say(f"| {name} | {1e3 * took:.2f} | {first / took:.1f} | {off:.1e} | {peak:.0f} |")
    run.note("divergence", medians)

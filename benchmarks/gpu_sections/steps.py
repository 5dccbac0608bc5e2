"""Training steps, and rows of tables of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from gpu_sections.run import BenchmarkRun, Calls


def build_step(
    run: BenchmarkRun, model: nn.Module, loss: Callable[[], Tensor], dtype: torch.dtype
) -> Callable[[], None]:
    """One training step: gradients from nothing, the loss, its derivative, SGD with momentum."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        mixed = torch.autocast(run.device.type, dtype=dtype) if dtype != torch.float32 else nullcontext()
        with mixed:
            value = loss()
        value.backward()
        optimizer.step()

    return step


def print_steps(run: BenchmarkRun, key: str, calls: Calls, items: int, seconds: float, base: str = "baseline") -> None:
    medians = run.compare(calls, seconds)
    hosts = {name: run.measure_host(call) for name, call in calls.items()}
    for name, took in medians.items():
        figures = f"{1e3 * took:.1f} | {1e3 * hosts[name]:.1f} | {items / took:.1f} | {medians[base] / took:.3f}"
        run.say(f"| {key} | {name} | {figures} |")
    run.note(key, medians)
    run.note(f"{key}, host", hosts)


def print_head(run: BenchmarkRun, unit: str, base: str) -> None:
    run.say(f"| what | network | ms a step | ms of the host | {unit} | throughput / {base}'s |")
    run.say("| :--- | :--- | ---: | ---: | ---: | ---: |")

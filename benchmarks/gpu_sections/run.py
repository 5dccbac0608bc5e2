"""One run of the program: its clock, its output, and the ways in which a context block may compute."""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

from repro import kernels
from repro.models import context, fused

LAYOUTS = {
    "NCHW": {4: torch.contiguous_format, 5: torch.contiguous_format},
    "channels last": {4: torch.channels_last, 5: torch.channels_last_3d},
}
NAMES = {torch.float32: "float32", torch.bfloat16: "bf16"}
Calls = dict[str, Callable[[], object]]


@dataclass
class BenchmarkRun:
    """One run of this program: where, how long, and what it measured."""

    device: torch.device
    small: bool
    deadline: float
    output: Path | None
    numbers: dict[str, object] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def say(self, line: str = "") -> None:
        print(line, flush=True)
        self.lines.append(line)

    def note(self, key: str, value: object) -> None:
        self.numbers[key] = value
        if self.output:
            (self.output / "gpu.txt").write_text("\n".join(self.lines) + "\n")
            (self.output / "gpu.json").write_text(json.dumps(self.numbers, indent=1) + "\n")

    def random(self, *shape: int, seed: int = 0) -> Tensor:
        return torch.randn(shape, generator=torch.Generator(self.device).manual_seed(seed), device=self.device)

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def empty_cache(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def measure_host(self, call: Callable[[], object], repeats: int = 7) -> float:
        """Seconds until a call returns, with its last launch queued: where that is all of a step, the GPU waits."""
        took = []
        for _ in range(repeats):
            self.synchronize()
            begin = time.perf_counter()
            call()
            took.append(time.perf_counter() - begin)
        self.synchronize()
        return statistics.median(took)

    def compare(self, calls: Calls, seconds: float, inner: int = 1, repeats: int = 30) -> dict[str, float]:
        """Median seconds of each call: rounds in which all take turns, `inner` times each, for so long in all."""
        if self.small:
            inner, repeats = 1, 1
        for call in calls.values():
            for _ in range(1 if self.small else 2):
                call()
        self.synchronize()
        end = min(time.monotonic() + seconds, self.deadline)
        measured: dict[str, list[float]] = {name: [] for name in calls}
        for number in range(repeats):
            if number >= 3 and time.monotonic() > end:
                break
            for name, call in calls.items():
                begin = time.perf_counter()
                for _ in range(inner):
                    call()
                self.synchronize()
                measured[name].append((time.perf_counter() - begin) / inner)
        return {name: statistics.median(times) for name, times in measured.items()}


@contextmanager
def keep_additions_separate() -> Iterator[None]:
    """The residual block's addition and ReLU not in one pass with the context block's."""

    def forward_residual(block: context.GlobalContextBlock, x: Tensor, shortcut: Tensor) -> Tensor:
        return (block(x) + shortcut).relu_()

    with mock.patch.object(context.GlobalContextBlock, "forward_residual", forward_residual):
        yield


def make_before(call: Callable[[], object]) -> Callable[[], object]:
    """`call`, its context blocks by ordinary autograd, contexts transformed by convolutions under autocast."""
    forced = make_forced("autograd", call)

    def called() -> object:
        with mock.patch.object(
            context.GlobalContextBlock, "_transform", lambda block, pooled, _: block._layers(pooled)
        ):
            return forced()

    return called


def make_forced(path: fused.Implementation, call: Callable[[], object]) -> Callable[[], object]:
    def called() -> object:
        with fused.force_implementation(path):
            return call()

    return called


def make_after(run: BenchmarkRun, call: Callable[[], object]) -> Callable[[], object]:
    """`call`, its context blocks as the code chooses on a GPU."""
    return call if run.device.type == "cuda" else make_forced(choose_best(run), call)


def choose_best(run: BenchmarkRun) -> fused.Implementation:
    """What the code chooses on a GPU; on a CPU the same, if Triton's interpreter is there."""
    return "triton" if kernels.can_run_on(run.device) else "functions"


def make_separate(call: Callable[[], object]) -> Callable[[], object]:
    def called() -> object:
        with keep_additions_separate():
            return call()

    return called

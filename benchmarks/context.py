"""A GC block on the CPU, forward and backward: ordinary autograd, the function of few passes, and timm's block.

Run with `python benchmarks/context.py`, a minute; it prints a Markdown table. One thread, float32; medians of 20 in CPU
milliseconds, the three taking turns. The CPU uses ordinary autograd unless told otherwise, so that its bits stay.
"""

from __future__ import annotations

import statistics
import time

import torch
from timm.layers import GlobalContext
from torch import nn

from repro.experiments import GC
from repro.models import context, fused

SHAPES = ((2, 512, 100, 168), (2, 1024, 50, 84), (2, 2048, 25, 42), (8, 512, 28, 28))
LAYOUTS = {"NCHW": torch.contiguous_format, "channels last": torch.channels_last}
REPEATS = 20


def measure_milliseconds(
    block: nn.Module, x: torch.Tensor, g: torch.Tensor, implementation: fused.Implementation
) -> float:
    begin = time.process_time()
    with fused.force_implementation(implementation):
        torch.autograd.grad(block(x), [x, *block.parameters()], g)
    return 1e3 * (time.process_time() - begin)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| shape | layout | autograd ms | few passes ms | timm ms | autograd / few | timm / few |")
    print("| :--- | :--- | ---: | ---: | ---: | ---: | ---: |")
    for shape in SHAPES:
        ours = context.build(GC, shape[1])
        peer = GlobalContext(shape[1], fuse_add=True, fuse_scale=False, rd_ratio=1 / 16)
        for layout, memory_format in LAYOUTS.items():
            x = torch.randn(shape).contiguous(memory_format=memory_format).requires_grad_()
            g = torch.randn_like(x)
            ways = ((ours, "autograd"), (ours, "functions"), (peer, "autograd"))
            rounds = [[measure_milliseconds(block, x, g, way) for block, way in ways] for _ in range(REPEATS + 2)][2:]
            plain, few, timm = (statistics.median(times) for times in zip(*rounds, strict=True))
            size = "x".join(map(str, shape))
            print(
                f"| {size} | {layout} | {plain:.1f} | {few:.1f} | {timm:.1f} | {plain / few:.2f} | {timm / few:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

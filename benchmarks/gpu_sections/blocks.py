"""Context blocks alone: agreement with float64, time, and launch settings of their kernels."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from gpu_sections.run import LAYOUTS, NAMES, BenchmarkRun, make_forced
from repro import kernels
from repro.experiments import GC, SE, SNL, GlobalContext
from repro.models import context, fused


def make_block(
    spec: GlobalContext, channels: int, dimensions: int, device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """A block whose every parameter is random and as large as trained ones are."""
    block = context.build(spec, channels, dimensions)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in block.parameters():
            scale = parameter[0].numel() ** -0.5 if parameter.dim() > 3 else 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return block.to(device, dtype)


def evaluate(block: nn.Module, x: Tensor, shortcut: Tensor, weights: Tensor, tail: bool) -> dict[str, Tensor]:
    """The result and all gradients, on the CPU in float64."""
    x, shortcut = x.clone().requires_grad_(), shortcut.clone().requires_grad_()
    y = block.forward_residual(x, shortcut) if tail else block(x)
    sources = {"x": x, **({"shortcut": shortcut} if tail else {}), **dict(block.named_parameters())}
    gradients = torch.autograd.grad(y, list(sources.values()), weights.to(y.dtype))
    results = {"y": y, **dict(zip(sources, gradients, strict=True))}
    results.pop("conv_mask.bias", None)  # nothing but rounding
    return {name: value.detach().cpu().double() for name, value in results.items()}


def measure_agreement(run: BenchmarkRun) -> None:
    """Largest relative error, |difference| / |value|, against ordinary autograd in float64 on the CPU."""
    shapes = [(2, 64, 20, 28), (2, 256, 13, 21), (3, 2048, 7, 7), (2, 64, 4, 14, 14)]
    run.say("| block | shape | layout | dtype | path | y | x | others |")
    run.say("| :--- | :--- | :--- | :--- | :--- | ---: | ---: | ---: |")
    cpu = torch.device("cpu")
    specs = {
        "GC": replace(GC, ratio=4),
        "SNL": SNL,
        "SE": replace(SE, ratio=4),
        "att, scale": replace(GC, fusion="scale"),
    }
    specs["avg, add"] = replace(GC, pooling="avg")
    for name, spec in specs.items():
        for shape in shapes[: 1 if run.small or name != "GC" else None]:
            x, shortcut, weights = (run.random(*shape, seed=seed).cpu().double() for seed in range(3))
            dimensions = len(shape) - 2
            for tail in (False, True) if shape is shapes[0] else (True,):
                with fused.force_implementation("autograd"):
                    block = make_block(spec, shape[1], dimensions, cpu, torch.float64)
                    expected = evaluate(block, x, shortcut, weights, tail)
                for layout, formats in LAYOUTS.items():
                    for dtype, label in NAMES.items() if shape is shapes[0] else [(torch.float32, "float32")]:
                        block = make_block(spec, shape[1], dimensions, run.device, dtype)
                        inputs = [
                            one.to(run.device, dtype).contiguous(memory_format=formats[len(shape)])
                            for one in (x, shortcut, weights)
                        ]
                        for path in ("autograd", "functions", "triton"):
                            if path == "triton" and not kernels.can_run_on(run.device):
                                continue
                            with fused.force_implementation(path):
                                results = evaluate(block, *inputs, tail)
                            errors = {
                                key: float((results[key] - value).norm() / value.norm())
                                for key, value in expected.items()
                            }
                            others = max(error for key, error in errors.items() if key not in ("y", "x"))
                            row = (errors["y"], errors["x"], others)
                            what = f"{name}{', ReLU(z + shortcut)' if tail else ''}"
                            run.note(f"agreement/{what}/{shape}/{layout}/{label}/{path}", row)
                            shown = " | ".join(f"{error:.1e}" for error in row)
                            bad = dtype == torch.float32 and not max(row) <= 1e-5
                            size = "x".join(map(str, shape))
                            if bad or (name == "GC" and tail):
                                wrong = " **over 1e-5**" if bad else ""
                                run.say(f"| {what} | {size} | {layout} | {label} | {path} | {shown} |{wrong}")


def list_block_shapes(run: BenchmarkRun) -> list[tuple[int, ...]]:
    if run.small:
        return [(2, 32, 6, 8)]
    return [
        (16, 512, 100, 168), (16, 1024, 50, 84), (16, 2048, 25, 42),  # a detector's
        (256, 256, 56, 56), (256, 512, 28, 28), (256, 1024, 14, 14), (256, 2048, 7, 7),  # a classifier's
    ]  # fmt: skip


def measure_block(run: BenchmarkRun) -> None:
    """Milliseconds forward and backward of one GC block alone, by each path."""
    run.say("Forward and backward; a pass is a read or a write of the map, as fast as an addition of two maps does it.")
    run.say()
    run.say("| shape | layout | dtype | autograd ms | functions ms | Triton ms | nine passes ms | seven passes ms |")
    run.say("| :--- | :--- | :--- | ---: | ---: | ---: | ---: | ---: |")
    for shape in list_block_shapes(run):
        for dtype, label in NAMES.items():
            for layout, formats in LAYOUTS.items():
                if run.left < 30 or (shape[0] == 256 and layout == "NCHW" and shape[1] != 512):
                    continue
                x = run.random(*shape).to(dtype).contiguous(memory_format=formats[4]).requires_grad_()
                g, z = torch.randn_like(x), torch.empty_like(x)
                module = make_block(GC, shape[1], 2, run.device, dtype)
                parameters = [x, *module.parameters()]

                def step(
                    module: nn.Module = module, parameters: list = parameters, x: Tensor = x, g: Tensor = g
                ) -> None:
                    torch.autograd.grad(module(x), parameters, g)

                paths = ["autograd", "functions", *(["triton"] if kernels.can_run_on(run.device) else [])]
                calls = {path: make_forced(path, step) for path in paths}
                values = x.detach()
                calls["addition"] = lambda x=values, g=g, z=z: torch.add(x, g, out=z)
                medians = run.compare(calls, seconds=0.6, inner=5, repeats=20)
                size = "x".join(map(str, shape))
                run.note(f"block/{size}/{layout}/{label}", medians)
                each = medians["addition"] / 3
                times = (
                    *(medians.get(path, float("nan")) for path in ("autograd", "functions", "triton")),
                    9 * each,
                    7 * each,
                )
                run.say(f"| {size} | {layout} | {label} | {' | '.join(f'{1e3 * one:.3f}' for one in times)} |")
        run.empty_cache()


#: (tile, warps)
CANDIDATES = ((4096, 4), (4096, 8), (8192, 4), (8192, 8), (16384, 8), (16384, 16))


def tune(run: BenchmarkRun) -> None:
    """Milliseconds of the pooling kernels by (tile, warps); the rest of the run uses the best of each column."""
    if not kernels.can_run_on(run.device):
        run.say("without Triton there is nothing to choose")
        return
    from repro.kernels import context as context_kernels

    detector, classifier = [(16, 512, 100, 168)], [(256, 512, 28, 28), (256, 1024, 14, 14), (256, 2048, 7, 7)]
    if run.small:
        detector = classifier = [(2, 32, 6, 8)]
    work = [
        (torch.bfloat16, True, classifier),
        (torch.bfloat16, False, detector),
        (torch.float32, True, classifier[:1]),
    ]
    counts = {512: 4, 1024: 6, 2048: 3}  # of blocks in a ResNet-50
    for dtype, last, shapes in work:
        totals: dict[str, dict[tuple[int, int], float]] = {"forward": {}, "backward": {}}
        for shape in shapes:
            x = run.random(*shape).to(dtype).contiguous(memory_format=LAYOUTS["channels last" if last else "NCHW"][4])
            g = torch.randn_like(x)
            w = run.random(shape[1]) * shape[1] ** -0.5
            at = context_kernels.MapLayout.read(x)
            out, *kept = context_kernels.pool(x, w)
            for tile, warps in CANDIDATES[:1] if run.small else CANDIDATES:
                if run.left < 60 and not run.small:
                    return
                launch = context_kernels.Launch.plan(at, tile, warps)
                calls = {
                    "forward": lambda x=x, w=w, launch=launch: context_kernels.pool(x, w, launch),
                    "backward": lambda x=x, w=w, kept=kept, out=out, g=g, launch=launch: context_kernels.pool_backward(
                        x, w, *kept, out, g, launch=launch
                    ),
                }
                for direction, call in calls.items():
                    try:
                        took = run.compare({direction: call}, seconds=0.2, inner=10, repeats=7)[direction]
                    except Exception as error:  # registers, shared memory
                        run.say(f"{direction} {shape} {tile} {warps}: {type(error).__name__}: {str(error)[:100]}")
                        took = float("inf")
                    total = totals[direction]
                    total[tile, warps] = total.get((tile, warps), 0.0) + counts.get(shape[1], 1) * took
        for direction, total in totals.items():
            chosen = min(total, key=total.__getitem__)
            table = context_kernels.FORWARD if direction == "forward" else context_kernels.BACKWARD
            table[dtype.itemsize, last] = chosen
            shown = ", ".join(f"{key}: {1e3 * value:.3f}" for key, value in total.items())
            run.note(f"tune/{NAMES[dtype]}/{'channels last' if last else 'NCHW'}/{direction}", shown)
            run.say(f"{NAMES[dtype]}, {'channels last' if last else 'NCHW'}, {direction}: {shown}; best {chosen}")
        run.empty_cache()

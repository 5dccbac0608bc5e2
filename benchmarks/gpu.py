"""What context blocks and the divergence cost on a GPU: before and after, side by side in one run.

    python benchmarks/gpu.py [--minutes 8] [--only SECTION ...] [--output DIRECTORY]

Images, boxes and weights are random with a fixed seed. Every number is a median; the variants of a comparison take
turns, after two calls each that do not count. A section that fails says so and the next one begins; one for which no
time is left is left out. `--output` gets what is printed, gpu.txt, and the numbers, gpu.json, as they come.

`--device cpu --small` executes everything on tiny shapes, without a GPU, to see that it runs; with
TRITON_INTERPRET=1 in the environment the kernels, too.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from repro import kernels
from repro.analysis import divergence
from repro.analysis.attention import choose_row_count
from repro.data import gpu_decoding
from repro.data.coco import DetectionSample, compute_resized_size, resize_picture
from repro.data.imagenet import ImageNet
from repro.data.pictures import decode_image
from repro.data.synsets import WNIDS
from repro.detection.grouping import LossGroups
from repro.detection.roi import Instances, RoIHeads
from repro.detection.torchvision import MaskRCNN
from repro.engine import graphs
from repro.engine.arithmetic import choose_tf32
from repro.engine.devices import convert_memory_format
from repro.engine.distributed import build_fabric
from repro.engine.launch import Processes
from repro.engine.passes import Batch, EagerPasses, Passes
from repro.experiments import GC, SE, SNL, GlobalContext, get
from repro.models import context, fused
from repro.models.resnet import ResNet
from repro.settings import Precision
from repro.tasks.detection import DetectorEvaluation

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


# -- Agreement -------------------------------------------------------------------------------------------------------


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


# -- One block -------------------------------------------------------------------------------------------------------


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


# -- Training steps --------------------------------------------------------------------------------------------------


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


def build_classifier_step(
    run: BenchmarkRun, name: str, shape: tuple[int, ...], dtype: torch.dtype, backend: str | None = None
) -> Callable[[], None]:
    """`backend`: of torch.compile, if it is to be compiled."""
    network = get(name).classifier
    torch.manual_seed(0)
    if run.small:
        network = replace(network, backbone=replace(network.backbone, width=16), num_classes=8)
    memory_format = LAYOUTS["channels last"][len(shape)]
    model = ResNet(network.backbone, network.num_classes).to(run.device)
    convert_memory_format(model, memory_format)
    if backend:
        model.compile(backend=backend)
    images = run.random(*shape).contiguous(memory_format=memory_format)
    labels = torch.arange(shape[0], device=run.device) % network.num_classes
    return build_step(run, model, lambda: nn.functional.cross_entropy(model(images).float(), labels), dtype)


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


def measure_imagenet(run: BenchmarkRun) -> None:
    """Training steps of ResNet-50, batch 256, channels last."""
    batch, side = (2, 32) if run.small else (256, 224)
    shape = batch, 3, side, side
    print_head(run, "images/s", "baseline")
    for dtype, label in reversed(NAMES.items()):
        if run.left < 30:
            return
        names = ("baseline", "gc-r16", "1nl")
        steps = {name: build_classifier_step(run, f"imagenet-r50-{name}", shape, dtype) for name in names}
        gc_step = steps["gc-r16"]
        calls: Calls = {
            "baseline": steps["baseline"],
            "all GC r16, before": make_before(gc_step),
            "all GC r16": make_after(run, gc_step),
            "all GC r16, Triton for every map": make_forced(choose_best(run), gc_step),
            "all GC r16, additions apart": make_separate(make_after(run, gc_step)),
        }
        calls["all GC r16, functions"] = make_forced("functions", gc_step)
        calls["+1 NL"] = steps["1nl"]
        print_steps(run, f"ImageNet, batch {batch}, {label}", calls, batch, seconds=12)
        run.empty_cache()


@dataclass
class Labelled:
    """A batch as recorded passes take it."""

    images: Tensor
    labels: Tensor


class Loss(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Labelled) -> dict[str, Tensor]:
        return {"loss": nn.functional.cross_entropy(self.network(batch.images).float(), batch.labels)}


def build_passes_step(run: BenchmarkRun, name: str, batch: int, passes: int, replayed: bool) -> Callable[[], None]:
    """A step of a training in bf16 as `repro run` has it: so many passes, one update, and a wait for the loss."""
    network = get(name).classifier
    torch.manual_seed(0)
    if run.small:
        network = replace(network, backbone=replace(network.backbone, width=16), num_classes=8)
    model = Loss(ResNet(network.backbone, network.num_classes)).to(run.device).train()
    convert_memory_format(model, torch.channels_last)
    side = 32 if run.small else 224
    images = run.random(batch // passes, 3, side, side).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(len(images), device=run.device) % network.num_classes
    parts: Batch = [(Labelled(images, labels), 1 / passes)] * passes
    fabric = build_fabric(Processes(1, 1), run.device.type, "bf16-mixed")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    if replayed:
        computed: Passes = graphs.GraphedPasses(fabric, model)
    else:
        computed = EagerPasses(fabric, fabric.setup_module(model))

    def step() -> None:
        optimizer.zero_grad()
        computed.accumulate(parts)
        optimizer.step()

    return step


def measure_graphs(run: BenchmarkRun) -> None:
    """Training steps of ResNet-50, bf16, channels last, passes one by one and replayed as CUDA graphs."""
    divisions = [(4, 2)] if run.small else [(256, 1), (512, 8), (64, 1)]
    without = mock.patch.object(graphs, "capture", lambda compute, device: compute)  # a CPU has none
    print_head(run, "images/s", "baseline")
    for batch, passes in divisions:
        if run.left < 45:
            run.say("no time left")
            return
        with without if run.device.type == "cpu" else nullcontext():
            steps = {
                (name, replayed): build_passes_step(run, f"imagenet-r50-{name}", batch, passes, replayed)
                for name in ("baseline", "gc-r16")
                for replayed in (False, True)
            }
            calls: Calls = {
                "baseline": steps["baseline", False],
                "all GC r16": steps["gc-r16", False],
                "baseline, replayed": steps["baseline", True],
                "all GC r16, replayed": steps["gc-r16", True],
            }
            print_steps(run, f"{batch} images in {passes} {'pass' if passes == 1 else 'passes'}", calls, batch, 10)
        del steps, calls
        run.empty_cache()


def measure_kinetics(run: BenchmarkRun) -> None:
    """Training steps of the slow-only R50 on 16 clips, bf16, channels last."""
    shape = (1, 3, 4, 32, 32) if run.small else (16, 3, 8, 224, 224)
    print_head(run, "clips/s", "baseline")
    steps = {
        n: build_classifier_step(run, f"kinetics-r50-{n}", shape, torch.bfloat16) for n in ("baseline", "gc-r4", "5gc")
    }
    calls: Calls = {"baseline": steps["baseline"]}
    for name in ("gc-r4", "5gc"):
        calls[f"{name}, before"] = make_before(steps[name])
        calls[name] = make_after(run, steps[name])
        calls[f"{name}, Triton for every map"] = make_forced(choose_best(run), steps[name])
        calls[f"{name}, functions"] = make_forced("functions", steps[name])
    print_steps(run, f"Kinetics, {shape[0]} clips, bf16", calls, shape[0], seconds=10)


def make_photographs(run: BenchmarkRun, batch: int, height: int, width: int) -> list[DetectionSample]:
    """Noise with eight boxes an image, their masks ellipses."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for number in range(batch):
        image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
        size = torch.rand(8, 2, generator=generator) * 0.4 + 0.05
        start = torch.rand(8, 2, generator=generator) * (1 - size)
        boxes = torch.cat([start, start + size], dim=1) * torch.tensor([width, height, width, height])
        x, y = torch.arange(width) + 0.5, torch.arange(height)[:, None] + 0.5
        masks = torch.stack([
            (((x - (x1 + x2) / 2) / ((x2 - x1) / 2)) ** 2 + ((y - (y1 + y2) / 2) / ((y2 - y1) / 2)) ** 2 <= 1).byte()
            for x1, y1, x2, y2 in boxes
        ])  # fmt: skip
        labels = torch.randint(0, 80, (8,), generator=generator)
        moved = (one.to(run.device) for one in (image, boxes, labels, masks))
        image, boxes, labels, masks = moved
        samples.append(DetectionSample(image, number, (height, width), boxes, labels, masks))
    return samples


def build_stock(samples: list[DetectionSample], side: tuple[int, int]) -> nn.Module:
    """torchvision's own Mask R-CNN as it is fine-tuned: frozen norms, three trained stages."""
    from torchvision.models import resnet50
    from torchvision.models.detection import MaskRCNN as Stock
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
    from torchvision.ops import FrozenBatchNorm2d

    torch.manual_seed(0)
    backbone = resnet50(norm_layer=FrozenBatchNorm2d)
    for name, buffer in backbone.named_buffers():
        if name.endswith("bn3.weight"):
            buffer.fill_(0.2)  # of random weights, nothing but this keeps the features small
    model = Stock(_resnet_fpn_extractor(backbone, 3), 81, min_size=side[0], max_size=side[1])
    return model.to(samples[0].image.device)


def compute_together(model: MaskRCNN, samples: list[DetectionSample]) -> dict[str, Tensor]:
    return model(samples)


def build_detector_step(
    run: BenchmarkRun,
    name: str,
    samples: list[DetectionSample],
    layout: str,
    losses_of: Callable[[MaskRCNN, list[DetectionSample]], dict[str, Tensor]] = compute_together,
) -> Callable[[], None]:
    network = get(name).detector
    torch.manual_seed(0)
    if run.small:
        backbone = replace(network.backbone, width=16)
        network = replace(network, backbone=backbone, fpn_channels=16, box_channels=32, mask_channels=16)
    model = MaskRCNN(network).to(run.device).train()
    convert_memory_format(model, LAYOUTS[layout][4])
    return build_step(run, model, lambda: sum(losses_of(model, samples).values()), torch.bfloat16)


def compute_in_turn(model: MaskRCNN, samples: list[DetectionSample]) -> dict[str, Tensor]:
    """The losses of a batch, the images whose losses are means of their own one group after the other, as before."""
    images = model.batch(samples)
    features = model.features(images)
    groups = LossGroups(len(samples), model.spec.images_per_loss)
    losses: dict[str, Tensor] = {}
    for part, share in zip(groups.slices, groups.shares, strict=True):
        own, sizes = samples[part], images.image_sizes[part]
        levels = {name: level[part] for name, level in features.items()}
        boxes, labels, masks = ([getattr(one, name) for one in own] for name in ("boxes", "labels", "masks"))
        proposals, terms = model.rpn(ImageList(images.tensors[part], sizes), levels, boxes)
        terms |= model.roi_heads.losses(levels, proposals, sizes, boxes, labels, masks)
        losses = {name: losses.get(name, 0) + share * term for name, term in terms.items()}
    return losses


def measure_detection(run: BenchmarkRun) -> None:
    """Training steps of Mask R-CNN, 16 images of 800 x 1333, bf16, channels last; before: groups in turn, NCHW."""
    batch, side = (3, (64, 96)) if run.small else (16, (800, 1333))
    samples = make_photographs(run, batch, *side)
    model = build_stock(samples, side)
    images = [one.image.float() / 255 for one in samples]
    targets = [{"boxes": one.boxes, "labels": one.labels + 1, "masks": one.masks} for one in samples]
    print_head(run, "images/s", "torchvision")
    calls: Calls = {
        "torchvision": build_step(run, model, lambda: sum(model(images, targets).values()), torch.bfloat16),
        "baseline, before": build_detector_step(run, "coco-r50-baseline", samples, "NCHW", compute_in_turn),
        "baseline, NCHW": build_detector_step(run, "coco-r50-baseline", samples, "NCHW"),
        "baseline": build_detector_step(run, "coco-r50-baseline", samples, "channels last"),
    }
    gc_step = build_detector_step(run, "coco-r50-gc-r16", samples, "channels last")
    before = build_detector_step(run, "coco-r50-gc-r16", samples, "NCHW", compute_in_turn)
    calls |= {
        "all GC r16, before": make_before(before),
        "all GC r16": make_after(run, gc_step),
        "all GC r16, functions": make_forced("functions", gc_step),
    }
    print_steps(run, f"Mask R-CNN, {batch} images, bf16", calls, batch, seconds=30, base="torchvision")
    if run.device.type == "cuda":
        for name, call in calls.items():
            run.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            call()
            peak = torch.cuda.max_memory_allocated() / 2**30
            run.note(f"Mask R-CNN, peak GiB, {name}", peak)
            run.say(f"peak memory, {name}: {peak:.1f} GiB")


# -- Evaluation ------------------------------------------------------------------------------------------------------


class Photographs:
    """JPEG files in memory, of smooth noise; they are decoded and resized as COCO's are."""

    def __init__(self, count: int, size: tuple[int, int], sides: tuple[int, int]) -> None:
        self.size, self.sides = size, sides
        generator = np.random.default_rng(0)
        self.files = []
        for _ in range(count):
            coarse = generator.integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
            pixels = np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC), dtype=np.int16)
            noisy = (pixels + generator.integers(-12, 13, pixels.shape)).clip(0, 255).astype(np.uint8)
            file = io.BytesIO()
            Image.fromarray(noisy).save(file, "JPEG", quality=90)
            self.files.append(file.getvalue())

    def __len__(self) -> int:
        return len(self.files)

    def compute_input_size(self, index: int) -> tuple[int, int]:
        return compute_resized_size(*self.size, *self.sides)

    def sample(self, index: int) -> DetectionSample:
        image = resize_picture(decode_image(self.files[index]), *self.sides)
        none = torch.zeros(0)
        return DetectionSample(image, index, self.size, none.reshape(0, 4), none.long(), none.reshape(0, 1, 1).byte())


def build_evaluated(run: BenchmarkRun) -> MaskRCNN:
    """All GC r16, with random weights, finding as much as it may in every image."""
    network = replace(get("coco-r50-gc-r16").detector, score_threshold=0.0)
    torch.manual_seed(0)
    if run.small:
        backbone = replace(network.backbone, width=16)
        network = replace(
            network, backbone=backbone, fpn_channels=16, box_channels=32, mask_channels=16, short_side=64, long_side=96
        )
    return MaskRCNN(network).to(run.device).eval()


def measure_evaluation(run: BenchmarkRun) -> None:
    """Milliseconds an image, 100 detections each: in turn, as before, and overlapped."""
    model = build_evaluated(run)
    sides = model.spec.short_side, model.spec.long_side
    photographs = Photographs(4 if run.small else 64, (48, 64) if run.small else (480, 640), sides)
    measure_parts(run, model, photographs)
    workers = 2 if run.small else 8
    ways: list[tuple[str, Precision, int, int]] = [
        ("float32, in turn, as before", "32-true", 0, 1), ("float32, overlapped", "32-true", workers, 1),
        ("TF32, overlapped", "tf32", workers, 1), ("bf16, in turn", "bf16-mixed", 0, 1),
        ("bf16, overlapped", "bf16-mixed", workers, 1),
        ("float32, overlapped, four together", "32-true", workers, 4),
        ("bf16, overlapped, four together", "bf16-mixed", workers, 4),
    ]  # fmt: skip
    took: dict[str, list[float]] = {name: [] for name, *_ in ways}
    hashes: dict[str, set[str]] = {name: set() for name, *_ in ways}
    with tempfile.TemporaryDirectory() as directory:
        for number in range(1 if run.small else 3):
            if number and run.left < 60:
                break
            for name, precision, processes, batch in ways:
                choose_tf32(precision)
                fabric = build_fabric(Processes(1, 1), run.device.type, precision)
                evaluation = DetectorEvaluation(model, photographs, batch, processes)
                with noting_begins(model) as begins:
                    results = list(evaluation.predict([range(len(photographs))], fabric))
                counted = len(results) - (len(results) > 8) * 8  # starting processes is of a whole evaluation
                took[name].append((time.perf_counter() - begins[-counted]) / counted)
                hashes[name].add(evaluation.save(results, Path(directory, "predictions.json.gz")))
    choose_tf32("32-true")
    medians = {name: statistics.median(times) for name, times in took.items()}
    run.say("| way | ms an image | times as fast as before | kinds of bytes in all rounds |")
    run.say("| :--- | ---: | ---: | ---: |")
    for name, each in medians.items():
        before = medians[ways[0][0]]
        run.say(f"| {name} | {1e3 * each:.1f} | {before / each:.2f} | {len(hashes[name])} |")
    for one, other in ((0, 1), (3, 4), (1, 5), (4, 6)):
        same = hashes[ways[one][0]] == hashes[ways[other][0]]
        run.say(f"{ways[one][0]} and {ways[other][0]}: {'the same bytes' if same else '**other bytes**'}")
        run.note(f"evaluation/same bytes/{ways[other][0]}", same)
    run.note("evaluation", medians)


@contextmanager
def noting_begins(model: MaskRCNN) -> Iterator[list[float]]:
    """When the network began with each image, or with the images among which it is."""
    begins: list[float] = []
    original = model.find_instances

    def find_instances(samples: list[DetectionSample]) -> list[Instances]:
        begins.extend([time.perf_counter()] * len(samples))
        return original(samples)

    with mock.patch.object(model, "find_instances", find_instances):
        yield begins


def measure_parts(run: BenchmarkRun, model: MaskRCNN, photographs: Photographs) -> None:
    """Milliseconds of the parts of one image's way, each waited for."""
    sample = photographs.sample(0)
    sample = replace(sample, image=sample.image.to(run.device))
    with torch.inference_mode():
        images = model.batch([sample])
        features = model.features(images)
        proposals, _ = model.rpn(images, features)
        heads = model.roi_heads
        assert isinstance(heads, RoIHeads)
        factors = [model.compute_factors(sample)]
        outputs = heads.predict_boxes(features, proposals)
        selected = heads.select_all(*outputs, proposals, images.image_sizes, factors)
        boxes, _, labels = zip(*selected, strict=True)
        (instances,) = model.find_instances([sample])
        calls: Calls = {
            "read and resize": lambda: photographs.sample(0),
            "normalise and pad": lambda: model.batch([sample]),
            "backbone and FPN": lambda: model.features(images),
            "proposals and their NMS": lambda: model.rpn(images, features),
            "box head": lambda: heads.predict_boxes(features, proposals),
            "selection and NMS": lambda: heads.select_all(*outputs, proposals, images.image_sizes, factors),
            "mask head": lambda: heads.predict_mask_probabilities(features, boxes, labels),
            "all of the network": lambda: model.find_instances([sample]),
            "paste, copy and encode": lambda: model.to_original(instances, sample),
        }
        medians = run.compare(calls, seconds=6, repeats=20)
        hosts = {name: run.measure_host(call) for name, call in calls.items()}
    run.say(f"| part, float32, {len(instances.scores)} detections | ms | ms of the host |")
    run.say("| :--- | ---: | ---: |")
    for name, each in medians.items():
        run.say(f"| {name} | {1e3 * each:.1f} | {1e3 * hosts[name]:.1f} |")
    run.say()
    run.note("parts of an evaluation", medians)


def measure_decoding(run: BenchmarkRun) -> None:
    """JPEG files of 500 x 375 to training batches: read by the processor, and by nvJPEG (`--decode-on gpu`)."""
    count, size = (8, (48, 64)) if run.small else (256, (375, 500))
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory, "train", WNIDS[0])
        place.mkdir(parents=True)
        for number, file in enumerate(Photographs(count, size, size).files):
            (place / f"{number}.JPEG").write_bytes(file)
        images = ImageNet(Path(directory), "train")
        encoded = gpu_decoding.EncodedImages(images)
        run.say(f"{gpu_decoding.compare_with_processor(encoded, run.device)}\n")
        batch = gpu_decoding.collate_encoded([encoded.sample(k) for k in range(count)])
        files = list(batch.files.split(batch.lengths))
        calls: Calls = {
            "one core: read, decoded, resized, colours": lambda: [images.sample(k, train=True) for k in range(count)],
            "one core: read, header and draws": lambda: [encoded.sample(k) for k in range(count)],
            "device: decoded": lambda: gpu_decoding.decode_files(files, run.device),
            "device: decoded, resized, colours": lambda: batch.to(run.device),
        }
        medians = run.compare(calls, seconds=20, repeats=10)
    run.say("| what | ms a batch | images/s |")
    run.say("| :--- | ---: | ---: |")
    for name, took in medians.items():
        run.say(f"| {name} | {1e3 * took:.1f} | {count / took:.0f} |")
    run.note("decoding", medians)


def measure_compilation(run: BenchmarkRun) -> None:
    """Training steps through torch.compile, bf16: how long compiling takes, and what it gives."""
    batch, side = (2, 32) if run.small else (256, 224)
    backend = "eager" if run.small else "inductor"
    run.say("| network | seconds of compiling | ms a step | compiled | times as fast |")
    run.say("| :--- | ---: | ---: | ---: | ---: |")
    for name in ("imagenet-r50-gc-r16", "imagenet-r50-baseline"):
        if run.left < 150 and not run.small:
            run.say(f"{name}: no time left")
            continue
        step = build_classifier_step(run, name, (batch, 3, side, side), torch.bfloat16)
        torch.compiler.reset()
        compiled = build_classifier_step(run, name, (batch, 3, side, side), torch.bfloat16, backend)
        begin = time.monotonic()
        compiled()
        run.synchronize()
        seconds = time.monotonic() - begin
        medians = run.compare({"eager": step, "compiled": compiled}, seconds=6)
        run.note(f"compile/{name}", {"seconds": seconds, **medians})
        eager, fast = medians.values()
        run.say(f"| {name} | {seconds:.0f} | {1e3 * eager:.1f} | {1e3 * fast:.1f} | {eager / fast:.2f} |")
        run.empty_cache()


# -- The divergence --------------------------------------------------------------------------------------------------


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


# -- Where the time goes ---------------------------------------------------------------------------------------------


def profile_step(run: BenchmarkRun) -> None:
    """Kernels of one training step of the ImageNet network with all GC, bf16: GPU time by kernel, before and after."""
    batch, side = (2, 32) if run.small else (256, 224)
    step = build_classifier_step(run, "imagenet-r50-gc-r16", (batch, 3, side, side), torch.bfloat16)
    base = build_classifier_step(run, "imagenet-r50-baseline", (batch, 3, side, side), torch.bfloat16)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if run.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    for name, call in (("baseline", base), ("before", make_before(step)), ("after", make_after(run, step))):
        call()
        run.synchronize()
        with torch.profiler.profile(activities=activities) as profiler:
            call()
            run.synchronize()
        events = [
            e
            for e in profiler.key_averages()
            if getattr(e, "self_device_time_total", 0) > 0 and e.device_type.name == "CUDA"
        ]
        events.sort(key=lambda e: -e.self_device_time_total)
        total = sum(e.self_device_time_total for e in events)
        run.say(f"{name}: {total / 1e3:.2f} ms in {sum(e.count for e in events)} kernels")
        for event in events[:22]:
            run.say(f"  {event.self_device_time_total / 1e3:8.3f} ms {event.count:5d} x {event.key[:110]}")
        run.note(f"profile/{name}", {e.key: (e.self_device_time_total, e.count) for e in events})


SECTIONS: dict[str, Callable[[BenchmarkRun], None]] = {
    "agreement": measure_agreement,
    "tune": tune,
    "imagenet": measure_imagenet,
    "graphs": measure_graphs,
    "divergence": measure_divergence,
    "evaluation": measure_evaluation,
    "decoding": measure_decoding,
    "detection": measure_detection,
    "block": measure_block,
    "kinetics": measure_kinetics,
    "profile": profile_step,
    "compile": measure_compilation,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="after which no section begins (default: 8)")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION",
                        help=f"of {', '.join(SECTIONS)}")  # fmt: skip
    parser.add_argument("--output", type=Path, help="directory of gpu.txt and gpu.json")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny shapes, each once")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("there is no CUDA device here: these numbers are of one (--device cpu --small only tries the program)")
        return 2
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    run = BenchmarkRun(torch.device(options.device), options.small, begin + 60 * options.minutes, options.output)
    if run.device.type == "cuda":
        run.device = torch.device("cuda", torch.cuda.current_device())
    choose_tf32("32-true")
    name = torch.cuda.get_device_name() if run.device.type == "cuda" else "CPU"
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    run.say(f"{name}, {versions}, Triton usable: {kernels.can_run_on(run.device)}")
    run.note("device", f"{name}, {versions}")
    for section in options.only:
        if run.left < 15:
            run.say(f"\n## {section}: no time left")
            continue
        run.say(f"\n## {section}: {SECTIONS[section].__doc__}\n")
        started = time.monotonic()
        try:
            SECTIONS[section](run)
        except Exception:
            run.say(traceback.format_exc())
        run.empty_cache()
        run.note(f"seconds/{section}", time.monotonic() - started)
        run.say(f"({time.monotonic() - started:.0f} s)")
    run.note("seconds", time.monotonic() - begin)
    return 0


if __name__ == "__main__":
    sys.exit(main())

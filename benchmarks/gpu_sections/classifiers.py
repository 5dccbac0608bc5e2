"""Training steps of classifiers: as chosen, before, replayed as CUDA graphs, compiled, and by kernels."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from unittest import mock

import torch
from torch import nn

from gpu_sections.run import (
    LAYOUTS,
    NAMES,
    BenchmarkRun,
    Calls,
    choose_best,
    make_after,
    make_before,
    make_forced,
    make_separate,
)
from gpu_sections.steps import build_step, print_head, print_steps
from repro.data.classification import ImageBatch
from repro.engine import graphs
from repro.engine.devices import convert_memory_format
from repro.engine.distributed import build_fabric
from repro.engine.launch import Processes
from repro.engine.passes import Batch, EagerPasses, Passes
from repro.experiments import get, preprocessing
from repro.models.resnet import ResNet
from repro.tasks.classification import ImageClassifier


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


def build_passes_step(run: BenchmarkRun, name: str, batch: int, passes: int, replayed: bool) -> Callable[[], None]:
    """An update in bf16 as in a training: images come from the host, and the loss is waited for."""
    network = get(name).classifier
    torch.manual_seed(0)
    if run.small:
        network = replace(network, backbone=replace(network.backbone, width=16), num_classes=8)
    model = ImageClassifier(network, preprocessing.TRAINED_HERE).to(run.device).train()
    convert_memory_format(model, torch.channels_last)
    side = 32 if run.small else 224
    images = torch.randint(0, 256, (batch // passes, 3, side, side), dtype=torch.uint8)
    labels = torch.arange(len(images)) % network.num_classes
    colors = torch.eye(3, 4).expand(len(images), 3, 4).contiguous()
    parts: Batch = [(ImageBatch(images, labels, [""] * len(images), colors), 1 / passes)] * passes
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


class Uncaptured(graphs.Recorder):
    """Computes anew what it should replay."""

    def __init__(self, device: torch.device) -> None:
        pass

    def record(self, compute: Callable[[], None]) -> Callable[[], None]:
        return compute


def measure_graphs(run: BenchmarkRun) -> None:
    """Updates of ResNet-50 in bf16, channels last, with images from the host; passes are started or replayed."""
    divisions = [(4, 2)] if run.small else [(256, 1), (512, 8), (64, 1)]
    without = mock.patch.object(graphs, "Recorder", Uncaptured)  # a CPU has none
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

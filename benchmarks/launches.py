"""How often a training starts an operator, and how often it waits for one: what a GPU's time goes to beside arithmetic.

    python benchmarks/launches.py [--images 16]

Counted on the CPU, of thin networks: numbers of operators depend on the code, not on the device. An operator that is a
view of its input is left out; each of the others starts at least one kernel on a GPU. Those that wait have a result
whose size, or whose value, the program has to know before it goes on. NMS within classes is that of GPUs.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from gpu_sections.detectors import build_stock, make_photographs
from gpu_sections.run import BenchmarkRun
from gpu_sections.steps import build_step
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import boxes as torchvision_boxes

from repro.data.classification import ImageBatch
from repro.detection.torchvision import MaskRCNN
from repro.engine import graphs
from repro.engine.distributed import build_fabric
from repro.engine.launch import Processes
from repro.engine.passes import EagerPasses, Passes
from repro.experiments import get, preprocessing
from repro.tasks.classification import ImageClassifier

SIDES = (128, 192)
#: Results whose size or value is not known before they are computed.
WAITING = {"aten::nonzero", "aten::_local_scalar_dense", "aten::masked_select", "torchvision::nms", "aten::_unique2"}
#: Neither views nor arithmetic.
EMPTY = {"aten::detach", "aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty"}


class OperatorCount(TorchDispatchMode):
    """Counts what is started while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.started: Counter[str] = Counter()
        self.waits = 0

    def __torch_dispatch__(self, operator: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = operator._schema.name
        views = any(each.alias_info and not each.alias_info.is_write for each in operator._schema.arguments)
        if not views and name not in EMPTY:
            self.started[name] += 1
        by_mask = name in ("aten::index", "aten::index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        self.waits += name in WAITING or by_mask
        return operator(*args, **(kwargs or {}))


def count(call: Callable[[], object]) -> OperatorCount:
    call()  # what is made once
    with OperatorCount() as counted:
        call()
    return counted


def build(name: str) -> MaskRCNN:
    network = get(name).detector
    network = replace(
        network, backbone=replace(network.backbone, width=16), fpn_channels=16, box_channels=32, mask_channels=16,
        score_threshold=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    return MaskRCNN(network)


def build_passes(name: str, replayed: bool) -> Callable[[], object]:
    """The gradients of an update on ImageNet in eight passes, as one GPU has it; of a recorded pass nothing starts."""
    network = get(name).classifier
    network = replace(network, backbone=replace(network.backbone, width=16))
    torch.manual_seed(0)
    model = ImageClassifier(network, preprocessing.TRAINED_HERE).train()
    images = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    batch = [(ImageBatch(images, torch.arange(2), ["", ""], torch.zeros(2, 3, 4)), 1 / 8)] * 8
    fabric = build_fabric(Processes(1, 1), "cpu", "bf16-mixed")
    passes: Passes = graphs.GraphedPasses(fabric, model) if replayed else EagerPasses(fabric, fabric.setup(model))

    def accumulate() -> None:
        model.zero_grad()
        passes.accumulate(batch)

    return accumulate


class NothingStarted(graphs.Recorder):
    """What is replayed starts as one."""

    def __init__(self, device: torch.device) -> None:
        pass

    def record(self, compute: Callable[[], None]) -> Callable[[], None]:
        compute()
        return lambda: None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=16, help="of a training step (default: 16)")
    options = parser.parse_args()
    run = BenchmarkRun(torch.device("cpu"), small=True, deadline=float("inf"), output=None)
    samples = make_photographs(run, options.images, *SIDES)
    images = [one.image.float() / 255 for one in samples]
    targets = [{"boxes": one.boxes, "labels": one.labels + 1, "masks": one.masks} for one in samples]
    stock = build_stock(samples, SIDES)
    print(f"| {options.images} images a training step, one an evaluation | started | waited for |")
    print("| :--- | ---: | ---: |")
    with mock.patch.object(torchvision_boxes, "_batched_nms_vanilla", torchvision_boxes._batched_nms_coordinate_trick):
        rows = {
            "torchvision, training": build_step(
                run, stock, lambda: sum(stock(images, targets).values()), torch.bfloat16
            )
        }
        for name in ("coco-r50-baseline", "coco-r50-gc-r16", "coco-x101-dcn-cascade-gc-r4"):
            model = build(name)
            precision = torch.float32 if get(name).detector.backbone.dcn else torch.bfloat16
            rows[f"{name}, training"] = build_step(
                run, model, lambda model=model: sum(model(samples).values()), precision
            )
        for what, call in rows.items():
            counted = count(call)
            print(f"| {what} | {counted.started.total()} | {counted.waits} |", flush=True)
        with torch.no_grad():  # in inference mode, operators that consist of others would count once
            model = build("coco-r50-gc-r16").eval()
            for what, call in (
                ("torchvision, evaluation", lambda: stock.eval()(images[:1])),
                ("coco-r50-gc-r16, evaluation", lambda: model.find_instances(samples[:1])),
                ("coco-r50-gc-r16, evaluation of four together", lambda: model.find_instances(samples[:4])),
            ):
                counted = count(call)
                print(f"| {what} | {counted.started.total()} | {counted.waits} |", flush=True)
    for name in ("imagenet-r50-baseline", "imagenet-r50-gc-r16"):
        with (
            mock.patch.object(graphs, "Recorder", NothingStarted),
            mock.patch.object(graphs.GraphedPasses, "_compare"),
        ):
            for replayed, what in ((False, ""), (True, ", replayed, and 8 graphs")):
                counted = count(build_passes(name, replayed))
                print(f"| {name}, 8 passes{what} | {counted.started.total()} | {counted.waits} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

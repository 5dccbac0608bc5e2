"""What overlapping an evaluation gives: images read ahead and masks encoded behind a network that takes its time.

    python benchmarks/evaluation.py DIRECTORY [--images 40] [--rounds 3]

DIRECTORY is laid out as COCO 2017. A stand-in takes the network's place, so that no GPU is needed: for 58 ms an image,
what an H200 took, it launches small operations (`launching`, the interpreter is busy) and then waits as for a GPU. What
it finds are 100 masks. Reading, resizing and run-length encoding are the real ones; pasting, which a GPU does, is left
out. All ways take turns in each round; times are by the clock.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from faster_coco_eval.core import mask as rle
from lightning_fabric import Fabric
from torch import Tensor

from repro.data.coco import CocoDetection, DetectionSample
from repro.detection import detector
from repro.detection.detector import DetectorModule
from repro.detection.roi import Instances
from repro.experiments import get
from repro.tasks import detection
from repro.tasks.detection import DetectorEvaluation

NETWORK_SECONDS = 0.058
MASKS = 100


class StandIn(DetectorModule):
    """Takes as long as a network on a GPU, of which the interpreter is busy for `launching` seconds."""

    def __init__(self, launching: float) -> None:
        super().__init__(get("coco-r50-baseline").detector)
        self.launching = launching
        self.begins: list[float] = []

    def losses(self, samples: list[DetectionSample]) -> dict[str, Tensor]:
        raise NotImplementedError("it is not trained")

    def find_instances(self, samples: list[DetectionSample]) -> list[Instances]:
        begin = time.perf_counter()
        self.begins.append(begin)
        x = torch.zeros(8)
        while time.perf_counter() - begin < self.launching:
            x = x + 1
        time.sleep(max(0.0, NETWORK_SECONDS - (time.perf_counter() - begin)))
        return [make_instances(sample) for sample in samples]


def make_instances(sample: DetectionSample) -> Instances:
    """As many as an evaluation may have, in places that differ."""
    height, width = sample.image.shape[1:]
    generator = torch.Generator().manual_seed(sample.image_id)
    start = torch.rand(MASKS, 2, generator=generator) * 0.6
    size = torch.rand(MASKS, 2, generator=generator) * 0.35 + 0.05
    boxes = torch.cat([start, start + size], dim=1) * torch.tensor([width, height, width, height])
    return Instances(boxes, torch.zeros(MASKS), torch.zeros(MASKS, dtype=torch.int64), torch.ones(MASKS, 28, 28))


def encode_boxes(masks: Tensor, boxes: Tensor, size: tuple[int, int], **_: bool) -> list[dict]:
    """In the place of `encode`: run lengths of masks that fill their boxes, with next to nothing spent on pasting."""
    pasted = np.zeros((len(boxes), size[1], size[0]), dtype=np.uint8)
    for mask, (x1, y1, x2, y2) in zip(pasted, boxes.round().int().tolist(), strict=True):
        mask[x1:x2, y1:y2] = 1
    return rle.encode(pasted.transpose(2, 1, 0))


def read_by_threads(read: Callable, batches: Iterable, workers: int) -> Generator:
    """`read_ahead` by threads instead of processes."""
    with ThreadPoolExecutor(workers) as pool:
        batches = list(batches)
        pending = [pool.submit(read, batch) for batch in batches[: 2 * workers]]
        for number in range(len(batches)):
            if number + 2 * workers < len(batches):
                pending.append(pool.submit(read, batches[number + 2 * workers]))
            yield pending[number].result()
            pending[number] = None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    network = get("coco-r50-baseline").detector
    data = CocoDetection(chosen.directory, "val2017", 80, network.short_side, network.long_side)
    part = range(min(chosen.images, len(data)))
    fabric = Fabric(accelerator="cpu", devices=1)

    def measure(launching: float, workers: int, threads: bool) -> float:
        """Seconds an image from the fifth one on: what starting costs is of a whole evaluation."""
        model = StandIn(launching)
        evaluation = DetectorEvaluation(model, data, workers=workers)
        reading = mock.patch.object(detection, "read_ahead", read_by_threads) if threads else nullcontext()
        with reading, mock.patch.object(detector, "encode", encode_boxes):
            for _ in evaluation.predict([part], fabric):
                pass
            return (time.perf_counter() - model.begins[4]) / (len(part) - 4)

    ways = {
        "in turn": (0, False), "1 process reads": (1, False), "2 processes read": (2, False),
        "1 thread reads": (1, True), "2 threads read": (2, True),
    }  # fmt: skip
    begin = time.process_time()
    for index in part:
        data.sample(index)
    read = (time.process_time() - begin) / len(part)
    boxes = make_instances(data.sample(0)).boxes
    begin = time.process_time()
    for _ in range(5):
        encode_boxes(Tensor(), boxes, (480, 640))
    print(
        f"CPU time: {1e3 * read:.1f} ms to read an image, {200 * (time.process_time() - begin):.1f} ms to encode masks"
    )
    print("| the interpreter launches for | way | ms an image | times as fast |")
    print("| :--- | :--- | ---: | ---: |")
    for launching in (0.0, 0.030):
        rounds = [{name: measure(launching, *way) for name, way in ways.items()} for _ in range(chosen.rounds)]
        for name in ways:
            took = statistics.median(one[name] for one in rounds)
            ratio = statistics.median(one["in turn"] / one[name] for one in rounds)
            print(
                f"| {1e3 * launching:.0f} of 58 ms | {name} | {1e3 * took:.1f} | {ratio:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

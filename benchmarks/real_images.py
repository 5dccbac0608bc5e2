"""Full-size networks on real photographs, CPU: seconds per image and peak memory, training and evaluation.

    python benchmarks/real_images.py COCO_DIRECTORY [EXPERIMENT ...]

Random weights: they find nothing or a hundred things, so the evaluation times hold for networks that propose as many.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import torch

from repro.data.coco import CocoDetection
from repro.detection.torchvision import MaskRCNN
from repro.engine.memory import measure_peak_memory, reset_peak_memory
from repro.experiments import get

NAMES = (
    "coco-r50-baseline", "coco-r50-1nl", "coco-r50-gc-r16", "coco-x101-cascade-gc-r4", "coco-x101-dcn-cascade-gc-r4",
)  # fmt: skip
IMAGES = 4
CPU = torch.device("cpu")


def main(root: Path, *names: str) -> None:
    torch.set_num_threads(1)
    print("| network | evaluation, s/image (median, slowest) | peak GiB | training, s/image | peak GiB |")
    print("| :--- | ---: | ---: | ---: | ---: |")
    for name in names or NAMES:
        spec = get(name).network
        model = MaskRCNN(spec)
        data = {
            split: CocoDetection(root, split, 80, spec.short_side, spec.long_side, inclusive=spec.pixels == "inclusive")
            for split in ("val2017", "train2017")
        }
        model.eval()
        reset_peak_memory()
        times = []
        for index in range(IMAGES + 1):  # the first warms up
            sample = data["val2017"].sample(index)
            begin = time.perf_counter()
            with torch.inference_mode():
                model([sample])
            times.append(time.perf_counter() - begin)
        evaluation = measure_peak_memory(CPU)
        model.train()
        reset_peak_memory()
        batch = [data["train2017"].sample(index, train=True) for index in range(2)]
        begin = time.perf_counter()
        sum(model(batch).values()).backward()
        training = (time.perf_counter() - begin) / len(batch)
        print(
            f"| {name} | {statistics.median(times[1:]):.1f}, {max(times[1:]):.1f} | {evaluation / 2**30:.2f} "
            f"| {training:.1f} | {measure_peak_memory(CPU) / 2**30:.2f} |"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

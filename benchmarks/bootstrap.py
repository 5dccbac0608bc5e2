"""How long a paired bootstrap of AP over 5000 images takes, and how long evaluating every resample anew would.

python benchmarks/bootstrap.py [--images 5000] [--detections 20 60 100]

Generated annotations with as many objects as COCO's val2017 has, of 80 classes as unequal as COCO's; two generated
networks that find most of them among false detections. The evaluator compares masks as well as boxes, and so does it in
every resample.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from faster_coco_eval.core import mask

from repro.data.coco import CocoDetection, Detections
from repro.evaluation.coco import evaluate
from repro.evaluation.matches import Matches, match, save_matches
from repro.statistics.bootstrap import compare, draw_resamples, replicate

CLASSES, SIDE = 80, 500
OBJECTS = 7.3  #: per image, as in val2017


class Generated(SimpleNamespace):
    """Annotations that stand in for a `CocoDetection`: nothing is read of images."""

    def get_original_size(self, image_id: int) -> tuple[int, int]:
        return SIDE, SIDE

    def build_ground_truth(self) -> dict:
        size = {"height": SIDE, "width": SIDE}
        return {
            "images": [{"id": i, **size} for i in self.image_ids],
            "categories": [{"id": i} for i in self.category_ids],
            "annotations": [dict(one) for one in self.annotations],
        }


def annotations(images: int, generator: np.random.Generator) -> CocoDetection:
    share = 1 / np.arange(1, CLASSES + 1)
    content = []
    for image_id in range(1, images + 1):
        for box in boxes(generator.poisson(OBJECTS), generator):
            label = generator.choice(CLASSES, p=share / share.sum())
            content.append(
                {
                    "id": len(content) + 1, "image_id": image_id, "category_id": int(label) + 1, "iscrowd": 0,
                    "bbox": [*box[:2], *(box[2:] - box[:2])], "area": float(np.prod(box[2:] - box[:2])),
                    "segmentation": filled(box),
                }
            )  # fmt: skip
    return Generated(
        image_ids=list(range(1, images + 1)), category_ids=list(range(1, CLASSES + 1)), annotations=content,
        annotations_path="generated", annotations_sha256="0" * 64, ids_sha256="0" * 64,
    )  # fmt: skip


def boxes(n: int, generator: np.random.Generator) -> np.ndarray:
    corners = generator.uniform(0, SIDE - 60, (n, 2))
    return np.concatenate([corners, np.minimum(corners + generator.uniform(20, 300, (n, 2)), SIDE)], axis=1)


def filled(box: np.ndarray) -> dict:
    """The compressed run-length encoding of a box's pixels."""
    x1, y1, x2, y2 = box
    return mask.frPyObjects([[x1, y1, x2, y1, x2, y2, x1, y2]], SIDE, SIDE)[0]


def network(dataset: CocoDetection, per_image: int, noise: float, generator: np.random.Generator) -> list[Detections]:
    """Objects found a little beside their place, and false detections of lower scores, `per_image` on average."""
    of_image: dict[int, list[dict]] = {image_id: [] for image_id in dataset.image_ids}
    for one in dataset.annotations:
        of_image[one["image_id"]].append(one)
    found = []
    for image_id, objects in of_image.items():
        there = [one for one in objects if generator.random() < 0.85]
        true = np.array([[*one["bbox"][:2], *np.add(one["bbox"][:2], one["bbox"][2:])] for one in there]).reshape(-1, 4)
        size = np.tile(true[:, 2:] - true[:, :2], 2)
        true = np.clip(true + noise * size * generator.normal(size=true.shape), 0, SIDE)
        true = np.concatenate([np.minimum(true[:, :2], true[:, 2:]), np.maximum(true[:, :2], true[:, 2:])], axis=1)
        false = boxes(max(0, generator.poisson(per_image) - len(there)), generator)
        labels = [one["category_id"] - 1 for one in there] + list(generator.zipf(1.3, len(false)) % CLASSES)
        scores = np.concatenate([generator.beta(4, 2, len(true)), generator.beta(1, 5, len(false))])
        together = np.concatenate([true, false]).astype(np.float32)
        found.append(
            Detections(
                image_id, together, scores.astype(np.float32), np.array(labels, dtype=np.int64),
                [filled(box) for box in together.astype(float)],
            )
        )  # fmt: skip
    return found


def naive(dataset: CocoDetection, found: list[Detections], counts: np.ndarray) -> float:
    """Seconds of evaluating one resample: every copy of an image is an image of its own."""
    of_image: dict[int, list[dict]] = {}
    for one in dataset.annotations:
        of_image.setdefault(one["image_id"], []).append(one)
    copies, content, detections = [], [], []
    for one, count in zip(found, counts, strict=True):
        for _ in range(count):
            copies.append(len(copies) + 1)
            detections.append(Detections(copies[-1], one.boxes, one.scores, one.labels, one.masks))
            for thing in of_image.get(one.image_id, ()):
                content.append({**thing, "image_id": copies[-1], "id": len(content) + 1})
    copied = Generated(**{**vars(dataset), "image_ids": copies, "annotations": content})
    begin = time.perf_counter()
    evaluate(detections, copied)
    return time.perf_counter() - begin


def seconds(first: Matches, second: Matches, number: int, threads: int) -> str:
    """Wall (and CPU) seconds of AP, AP50 and AP75 of box and mask, of both networks, in `number` resamples."""
    wall, processor = time.perf_counter(), time.process_time()
    counts = draw_resamples(len(first.image_ids), number, np.random.default_rng(0))
    for kind in ("box", "mask"):
        compare(*(replicate(one, kind, counts, threads) for one in (first, second)))
    return f"{time.perf_counter() - wall:.1f} ({time.process_time() - processor:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--detections", type=int, nargs="+", default=[20, 60, 100])
    arguments = parser.parse_args()
    number = arguments.resamples
    print(f"{platform.machine()}, {arguments.images} images, {number} resamples, {CLASSES} classes, load {load()}\n")
    heads = (
        "detections per image", "true at 0.50", "matching a network (s)", "matches.npz (MB)", "1 thread (s)",
        "2 threads (s)", "load",
    )  # fmt: skip
    print(f"| {' | '.join(heads)} |\n{'| ---: ' * len(heads)}|")
    for per_image in arguments.detections:
        generator = np.random.default_rng(0)
        dataset = annotations(arguments.images, generator)
        pair = [network(dataset, per_image, noise, generator) for noise in (0.06, 0.065)]
        begin = time.perf_counter()
        matched = [match(found, dataset, "0" * 64) for found in pair]
        took = (time.perf_counter() - begin) / 2
        hits = np.count_nonzero(matched[0].true["box"] & 1)
        times = [seconds(*matched, number, threads) for threads in (1, 2)]
        cells = (per_image, hits, f"{took:.1f}", f"{stored(matched[0]) / 1e6:.1f}", *times, load())
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
    counts = draw_resamples(arguments.images, 3, np.random.default_rng(1))
    each = [naive(dataset, pair[0], column) for column in counts.T]
    print(f"\nOne resample of one network evaluated anew: {', '.join(f'{one:.1f}' for one in each)} s (3 measured).")
    print(f"{number} of two networks, extrapolated: {2 * number * np.median(each) / 3600:.1f} h.")
    print(f"Peak resident memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB.")


def load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


def stored(matches: Matches) -> int:
    """Bytes of the file."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "matches.npz"
        save_matches(matches, path)
        return path.stat().st_size


if __name__ == "__main__":
    main()

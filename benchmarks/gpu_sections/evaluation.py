"""The evaluation of a detector, and the parts of one image's way."""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image

from gpu_sections.run import BenchmarkRun, Calls
from repro.data.coco import DetectionSample, compute_resized_size, resize_picture
from repro.data.pictures import decode_image
from repro.detection.roi import Instances, RoIHeads
from repro.detection.torchvision import MaskRCNN
from repro.engine.arithmetic import choose_tf32
from repro.engine.distributed import build_fabric
from repro.engine.launch import Processes
from repro.experiments import get
from repro.settings import Precision
from repro.tasks.detection import DetectorEvaluation


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

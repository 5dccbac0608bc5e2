"""Small networks of the experiments, and random samples for them, for the tests that run on several devices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repro import tasks
from repro.data.classification import ImageSample
from repro.data.clips import ClipSample
from repro.data.coco import DetectionSample
from repro.experiments import Recipe, mini
from repro.settings import Settings
from repro.tasks import Task


def build_task(name: str, results: Path, **options: Any) -> Task:
    return tasks.task_for(
        mini.get_at_profile(name, "mini"), Settings(results=results, profile="mini", device="cpu", **options)
    )


def build_network(task: Task, seed: int = 0) -> nn.Module:
    """The experiment's network of the mini profile, whose context blocks add something from the start."""
    torch.manual_seed(seed)
    network = task.build_network()
    for name, parameter in network.named_parameters():
        if "context_block" in name:
            nn.init.normal_(parameter, std=0.1)
    return network


@dataclass(frozen=True)
class RandomSamples:
    """Four samples of a task, the same at every call."""

    task: Task

    def __len__(self) -> int:
        return 4

    def sample(self, index: int, *, seed: int = 0, epoch: int = 0, train: bool = True) -> Any:
        make: dict[str, Callable[[int], Any]] = {"coco": make_scene, "imagenet": make_image, "kinetics": make_clip}
        return make[self.task.experiment.dataset](index)


def draw_pixels(index: int, *shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(index), dtype=torch.uint8)


def make_scene(index: int) -> DetectionSample:
    """An image with two objects, or with none; sizes differ."""
    height, width = 96, 96 + 32 * (index % 2)
    boxes = torch.tensor([[8.0, 8.0, 40.0, 48.0], [30.0, 20.0, 90.0, 80.0]])[: 2 if index < 3 else 0]
    masks = torch.zeros(len(boxes), height, width, dtype=torch.uint8)
    for mask, box in zip(masks, boxes.int().tolist(), strict=True):
        mask[box[1] : box[3], box[0] : box[2]] = 1
    labels = torch.arange(len(boxes)) % 3
    return DetectionSample(draw_pixels(index, 3, height, width), index, (height, width), boxes, labels, masks)


def make_image(index: int) -> ImageSample:
    return ImageSample(draw_pixels(index, 3, 64, 64), str(index), index % 3)


def make_clip(index: int) -> ClipSample:
    return ClipSample(draw_pixels(index, 1, 3, 8, 56, 56), str(index), index % 3)


def shorten(recipe: Recipe) -> Recipe:
    """As that, for four samples in two batches, twice."""
    return replace(
        recipe, epochs=2, batch_size=2, learning_rate=1e-4, initial_weights="none", decay_epochs=(), warmup_epochs=0,
        warmup_iterations=0, precise_norm=0, iterations=None,
    )  # fmt: skip

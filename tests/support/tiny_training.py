"""Tiny trainings for the tests of the engine, in the test process and in the processes of `separate_processes.py`."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from repro.experiments import Recipe

RECIPE = Recipe(
    epochs=3, batch_size=4, learning_rate=0.05, schedule="step", initial_weights="none", decay_epochs=(2,),
    warmup_iterations=4, warmup_factor=0.25, clip_norm=2.0,
)  # fmt: skip
#: 22 samples in batches of 4: 6 iterations an epoch.
SAMPLES = 22
TOTAL = 18


class Squares:
    """Images with noise that is a pure function of (seed, epoch, index); `label` is to be regressed."""

    def __init__(self, samples: int = SAMPLES):
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def sample(self, index: int, *, seed: int, epoch: int, train: bool) -> dict[str, torch.Tensor]:
        assert train
        noise = np.random.default_rng((seed, epoch, index)).normal(size=(2, 6, 6))
        return {"image": torch.tensor(noise + index / 10, dtype=torch.float32), "label": torch.tensor([index / 5.0])}


class Noisy(nn.Module):
    """Batch norm, dropout, and noise from every kind of generator, so that each of them decides the weights."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv, self.norm, self.fc = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 1)
        self.dropout = nn.Dropout(0.3)

    def forward(self, batch: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        images, labels = (torch.stack([sample[name] for sample in batch]) for name in ("image", "label"))
        x = self.dropout(self.norm(self.conv(images)).relu()).mean((2, 3))
        x = x * (1 + 0.1 * torch.rand(x.shape, generator=self.generator)) + random.random() / 10
        return {"loss_fit": (self.fc(x) - labels).square().mean(), "loss_shift": x.mean() * float(np.random.rand())}  # noqa: NPY002


class Plain(nn.Module):
    """No randomness and no batch statistics: its loss is a mean over samples, however they are divided."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.conv, self.fc = nn.Conv2d(2, 4, 3), nn.Linear(4, 1)

    def forward(self, batch: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        images, labels = (torch.stack([sample[name] for sample in batch]) for name in ("image", "label"))
        x = self.fc(self.conv(images).tanh().mean((2, 3)))
        return {"loss_fit": (x - labels).square().mean(), "loss_size": x.square().mean() * 0.01}


def recipe(**changes) -> Recipe:
    return replace(RECIPE, **changes)


@dataclass
class Stack:
    """Samples of `Squares` as classifiers have theirs: one tensor of each kind."""

    images: torch.Tensor
    labels: torch.Tensor
    names: list[str]

    def to(self, device: torch.device, **options) -> Stack:
        return Stack(self.images.to(device, **options), self.labels.to(device, **options), self.names)


def stack(samples: list[dict[str, torch.Tensor]]) -> Stack:
    images, labels = (torch.stack([sample[name] for sample in samples]) for name in ("image", "label"))
    return Stack(images, labels, ["unused"] * len(samples))


class Steady(nn.Module):
    """Batch norm and dropout, all of it on the device: a pass that can be recorded."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv, self.norm, self.fc = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 1)
        self.dropout = nn.Dropout(0.3)

    def forward(self, batch: Stack) -> dict[str, torch.Tensor]:
        x = self.dropout(self.norm(self.conv(batch.images)).relu()).mean((2, 3))
        return {"loss_fit": (self.fc(x) - batch.labels).square().mean(), "loss_size": x.square().mean() * 0.01}

"""The random parts of a training, as pure functions of the seed and of the position in the training.

Nothing here has a state, so that a resumed run draws what the uninterrupted one would have drawn, with any number of
processes and of data loading workers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import Sampler

from repro.engine.overlap import read_ahead
from repro.engine.schedule import count_iterations_per_epoch

#: Independent random streams of one seed.
_ORDER, _NOISE = 0, 1


class TrainingData(Protocol):
    """A data set whose augmentation is a pure function of (seed, epoch, index)."""

    def __len__(self) -> int: ...

    def sample(self, index: int, *, seed: int, epoch: int, train: bool) -> Any: ...


@dataclass(frozen=True)
class Batches(Sampler):
    """The batches of one process, from iteration `start` to iteration `stop`.

    Every epoch is a permutation of all `samples` by (seed, epoch), cut into batches of the effective `batch_size`; the
    last one is filled up from the beginning of the same permutation, so that every epoch sees every sample. Process
    `rank` of `world_size` takes every `world_size`-th sample of each batch: the batches of the whole training are the
    same ones however many processes share them.

    The authors' framework also groups the images of a GPU by aspect ratio, landscape or portrait, so that there is less
    padding; this one does not.
    """

    samples: int
    batch_size: int
    seed: int
    start: int
    stop: int
    rank: int = 0
    world_size: int = 1

    @property
    def per_process(self) -> int:
        """Samples of a batch that one process takes."""
        return self.batch_size // self.world_size

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        """Yield (epoch, sample indices) for each batch."""
        per_epoch = count_iterations_per_epoch(self.samples, self.batch_size)
        order, ordered_epoch = np.empty(0, int), None
        for iteration in range(self.start, self.stop):
            epoch, batch = divmod(iteration, per_epoch)
            if epoch != ordered_epoch:
                generator = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(_ORDER, epoch)))
                order = np.resize(generator.permutation(self.samples), per_epoch * self.batch_size)
                ordered_epoch = epoch
            whole = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield epoch, whole[self.rank :: self.world_size].tolist()


class _Loading:
    """(epoch, indices) -> micro-batches of at most `micro_batch` collated samples, each with its share of the batch."""

    def __init__(self, data: TrainingData, seed: int, micro_batch: int, collate: Callable[[list], Any]):
        self.data, self.seed, self.micro_batch, self.collate = data, seed, micro_batch, collate

    def __call__(self, batch: tuple[int, list[int]]) -> list[tuple[Any, float]]:
        epoch, indices = batch
        samples = [self.data.sample(index, seed=self.seed, epoch=epoch, train=True) for index in indices]
        parts = [samples[at : at + self.micro_batch] for at in range(0, len(samples), self.micro_batch)]
        return [(self.collate(part), len(part) / len(samples)) for part in parts]


def load(
    data: TrainingData, batches: Batches, *, micro_batch: int | None, workers: int, collate: Callable[[list], Any]
) -> Iterator[list[tuple[Any, float]]]:
    """Load the batches in order, each a list of (collated micro-batch, its share of the process's batch).

    With `workers`, other processes load ahead; the batches do not depend on their number.

    Raises:
        ReproError: what `data.sample` raised.
    """
    return read_ahead(_Loading(data, batches.seed, micro_batch or batches.per_process, collate), batches, workers)


def find_generators(model: torch.nn.Module) -> list[torch.Generator]:
    """Find every distinct `torch.Generator` that a module of `model` has as its attribute `generator`."""
    held = (getattr(module, "generator", None) for module in model.modules())
    return list({id(generator): generator for generator in held if isinstance(generator, torch.Generator)}.values())


def reseed(held: list[torch.Generator], seed: int, iteration: int, rank: int) -> None:
    """Seed the generators that a model holds, and the global ones (dropout uses torch's), for one iteration.

    Every process has random streams of its own. Seeding in each iteration replaces saved generator states, which would
    not fit another number of processes.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(_NOISE, iteration, rank))
    shared, *own = sequence.generate_state(1 + len(held)).tolist()
    random.seed(shared)
    np.random.seed(shared)  # noqa: NPY002 - on purpose the global one: a library's layer may use it
    torch.manual_seed(shared)
    for generator, value in zip(held, own, strict=True):
        generator.manual_seed(value)

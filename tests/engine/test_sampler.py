import random
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_training import Squares
from torch import nn

from repro.engine.sampler import Batches, find_generators, load, reseed
from repro.engine.schedule import count_iterations_per_epoch
from repro.errors import ReproError


@settings(max_examples=60, deadline=None)
@given(samples=st.integers(1, 50), per_process=st.integers(1, 6), world_size=st.integers(1, 4), seed=st.integers(0, 9))
def test_every_sample_once_an_epoch_whatever_the_world_size(samples, per_process, world_size, seed):
    batch_size = per_process * world_size
    per_epoch = count_iterations_per_epoch(samples, batch_size)
    ranks = [list(Batches(samples, batch_size, seed, 0, 2 * per_epoch, r, world_size)) for r in range(world_size)]
    whole = list(Batches(samples, batch_size, seed, 0, 2 * per_epoch))
    for epoch in range(2):
        seen = []
        for iteration in range(epoch * per_epoch, (epoch + 1) * per_epoch):
            shares = [rank[iteration] for rank in ranks]
            assert all(share[0] == epoch and len(share[1]) == per_process for share in shares)
            together = [index for share in shares for index in share[1]]
            assert sorted(together) == sorted(whole[iteration][1])
            seen += whole[iteration][1]
        assert sorted(seen[:samples]) == list(range(samples))
        # The last batch is filled up from the beginning of the same order.
        assert seen[samples:] == [seen[i % samples] for i in range(len(seen) - samples)]


@given(start=st.integers(0, 30))
def test_starting_later_continues_the_same_order(start):
    whole = list(Batches(22, 4, 7, 0, 31))
    assert list(Batches(22, 4, 7, start, 31)) == whole[start:]


def test_order_depends_on_seed_and_epoch_and_is_spread():
    order = {
        (s, e): tuple(i for _, b in Batches(40, 4, s, 10 * e, 10 * e + 10) for i in b) for s in (0, 1) for e in (0, 1)
    }
    assert len(set(order.values())) == 4
    firsts = Counter(next(iter(Batches(4, 1, seed, 0, 1)))[1][0] for seed in range(400))
    assert all(60 < count < 140 for count in firsts.values()), firsts


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_gives_the_same_samples_with_any_number_of_workers(workers):
    data, batches = Squares(10), Batches(10, 4, 1, 2, 8)
    loaded = list(load(data, batches, micro_batch=None, workers=workers, collate=list))
    for (epoch, indices), parts in zip(batches, loaded, strict=True):
        ((part, share),) = parts
        assert share == 1
        for index, sample in zip(indices, part, strict=True):
            expected = data.sample(index, seed=1, epoch=epoch, train=True)
            assert torch.equal(sample["image"], expected["image"])


def test_micro_batches_share_the_batch():
    (parts,) = load(Squares(10), Batches(10, 5, 1, 0, 1), micro_batch=2, workers=0, collate=len)
    assert parts == [(2, 0.4), (2, 0.4), (1, 0.2)]


class Broken(Squares):
    def sample(self, index, **options):
        raise ReproError(f"image {index}.jpg is corrupt")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_sample_is_one_message_without_a_traceback(workers):
    with pytest.raises(ReproError, match=r"^image \d+\.jpg is corrupt$"):
        list(load(Broken(), Batches(22, 4, 0, 0, 6), micro_batch=None, workers=workers, collate=list))


class Holder(nn.Module):
    def __init__(self, generator=None):
        super().__init__()
        self.generator = generator


def test_generators_are_found_once():
    shared, other = torch.Generator(), torch.Generator()
    model = nn.Sequential(Holder(shared), nn.Linear(1, 1), Holder(shared), Holder(), nn.Sequential(Holder(other)))
    assert [id(found) for found in find_generators(model)] == [id(shared), id(other)]


def _draws(seed: int, iteration: int, rank: int) -> tuple[float, ...]:
    held = [torch.Generator(), torch.Generator()]
    reseed(held, seed, iteration, rank)
    own = [torch.rand((), generator=generator, dtype=torch.float64).item() for generator in held]
    return (*own, torch.rand((), dtype=torch.float64).item(), random.random(), float(np.random.rand()))  # noqa: NPY002


def test_reseeding_is_reproducible_and_differs_by_seed_iteration_rank_and_generator():
    draws = {position: _draws(*position) for position in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]}
    assert all(_draws(*position) == values for position, values in draws.items())
    for column in range(5):
        assert len({values[column] for values in draws.values()}) == 4
    assert all(len(set(values[:3])) == 3 for values in draws.values())

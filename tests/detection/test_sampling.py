"""Matching against plain loops, and the sampler's fractions and randomness."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repro.detection.sampling import BalancedSampler, Matcher


def match_by_loops(iou: np.ndarray, positive: float, negative: float, least: float) -> list[int]:
    """The authors' assigner: thresholds first, then every object in turn claims the boxes that overlap it most."""
    objects, boxes = iou.shape
    matches = []
    for box in range(boxes):
        best = max(range(objects), key=lambda i: iou[i, box])
        overlap = iou[best, box]
        matches.append(best if overlap >= positive else -1 if overlap < negative else -2)
    for i in range(objects):
        highest = max(iou[i])
        if highest >= least:
            for box in range(boxes):
                if iou[i, box] == highest:
                    matches[box] = i
    return matches


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.integers(1, 5).flatmap(
        lambda objects: st.lists(
            st.lists(st.integers(0, 10), min_size=objects, max_size=objects), min_size=1, max_size=12
        )
    ),
    st.sampled_from([(0.7, 0.3, 0.3), (0.5, 0.5, 0.5)]),
)
def test_matching(tenths, thresholds):
    iou = torch.tensor(tenths, dtype=torch.float64).T / 10  # tenths make ties frequent
    assert Matcher(*thresholds)(iou).tolist() == match_by_loops(iou.numpy(), *thresholds)


@pytest.mark.parametrize(("overlap", "expected"), [(0.29, -1), (0.3, 0), (0.31, 0)])
def test_low_quality_match_needs_the_minimum(overlap, expected):
    assert Matcher(0.7, 0.3, least=0.3)(torch.tensor([[0.1, overlap]]))[1] == expected


def test_without_objects_everything_is_background():
    assert Matcher(0.7, 0.3, 0.3)(torch.zeros(0, 4)).tolist() == [-1] * 4
    assert Matcher(0.7, 0.3, 0.3)(torch.zeros(2, 0)).tolist() == []


@pytest.mark.parametrize(
    ("positives", "negatives", "expected"), [(100, 500, (8, 24)), (3, 500, (3, 29)), (100, 4, (8, 4)), (0, 0, (0, 0))]
)
def test_sampler_takes_a_quarter_of_positives_at_most(positives, negatives, expected):
    labels = torch.tensor([2] * positives + [0] * negatives + [-1] * 50)
    sampled = BalancedSampler(32, 0.25, torch.Generator())(labels[None])
    assert (len(sampled.positives), len(sampled.negatives)) == expected
    assert ([sampled.positive_counts], [sampled.negative_counts]) == tuple([[number]] for number in expected)
    assert (labels[sampled.positives] > 0).all()
    assert (labels[sampled.negatives] == 0).all()


def test_sampler_draws_from_its_generator_alone():
    labels = torch.tensor([[1] * 50 + [0] * 50] * 2)
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    torch.manual_seed(0)
    untouched = torch.get_rng_state()
    sampler = BalancedSampler(16, 0.5, generator)

    def draw(sampler: BalancedSampler) -> torch.Tensor:
        return torch.stack([sampler(labels).positives, sampler(labels).negatives])

    first = draw(sampler)
    torch.manual_seed(1)
    other = draw(sampler)
    generator.set_state(state)
    again = draw(sampler)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0, :8], first[0, 8:] - 100)  # images have choices of their own
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), untouched)
    sampler(labels)
    assert torch.equal(torch.get_rng_state(), untouched)


def test_sampler_reaches_every_candidate_equally_often():
    labels = torch.tensor([1] * 10 + [0] * 10)
    sampler = BalancedSampler(8, 0.5, torch.Generator().manual_seed(0))
    counts = torch.zeros(20)
    for _ in range(500):
        counts[sampler(labels[None]).positives] += 1
        counts[sampler(labels[None]).negatives] += 1
    # Positives and negatives are drawn from separate calls: each candidate is taken with probability 4/10.
    assert counts.min() > 160
    assert counts.max() < 240


@pytest.mark.parametrize("number", [2**13, 2**13 + 1, 200_000])
def test_few_of_many_are_drawn_evenly(number):
    """Whether by a permutation or one by one: none twice, and as many from each tenth."""
    labels = torch.zeros(1, number, dtype=torch.int64)
    sampler = BalancedSampler(400, 0.5, torch.Generator().manual_seed(0))
    drawn = [sampler(labels).negatives for _ in range(100)]
    for each in drawn:
        assert len(each) == 400
        assert (each.diff() > 0).all()
    tenths = torch.cat(drawn).mul(10).div(number, rounding_mode="floor").bincount(minlength=10)
    assert tenths.sum() == 40_000
    assert ((tenths - 4000).abs() < 4 * 60).all()  # of a binomial distribution, four standard deviations


def test_what_is_drawn_twice_counts_once(monkeypatch):
    """Until there are as many as wanted, in the order in which they are drawn."""
    draws = iter([[7, 7, 3, 7], [3, 9, 5, 1]])
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor(next(draws)))
    sampled = BalancedSampler(4, 0.0, torch.Generator())(torch.zeros(1, 10_000, dtype=torch.int64))
    assert sampled.negatives.tolist() == [3, 5, 7, 9]


def test_sampler_takes_images_one_after_the_other():
    """A batch is sampled as its images are, each in turn."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 3, (5, 60), generator=generator)
    labels[3] = -1
    labels[4, 6:] = 0
    together = BalancedSampler(20, 0.25, torch.Generator().manual_seed(7))(labels)
    sampler = BalancedSampler(20, 0.25, torch.Generator().manual_seed(7))
    apart = [sampler(image[None]) for image in labels]
    for kind in ("positives", "negatives"):
        expected = torch.cat([60 * number + getattr(image, kind) for number, image in enumerate(apart)])
        assert getattr(together, kind).equal(expected)
    assert together.counts == [len(image.positives) + len(image.negatives) for image in apart]
    assert together.counts[3] == 0


def test_an_overlap_that_is_no_number_is_background():
    iou = torch.tensor([[float("nan"), 0.9, 0.5]])
    assert Matcher(0.7, 0.3, 0.3)(iou).tolist() == [-1, 0, -2]


def test_matching_takes_images_apart():
    iou = torch.rand(4, 3, 20, generator=torch.Generator().manual_seed(1)).mul(10).round() / 10
    matcher = Matcher(0.7, 0.3, 0.3)
    assert matcher(iou).equal(torch.stack([matcher(image) for image in iou]))

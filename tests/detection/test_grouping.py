"""Means over a few images of a batch each."""

from __future__ import annotations

import pytest
import torch

from repro.detection.grouping import LossGroups


def test_groups_cover_a_batch():
    groups = LossGroups(10, 4)
    assert [list(range(10))[part] for part in groups.slices] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert groups.shares == pytest.approx([0.4, 0.4, 0.2])
    assert groups.add_up(range(10)) == [6, 22, 17]


@pytest.mark.parametrize("size", [None, 3, 5])
def test_without_smaller_groups_all_images_are_one(size):
    groups = LossGroups(3, size)
    assert (groups.slices, groups.shares) == ([slice(0, 3)], [1.0])


def test_average_by_hand():
    """Of images with 1, 2, 0 and 3 values in groups of two, divided by other numbers than these."""
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, 10.0], [11.0, 12.0]])
    groups = LossGroups(4, 2)
    assert groups.average_sums(values, [1, 2, 0, 3], [2, 5, 1, 2]) == 0.5 * 21 / 7 + 0.5 * 57 / 3
    assert groups.average_sums(values[:3], [1, 2, 0, 0], [2, 5, 0, 0]) == 0.5 * 21 / 7  # nothing, of no images


def test_the_mean_of_one_group_has_the_bits_of_a_plain_one():
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert LossGroups(2).average_sums(values, [400, 600], [400, 600]).equal(values.sum() / 1000)

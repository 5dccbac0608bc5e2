"""Exact rank tests of a predicted order: Mann and Whitney's for two groups, Jonckheere and Terpstra's for more.

The null distribution is that of all ways in which the runs could have been dealt to the groups, ties included, counted
in whole numbers: no approximation, and no assumption about how runs scatter. With strata, runs are dealt within each
and the statistics are added (van Elteren's design with equal weights). Imports neither numpy nor scipy.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

#: Groups of values, in the order in which they are predicted to increase.
Groups = Sequence[Sequence[float]]


@dataclass(frozen=True)
class OrderPValues:
    """The two one-sided p-values of a predicted order: `p` that it is not so, `p_contrary` that not the reverse is."""

    p: float
    p_contrary: float


def compute_order_p_values(strata: Sequence[Groups]) -> OrderPValues:
    """Test whether values increase from each group to the next, within every stratum.

    The statistic is the number of pairs of runs of different groups of a stratum that lie in the predicted order, a tie
    counting one half.

    >>> compute_order_p_values([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
    OrderPValues(p=0.05, p_contrary=1.0)

    Raises:
        ValueError: a stratum has fewer than two groups, or a group no value.
    """
    observed, distribution = 0, [1]
    for groups in strata:
        if len(groups) < 2 or not all(groups):
            raise ValueError(f"a stratum needs two groups or more with values, not {groups}")
        observed += _count_twice(groups)
        ties = tuple(count for _, count in _count_values(groups))
        distribution = _convolve(distribution, _distribute(tuple(map(len, groups)), ties))
    total = sum(distribution)
    return OrderPValues(sum(distribution[observed:]) / total, sum(distribution[: observed + 1]) / total)


def compute_difference_p(strata: Sequence[Groups], margin: float) -> float:
    """Test that some two groups differ by more than `margin`: the p-value, of all pairs and sides (Bonferroni).

    >>> round(compute_difference_p([[[1.0, 2.0, 3.0, 4.0], [11.0, 12.0, 13.0, 14.0]]], margin=5.0), 4)
    0.0286

    Args:
        strata: the same groups in each, as of each seed.
    """
    pairs = list(itertools.permutations(range(len(strata[0])), 2))
    least = min(
        compute_order_p_values([[[value + margin for value in groups[a]], groups[b]] for groups in strata]).p
        for a, b in pairs
    )
    return min(1.0, len(pairs) * least)


def count_deals(sizes: Sequence[int]) -> int:
    """Count the ways to deal runs to groups of these sizes: one in so many is the least p-value that they can give.

    >>> count_deals([3, 9])
    220
    """
    return math.factorial(sum(sizes)) // math.prod(map(math.factorial, sizes))


def _count_twice(groups: Groups) -> int:
    """Twice the statistic, so that it is whole with ties."""
    return sum(
        2 * (low < high) + (low == high)
        for first, second in itertools.combinations(groups, 2)
        for low in first
        for high in second
    )


def _count_values(groups: Groups) -> list[tuple[float, int]]:
    """Each distinct value, ascending, and how often it stands."""
    values = sorted(itertools.chain.from_iterable(groups))
    return [(value, len(list(same))) for value, same in itertools.groupby(values)]


@cache
def _distribute(sizes: tuple[int, ...], ties: tuple[int, ...]) -> list[int]:
    """The number of deals of the runs to groups of these sizes by twice the statistic.

    Args:
        ties: how many runs have the least value, the next, and so on.

    Values are dealt in ascending order: a run that falls to group j forms a pair in order with every run that a group
    before j has by then. A polynomial of counts is one whole number, with `slot` bits for each coefficient.
    """
    if set(ties) == {1}:
        return _distribute_distinct(sizes)
    slot = count_deals(sizes).bit_length() + 1
    reached = {(0,) * len(sizes): 1}
    for number in ties:
        following: dict[tuple[int, ...], int] = {}
        for filled, polynomial in reached.items():
            room = [size - full for size, full in zip(sizes, filled, strict=True)]
            for dealt in _deal(number, room):
                gained, before, beside = 0, 0, 0
                for full, new in zip(filled, dealt, strict=True):
                    gained += 2 * new * before + new * beside
                    before, beside = before + full, beside + new
                state = tuple(full + new for full, new in zip(filled, dealt, strict=True))
                ways = count_deals(dealt)
                following[state] = following.get(state, 0) + ways * (polynomial << (slot * gained))
        reached = following
    (polynomial,) = reached.values()
    most = 2 * sum(a * b for a, b in itertools.combinations(sizes, 2))
    mask = (1 << slot) - 1
    return [(polynomial >> (slot * place)) & mask for place in range(most + 1)]


def _distribute_distinct(sizes: tuple[int, ...]) -> list[int]:
    """The same where no two runs have one value: the coefficients of a Gaussian multinomial, which takes less time."""
    distribution, total = [1], sizes[0]
    for size in sizes[1:]:
        total += size
        distribution = _convolve(distribution, _expand_gaussian_binomial(total, size))
    doubled = [0] * (2 * len(distribution) - 1)
    doubled[::2] = distribution
    return doubled


def _expand_gaussian_binomial(n: int, k: int) -> list[int]:
    """The coefficients of the product of (1 - q^(n - k + i)) / (1 - q^i) for i from 1 to k."""
    most = k * (n - k)
    coefficients = [1] + [0] * most
    for i in range(1, k + 1):
        for place in range(most, n - k + i - 1, -1):
            coefficients[place] -= coefficients[place - (n - k + i)]
        for place in range(i, most + 1):
            coefficients[place] += coefficients[place - i]
    return coefficients


def find_critical_pairs(strata: Sequence[Sequence[int]], level: float) -> float:
    """Find how many pairs in the predicted order reject at a level, for groups of these sizes; infinite if none do.

    >>> find_critical_pairs([[3, 3]], level=0.05)
    9.0
    """
    distribution = [1]
    for sizes in strata:
        distribution = _convolve(distribution, _distribute_distinct(tuple(sizes)))
    total, tail = sum(distribution), 0
    for place in range(len(distribution) - 1, -1, -1):
        tail += distribution[place]
        if tail > level * total:
            return math.inf if place == len(distribution) - 1 else _next_filled(distribution, place) / 2
    return 0.0


def _next_filled(distribution: Sequence[int], place: int) -> int:
    """The next possible value of twice the statistic."""
    return next(after for after in range(place + 1, len(distribution)) if distribution[after])


def _deal(number: int, room: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every way to deal `number` like runs to groups that have room for so many."""
    if len(room) == 1:
        if number <= room[0]:
            yield (number,)
        return
    for first in range(min(number, room[0]) + 1):
        for rest in _deal(number - first, room[1:]):
            yield (first, *rest)


def _convolve(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """The distribution of the sum of two independent statistics."""
    result = [0] * (len(first) + len(second) - 1)
    for place, ways in enumerate(first):
        if ways:
            for other, more in enumerate(second):
                result[place + other] += ways * more
    return result

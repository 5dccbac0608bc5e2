"""McNemar's test of two classifiers on the same items: only the items that exactly one of them gets right count."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from repro.statistics.intervals import compute_normal_quantile


@dataclass(frozen=True)
class Discordance:
    """The number of items, of n, that only the first classifier got right, and that only the second got right."""

    n: int
    first: int
    second: int

    @staticmethod
    def count(first: np.ndarray, second: np.ndarray) -> Discordance:
        """Count from whether each item was right: bool (n,), the same items in the same order.

        >>> Discordance.count(np.array([True, True, False, True]), np.array([True, False, True, False]))
        Discordance(n=4, first=2, second=1)

        Raises:
            ValueError: the shapes differ, or there is no item.
        """
        if first.shape != second.shape or not len(first):
            raise ValueError(f"paired items are needed, not {first.shape} and {second.shape}")
        return Discordance(len(first), int(np.sum(first & ~second)), int(np.sum(second & ~first)))

    @property
    def difference(self) -> float:
        """The difference of the accuracies, first minus second, as a share of the items."""
        return (self.first - self.second) / self.n


def compute_mid_p(counts: Discordance) -> float:
    """Compute the two-sided mid-p-value of equal accuracies: each discordant item is then the toss of a fair coin.

    Half the probability of what was observed counts, so that the level is nearer to the nominal one than that of the
    exact test, which is conservative. Fagerland, Lydersen and Laake (BMC Medical Research Methodology 13:91, 2013)
    recommend it: it hardly ever exceeds the nominal level and has almost the power of the asymptotic test.

    >>> round(compute_mid_p(Discordance(n=100, first=12, second=3)), 4)
    0.0213
    """
    fewer = min(counts.first, counts.second)
    return _compute_tail(fewer, counts) + _compute_tail(fewer - 1, counts)


def _compute_tail(heads: int, counts: Discordance) -> float:
    """The probability of at most so many heads when each discordant item is a toss."""
    from scipy.special import bdtr  # half a second that readers of results need not wait

    return float(bdtr(heads, counts.first + counts.second, 0.5)) if heads >= 0 else 0.0


def compute_interval(counts: Discordance, confidence: float = 0.95) -> tuple[float, float]:
    """Compute the interval (low, high) of the difference of the accuracies, as shares.

    It is Wald's with one item added to either side: Bonett and Price (Journal of Educational and Behavioral Statistics
    37:479, 2012). Unlike Wald's own it does not shrink to a point when no item is discordant, and it covers as well as
    score intervals do without an iteration.

    >>> low, high = compute_interval(Discordance(n=100, first=12, second=3))
    >>> print(f"{low:.3f} to {high:.3f}")
    0.011 to 0.166
    """
    first, second, n = counts.first + 1, counts.second + 1, counts.n + 2
    middle = (first - second) / n
    half = compute_normal_quantile(confidence) * math.sqrt(((first + second) / n - middle**2) / n)
    return max(middle - half, -1.0), min(middle + half, 1.0)

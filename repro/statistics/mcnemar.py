"""McNemar's test: two classifiers on the same items, of which only those count that one alone gets right."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from repro.statistics.intervals import compute_normal_quantile


@dataclass(frozen=True)
class Discordance:
    """Of n items, how many only the first got right, and how many only the second."""

    n: int
    first: int
    second: int

    @staticmethod
    def of(first: np.ndarray, second: np.ndarray) -> Discordance:
        """From whether each item was right: bool (n,) of the same items in the same order."""
        if first.shape != second.shape or not len(first):
            raise ValueError(f"paired items are needed, not {first.shape} and {second.shape}")
        return Discordance(len(first), int(np.sum(first & ~second)), int(np.sum(second & ~first)))

    @property
    def difference(self) -> float:
        """Of the accuracies, first minus second, as a share of the items."""
        return (self.first - self.second) / self.n


def exact_p(counts: Discordance) -> float:
    """Two-sided p-value of equal accuracies: the discordant items are tosses of a fair coin. Conservative."""
    return min(1.0, 2 * _compute_tail(min(counts.first, counts.second), counts))


def compute_mid_p(counts: Discordance) -> float:
    """As `exact_p`, with half the probability of what was observed: nearer to the nominal level.

    Fagerland, Lydersen and Laake (BMC Medical Research Methodology 13:91, 2013) recommend it: it hardly ever exceeds
    the nominal level and has almost the power of the asymptotic test.
    """
    fewer = min(counts.first, counts.second)
    return _compute_tail(fewer, counts) + _compute_tail(fewer - 1, counts)


def _compute_tail(heads: int, counts: Discordance) -> float:
    """The probability of at most so many heads when each discordant item is a toss."""
    from scipy.special import bdtr  # half a second that readers of results need not wait

    return float(bdtr(heads, counts.first + counts.second, 0.5)) if heads >= 0 else 0.0


def compute_interval(counts: Discordance, confidence: float = 0.95) -> tuple[float, float]:
    """(low, high) of the difference of the accuracies, as shares: Wald's with one item added to either side.

    Bonett and Price (Journal of Educational and Behavioral Statistics 37:479, 2012). Unlike Wald's own it is no point
    when no item is discordant, and it covers as well as score intervals do without an iteration.
    """
    first, second, n = counts.first + 1, counts.second + 1, counts.n + 2
    middle = (first - second) / n
    half = compute_normal_quantile(confidence) * math.sqrt(((first + second) / n - middle**2) / n)
    return max(middle - half, -1.0), min(middle + half, 1.0)

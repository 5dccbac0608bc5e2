"""Spread and intervals over seeds. Imports neither torch nor scipy."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from functools import cache


def compute_deviation(values: Iterable[float]) -> float | None:
    """Compute the standard deviation over seeds; None for fewer than two.

    >>> compute_deviation([38.0, 38.5, 39.0])
    0.5
    """
    values = tuple(values)
    return _compute_deviation(values) if len(values) > 1 else None


@cache  # exact arithmetic is slow, and a baseline's values stand in many rows
def _compute_deviation(values: tuple[float, ...]) -> float:
    return statistics.stdev(values)


@cache
def compute_student_quantile(confidence: float, n: int) -> float:
    """Compute the two-sided quantile of Student's t with n - 1 degrees of freedom, to float precision; n >= 2.

    >>> round(compute_student_quantile(0.95, n=3), 4)
    4.3027

    It bisects the closed form for whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4): importing
    scipy for one number takes longer than everything else that `repro verify` does.
    """
    freedom = n - 1
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _compute_probability_within(middle, freedom) < confidence else (low, middle)
    return math.tan((low + high) / 2) * math.sqrt(freedom)


def _compute_probability_within(angle: float, freedom: int) -> float:
    """The probability of |t| < sqrt(freedom) tan(angle)."""
    cosine = math.cos(angle)
    odd = freedom % 2
    term = total = cosine if odd else 1.0
    if freedom == 1:
        total = 0.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    total *= math.sin(angle)
    return (angle + total) * 2 / math.pi if odd else total


def compute_prediction_half_width(values: Sequence[float], confidence: float) -> float:
    """Compute half the width of the interval around the mean that holds one more draw from the same distribution.

    >>> round(compute_prediction_half_width([38.0, 38.2, 38.4], confidence=0.95), 3)
    0.994

    Args:
        values: at least two, of a normal distribution.
    """
    n = len(values)
    return compute_student_quantile(confidence, n) * _compute_deviation(tuple(values)) * math.sqrt(1 + 1 / n)


def compute_mean_half_width(values: Sequence[float], confidence: float) -> float:
    """Compute half the width of the interval around the mean of `values` that holds the true mean.

    >>> round(compute_mean_half_width([38.0, 38.2, 38.4], confidence=0.95), 3)
    0.497

    Args:
        values: at least two.
    """
    n = len(values)
    return compute_student_quantile(confidence, n) * _compute_deviation(tuple(values)) / math.sqrt(n)

"""Spread and intervals over seeds. Imports neither torch nor scipy.

Importing scipy for one number takes longer than everything else that `repro verify` does, so the distributions of
Student and Fisher are computed here from the incomplete beta function.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
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


def shrink_deviation(deviation: float | None, n: int, prior: float, prior_freedom: int) -> float:
    """Combine the standard deviation of n seeds with that of a prior: the root of the mean of both variances.

    s^2 = (nu_0 sigma_0^2 + (n - 1) s^2) / (nu_0 + n - 1), with nu_0 + n - 1 degrees of freedom: the posterior scale of
    a normal distribution's variance under a scaled inverse chi-squared prior (Gelman et al., Bayesian Data Analysis,
    3rd ed., section 2.6).

    >>> round(shrink_deviation(0.3, n=3, prior=0.15, prior_freedom=10), 3)
    0.184

    Args:
        deviation: of the n seeds; None for one.
        prior: sigma_0.
        prior_freedom: nu_0.
    """
    own = n - 1
    squares = prior_freedom * prior**2 + (own * deviation**2 if deviation is not None else 0.0)
    return math.sqrt(squares / (prior_freedom + own))


@cache
def compute_student_quantile(confidence: float, freedom: int) -> float:
    """Compute the two-sided quantile of Student's t, to float precision.

    >>> round(compute_student_quantile(0.95, freedom=2), 4)
    4.3027
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        within = 1 - compute_student_tail(math.tan(middle) * math.sqrt(freedom), freedom)
        low, high = (middle, high) if within < confidence else (low, middle)
    return math.tan((low + high) / 2) * math.sqrt(freedom)


def compute_student_tail(t: float, freedom: int) -> float:
    """Compute the probability that Student's |t| is at least `t`.

    >>> round(compute_student_tail(4.3027, freedom=2), 4)
    0.05
    """
    return _compute_beta_share(freedom / (freedom + t * t), freedom / 2, 0.5)


def compute_fisher_tail(ratio: float, freedom: int, other_freedom: int) -> float:
    """Compute the probability that the ratio of two estimates of one variance is at least `ratio`: Fisher's F.

    >>> round(compute_fisher_tail(10.04, freedom=1, other_freedom=10), 3)
    0.01
    """
    return _compute_beta_share(other_freedom / (other_freedom + freedom * ratio), other_freedom / 2, freedom / 2)


def _compute_beta_share(x: float, a: float, b: float) -> float:
    """Compute the regularised incomplete beta function by its continued fraction (Abramowitz and Stegun 26.5.8)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _compute_beta_share(1 - x, b, a)
    tiny = 1e-300
    factor = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or tiny)  # Lentz's method
    value = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = value
        for term in (even, odd):
            d = 1 / (1 + term * d or tiny)
            c = 1 + term / c or tiny
            value *= c * d
        if abs(value - before) <= 1e-16 * abs(value):
            break
    return factor * value


def compute_run_half_width(deviation: float, n: int, freedom: int, confidence: float) -> float:
    """Compute half the width of the interval around the mean of n runs that holds one more run.

    >>> round(compute_run_half_width(0.15, n=1, freedom=10, confidence=0.95), 3)
    0.473

    Args:
        deviation: between runs, of a normal distribution, estimated with `freedom` degrees of freedom.
    """
    return compute_student_quantile(confidence, freedom) * deviation * math.sqrt(1 + 1 / n)

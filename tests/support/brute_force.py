"""Mean distances over all ordered pairs, pair by pair."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def brute_jensen_shannon(distributions: Tensor) -> float:
    """Over all ordered pairs, in extended precision, by the paper's formula."""
    values = distributions.numpy().astype(np.longdouble)

    def term(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(x > 0, x * np.log(2 * x / (x + y)), 0)

    total = sum(float((term(v, values) + term(values, v)).sum()) / 2 for v in values)
    return total / len(values) ** 2


def brute_cosine(vectors: Tensor) -> float:
    values = vectors.numpy().astype(np.longdouble)
    lengths = np.sqrt((values**2).sum(1, keepdims=True))
    units = np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)
    # |a - b|^2 / 2 = 1 - cos keeps the digits of nearly parallel vectors, which 1 - a b loses.
    distances = [
        np.where(((lengths > 0) & (length > 0))[:, 0], ((units - unit) ** 2).sum(1) / 4, 0.5)
        for unit, length in zip(units, lengths, strict=True)
    ]
    return float(np.mean(distances))

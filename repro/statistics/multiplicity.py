"""p-values of several tests, adjusted for their number."""

from __future__ import annotations

from collections.abc import Sequence


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that the chance of any false rejection is at most the level, whatever the dependence.

    Holm (Scandinavian Journal of Statistics 6:65, 1979): a test is rejected when its adjusted p-value is at
    most the level.

    >>> [round(p, 3) for p in adjust_holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(_sort_places(p_values)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def adjust_benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that of those below the level, the share that is false is expected to be at most the level.

    Benjamini and Hochberg (Journal of the Royal Statistical Society B 57:289, 1995), for tests that are independent or
    positively dependent. For looking around, not for confirming.

    >>> [round(p, 3) for p in adjust_benjamini_hochberg([0.01, 0.04, 0.03])]
    [0.03, 0.04, 0.04]
    """
    n, adjusted, least = len(p_values), [0.0] * len(p_values), 1.0
    for rank, place in reversed(list(enumerate(_sort_places(p_values), 1))):
        least = min(least, p_values[place] * n / rank)
        adjusted[place] = least
    return adjusted


def _sort_places(p_values: Sequence[float]) -> list[int]:
    return sorted(range(len(p_values)), key=lambda place: p_values[place])

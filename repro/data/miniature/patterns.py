"""Patterns of squares, which the generated images and videos draw alike: small filters tell them apart."""

from __future__ import annotations

import numpy as np


def draw_pattern(rng: np.random.Generator, name: str, period: int, side: int) -> np.ndarray:
    """bool (side, side): where a pattern is dark.

    Args:
        name: "checks", "columns", "diagonals", "dots", "grid", "lattice", "rings" or "rows".
        period: of the pattern, pixels.
    """
    shift_y, shift_x = rng.integers(0, period, 2)
    y, x = np.arange(side)[:, None] + shift_y, np.arange(side)[None, :] + shift_x
    falling, rising = x - y, x + y
    wide, narrow = (lambda coordinate, width=width: coordinate % period < width for width in (period // 2, period // 4))
    drawn = {
        "rows": lambda: wide(y + 0 * x),
        "columns": lambda: wide(x + 0 * y),
        # Either way, as a mirrored image shows the same.
        "diagonals": lambda: wide(falling if rng.integers(2) else rising),
        "checks": lambda: wide(x) ^ wide(y),
        "dots": lambda: wide(x) & wide(y),
        "grid": lambda: narrow(x) | narrow(y),
        "lattice": lambda: narrow(falling) | narrow(rising),
        "rings": lambda: wide(_measure_distances(side) + shift_y),
    }
    return drawn[name]()


def _measure_distances(side: int) -> np.ndarray:
    """int64 (side, side): from the middle, pixels, rounded down."""
    twice = 2 * np.arange(side) - side + 1
    return np.sqrt(twice[:, None] ** 2 + twice[None, :] ** 2).astype(int) // 2

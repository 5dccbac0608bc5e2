"""Ground and colours, which the generated data sets draw alike."""

from __future__ import annotations

import colorsys

import numpy as np

Point = tuple[int, int]


def draw_ground(rng: np.random.Generator, height: int, width: int, noise: int) -> np.ndarray:
    """uint8 (height, width, 3): nearly grey, with a gradient and some noise, in integers throughout."""
    base = rng.integers(90, 140) + rng.integers(-5, 6, 3)
    down, across = rng.integers(-25, 26, 2)
    rows, columns = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    gradient = down * (2 * rows - height) // height + across * (2 * columns - width) // width
    grain = rng.integers(-noise, noise + 1, (height, width, 1))
    return np.clip(base + gradient + grain, 0, 255).astype(np.uint8)


def draw_colour(
    rng: np.random.Generator,
    hue: float,
    spread: float,
    saturation: tuple[float, float],
    value: tuple[float, float],
) -> tuple[int, int, int]:
    """RGB, 0..255, at most `spread` from a hue; saturation and value uniform in these ranges."""
    hue = (hue + rng.uniform(-spread, spread)) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, rng.uniform(*saturation), rng.uniform(*value))
    return int(255 * red), int(255 * green), int(255 * blue)

"""Pixels as input of a network: scaled, and normalised by the mean and the standard deviation of each channel."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from repro.experiments.preprocessing import Preprocessing


def normalise_channels(pixels: Tensor, preprocessing: Preprocessing, dimensions: int) -> Tensor:
    """Normalise RGB values from 0 to 255 (..., 3, *dimensions), uint8 or float32, on their device: float32.

    Args:
        dimensions: how many follow the channels: 2 of images, 3 of clips.
    """
    send = torch.tensor if torch.compiler.is_compiling() else _send_once  # a compiled graph has constants of its own
    mean, std = (
        send(values, device=pixels.device).view(3, *(1,) * dimensions)
        for values in (preprocessing.mean, preprocessing.std)
    )
    if preprocessing.color == "BGR":
        pixels = pixels.flip(-1 - dimensions)
    scaled = pixels / 255 if preprocessing.maximum == 1 else pixels.float()
    return (scaled - mean).div_(std)


@lru_cache(maxsize=32)
def _send_once(values: tuple[float, ...], device: torch.device) -> Tensor:
    """`values` on `device`, sent once: the GPU would be waited for each time, and a recorded pass cannot send any."""
    with torch.inference_mode(False):  # where an evaluation comes first, trainings use it after it
        return torch.tensor(values, device=device)

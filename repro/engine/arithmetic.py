"""Whether a GPU multiplies float32 numbers in TF32, which has 10 of their 23 bits behind the point."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from repro.settings import Precision


def choose_tf32(precision: Precision) -> None:
    """Have the convolutions and matrix products of this process's float32 numbers use TF32, or not.

    Of PyTorch's own defaults, cuDNN's convolutions would use it. A CPU has no TF32.
    """
    wanted = "high" if precision == "tf32" else "highest"
    if torch.get_float32_matmul_precision() != wanted:
        torch.set_float32_matmul_precision(wanted)
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def uses_tf32() -> bool:
    """Whether float32 numbers are multiplied in TF32 where the device has it."""
    return torch.get_float32_matmul_precision() != "highest"


@contextmanager
def use_float32() -> Iterator[None]:
    """Compute products of float32 in float32: logits of bfloat16 more than double a divergence of 1e-4."""
    precision, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = cudnn

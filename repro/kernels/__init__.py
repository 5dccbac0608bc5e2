"""Triton kernels, for CUDA devices. Importing this package does not import Triton, which an installation may lack."""

from __future__ import annotations

import warnings
from functools import cache

import torch


@cache
def can_run_on(device: torch.device) -> bool:
    """Whether Triton is there and can build and run a kernel on that device; if it is there and cannot, says why."""
    try:
        from repro.kernels import context
    except ImportError:
        return False
    try:
        context.fuse(torch.zeros(1, 16, 4, 4, device=device), torch.zeros(1, 16, device=device), scales=False)
    except Exception as error:  # of any kind: Triton calls a C compiler, a linker and the driver
        why = str(error).strip().partition("\n")[0]
        warnings.warn(f"Triton cannot be used here, which is slower: {type(error).__name__}: {why}", stacklevel=2)
        return False
    return True

"""How much memory was needed, and what to do where it was not enough."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from repro.errors import ReproError


def measure_peak_memory(device: torch.device) -> int:
    """Bytes at most since `reset_peak_memory`: of the GPU's tensors, or resident in main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak_memory() -> None:
    """Let `measure_peak_memory` begin anew, where the system lets a process do that (Linux)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


@contextmanager
def explain_memory_errors(stage: str, remedy: str) -> Iterator[None]:
    """Work on a device that may run out of memory.

    Args:
        stage: what is done, in words.
        remedy: what to lower.

    Raises:
        ReproError: the device's memory was not enough.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = str(error).strip().split(". ")[0]
        raise ReproError(
            f"the device ran out of memory in {stage} ({reason}). {remedy} What was measured and saved before stays."
        ) from None

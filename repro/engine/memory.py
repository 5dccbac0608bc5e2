"""Peak memory, and errors where the memory was not enough."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from repro.errors import ReproError


def measure_peak_memory(device: torch.device) -> int:
    """Measure the most bytes since `reset_peak_memory`: of the GPU's tensors, or resident in main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak_memory() -> None:
    """Restart `measure_peak_memory`, where the system allows it (Linux)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


@contextmanager
def explain_memory_errors(stage: str, remedy: str) -> Iterator[None]:
    """Report that the device ran out of memory, with a remedy.

    Args:
        stage: what is computed, in words.
        remedy: what to do, a sentence.

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


def suggest_for_evaluation(batch: int | None) -> str:
    """Suggest, for `explain_memory_errors`, what to do where an evaluation of so many images together was too large."""
    if batch and batch > 1:
        return f"Lower --evaluation-batch (now {batch})."
    return "It is as small as it gets: free the GPU, or use --device cpu."

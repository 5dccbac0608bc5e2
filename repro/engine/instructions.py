"""The instruction set that the mini profile computes with. It is chosen before torch computes.

A CPU with wider registers adds in another order, and a training ends in other weights. So the mini profile leaves all
but AVX2 unused, which nearly all x86-64 CPUs have that were made since 2015; a record says what a CPU without it
computed with. MKL, which multiplies matrices, also asks who made the CPU: in its compatible mode it computes alike on
all of them (docs/mini.md).
"""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

#: What PyTorch's own kernels, its convolutions (oneDNN) and its matrix products (MKL) read when they are loaded.
_PINNED = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
}


def pin(profile: str) -> dict[str, str]:
    """The variables with which a process is to be started that measures in that profile; empty where it is "full".

    A variable that is set already wins, so that somebody may measure what other instructions do. Other architectures
    than x86-64 have kernels of their own: nothing is pinned there.
    """
    if profile != "mini" or platform.machine().lower() not in ("x86_64", "amd64"):
        return {}
    return {name: value for name, value in _PINNED.items() if name not in os.environ}


def describe_processor() -> dict[str, str | None]:
    """The CPU's model, what PyTorch computes with on it, and what the process was limited to (None: to nothing)."""
    import torch

    model = None
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "limited_to": _describe_limits(),
    }


def _describe_limits() -> str | None:
    """What the variables say, in words where they are those of the mini profile."""
    given = {name: os.environ.get(name) for name in _PINNED}
    if given == _PINNED:
        return "AVX2 and MKL's compatible mode"
    return ", ".join(f"{name}={value}" for name, value in given.items() if value) or None

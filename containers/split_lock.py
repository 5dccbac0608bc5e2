"""Splits requirements.lock for an environment without CUDA: what stays locked by hash, and PyTorch, by version alone.

The wheels of PyTorch that the lock names need NVIDIA's libraries to be imported at all. Those for CPUs come from
another index, and have other hashes.

    python containers/split_lock.py requirements.lock locked.txt torch.txt
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

TORCH = frozenset({"torch", "torchvision"})
#: What the wheels of PyTorch for CUDA bring with them, and those for CPUs do not.
_CUDA = re.compile(r"(nvidia|cuda)-.+|triton")
_ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==[^\n]*(?:\n[ \t][^\n]*)*\n?", re.MULTILINE)


def split_lock(lock: str) -> tuple[str, str]:
    """Split the text of a lock file: entries with their hashes, and the pinned versions of PyTorch without any."""
    locked, torch = [], []
    for entry in _ENTRY.finditer(lock):
        name = entry["name"].lower()
        if name in TORCH:
            torch.append(entry[0].splitlines()[0].rstrip(" \\") + "\n")
        elif not _CUDA.fullmatch(name):
            locked.append(entry[0])
    return "".join(locked), "".join(torch)


if __name__ == "__main__":
    source, *targets = map(Path, sys.argv[1:])
    for target, text in zip(targets, split_lock(source.read_text()), strict=True):
        target.write_text(text)

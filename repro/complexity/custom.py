"""Counts a module of the user's own, built by a function in a Python file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from torch import nn

from repro.complexity.trace import count
from repro.complexity.tree import Counted
from repro.errors import ReproError
from repro.user_code import load_factory, report_failures


def count_file(reference: str, shapes: Sequence[tuple[int, ...]]) -> Counted:
    """Count the module that `reference`, "path.py:factory", builds, in evaluation mode on zeros of those shapes.

    It is built and traced on the meta device or, where that fails, on the CPU: on the meta device there are no values
    that a module could read.

    Raises:
        ReproError: the file cannot be loaded, the factory gives no module, or the forward pass fails.
    """
    build = load_factory(reference)
    try:
        return _count(build, reference, shapes, "meta")
    except ReproError:
        return _count(build, reference, shapes, "cpu")


def parse_shape(text: str) -> tuple[int, ...]:
    """Parse a shape.

    >>> parse_shape("1x3x224x224")
    (1, 3, 224, 224)

    Raises:
        ReproError: `text` is no shape.
    """
    if not re.fullmatch(r"[1-9][0-9]*(x[1-9][0-9]*)*", text):
        raise ReproError(f"--input {text!r} is no shape: write the size of each dimension, as in 1x3x224x224")
    return tuple(map(int, text.split("x")))


def _count(build: Callable[[], object], reference: str, shapes: Sequence[tuple[int, ...]], device: str) -> Counted:
    with torch.device(device):
        with report_failures(f"--model: {reference} failed"):
            module = build()
        if not isinstance(module, nn.Module):
            raise ReproError(f"--model: {reference} returned {type(module).__name__}, not a torch.nn.Module")
        given = ", ".join("x".join(map(str, shape)) for shape in shapes)
        with report_failures(f"{type(module).__name__} cannot be traced with input {given}"):
            return count(module.eval(), tuple(torch.zeros(shape) for shape in shapes))

"""Counts a module of the user's own, built by a function in a Python file."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from repro.complexity.trace import count
from repro.complexity.tree import Counted
from repro.errors import ReproError


def count_file(reference: str, shapes: Sequence[tuple[int, ...]]) -> Counted:
    """The module that `reference`, "path.py:factory", builds, in evaluation mode on zeros of those shapes.

    It is built and traced on the meta device, or on the CPU where that fails: there are no values on the former that
    a module could ask for.

    Raises:
        ReproError: the file, the factory, the module or its forward pass does not do what it must.
    """
    factory = _factory(reference)
    try:
        return _count(factory, reference, shapes, "meta")
    except ReproError:
        return _count(factory, reference, shapes, "cpu")


def shape(text: str) -> tuple[int, ...]:
    """The shape that "1x3x224x224" is.

    Raises:
        ReproError: it is none.
    """
    if not re.fullmatch(r"[1-9][0-9]*(x[1-9][0-9]*)*", text):
        raise ReproError(f"--input {text!r} is no shape: write the size of each dimension, as in 1x3x224x224")
    return tuple(map(int, text.split("x")))


def _factory(reference: str) -> Callable[[], object]:
    file, _, name = reference.rpartition(":")
    if not file or not name:
        raise ReproError(f"--model {reference!r}: write FILE.py:FACTORY, a file and the name of a function in it")
    path = Path(file).resolve()
    if not path.is_file():
        raise ReproError(f"--model: there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ReproError(f"--model: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # what it imports may lie beside it, as if it were a script
    with _foreign(f"--model: {path} cannot be imported"):
        spec.loader.exec_module(module)
    factory = getattr(module, name, None)
    if not callable(factory):
        raise ReproError(f"--model: {path} has no function {name!r}")
    return factory


def _count(factory: Callable[[], object], reference: str, shapes: Sequence[tuple[int, ...]], device: str) -> Counted:
    with torch.device(device):
        with _foreign(f"--model: {reference} failed"):
            module = factory()
        if not isinstance(module, nn.Module):
            raise ReproError(f"--model: {reference} returned {type(module).__name__}, not a torch.nn.Module")
        given = ", ".join("x".join(map(str, shape)) for shape in shapes)
        with _foreign(f"{type(module).__name__} cannot be traced with input {given}"):
            return count(module.eval(), tuple(torch.zeros(shape) for shape in shapes))


@contextmanager
def _foreign(what: str) -> Iterator[None]:
    """Code of others may raise anything. Whoever asked for it wants to read what in one message."""
    try:
        yield
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())
        raise ReproError(f"{what}: {type(error).__name__}: {said[:500]}") from error

"""Networks through torch.compile."""

from __future__ import annotations

import time

import torch
from torch import nn

from repro.files.notices import tell


def compile_model(model: nn.Module) -> None:
    """Have `model` compiled by torch.compile, in place; its parameters and their names stay.

    It is compiled while it is used, a graph at a time. How long each takes is told to the user.
    """
    torch.compiler.reset()  # or a limit that all networks of a process share may prevent it silently
    _Stopwatch().start()
    model.compile()


class _Stopwatch:
    """Tells how long PyTorch compiles, until it is reset."""

    def __init__(self) -> None:
        self.begun = self.total = 0.0

    def start(self) -> None:
        torch._dynamo.on_compile_start(self._begin)
        torch._dynamo.on_compile_end(self._end)

    def _begin(self, _: object) -> None:
        self.begun = time.monotonic()

    def _end(self, _: object) -> None:
        took = time.monotonic() - self.begun
        self.total += took
        if took >= 1:
            tell(f"torch.compile took {took:.0f} s, {self.total:.0f} s in all")

"""CUDA graphs as far as a CPU can have them: operators are recorded with their tensors, and executed again on those."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

#: What a graph cannot do: wait for a value or a size, or send numbers that the host has.
_REFUSED = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.lift_fresh.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten._unique2.default,
}


class _Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple, dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func in _REFUSED:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not func.is_view:  # a view is of memory that is written again
            self.calls.append((func, args, kwargs, out))
        return out

    def replay(self) -> None:
        for func, args, kwargs, out in self.calls:
            new = func(*args, **kwargs)
            for old, value in zip(tree_flatten(out)[0], tree_flatten(new)[0], strict=True):
                if isinstance(old, Tensor) and old is not value:
                    old.copy_(value)


class Recorder:
    """As `repro.engine.graphs.Recorder`, on a CPU."""

    def __init__(self, device: torch.device) -> None:
        assert device.type == "cpu"

    def record(self, compute: Callable[[], None]) -> Callable[[], None]:
        compute()
        recorder = _Operators()
        with recorder:
            compute()

        def replay() -> None:
            with torch.no_grad():
                recorder.replay()

        return replay

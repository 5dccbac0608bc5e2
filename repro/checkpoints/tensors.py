"""Tensors made of what a pickle says of them and of the bytes in the file, and what weights cannot be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from repro.checkpoints.pickle_standins import ArrayStandin, Refused, StorageStandin, TensorStandin

if TYPE_CHECKING:
    from torch import Tensor

_WHOLE = "That is how it was saved: fetching it again does not help."
#: What a norm layer counts or squares, as PyTorch, TensorFlow, MXNet and Caffe2 call it.
_NOT_NEGATIVE = re.compile(r"(^|[._/])(running_var|moving_var(iance)?|riv|num_batches_tracked)$")


def build_tensors(
    entries: Mapping[str, TensorStandin | ArrayStandin], storages: Mapping[str, memoryview]
) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a state dict, copies of the bytes of its file; those of one storage share it here too.

    Args:
        storages: the bytes of each storage, by key, as many as it needs; not used for arrays.

    Raises:
        Refused: a storage of truth values holds something else.
    """
    import torch

    copied: dict[str, Tensor] = {}
    for key, entry in entries.items():
        if isinstance(entry, ArrayStandin):
            native = entry.value.dtype.newbyteorder("=")
            yield key, torch.from_numpy(np.array(entry.value, dtype=native, order="C"))
            continue
        storage = entry.storage
        if storage.key not in copied:
            copied[storage.key] = _copy_storage(storage, storages[storage.key])
        yield key, copied[storage.key].as_strided(entry.size, entry.stride, entry.offset)


def require_sound(key: str, tensor: Tensor) -> None:
    """Make sure that networks, which compute in float32, can have `tensor` as the parameter `key`.

    Raises:
        Refused: it has values that are not finite, or that become infinite in float32; or it is the variance or the
            counter of a norm layer and has negative ones.
    """
    import torch

    if not tensor.isfinite().all():
        raise Refused(f"the weight {key!r:.100} has values that are not finite (NaN or infinity)", _WHOLE)
    if tensor.dtype == torch.float64 and not tensor.float().isfinite().all():
        raise Refused(f"the weight {key!r:.100} has values beyond 3.4e38, which are infinite in float32", _WHOLE)
    if _NOT_NEGATIVE.search(key) and (tensor < 0).any():
        raise Refused(f"the weight {key!r:.100} has negative values, which no norm layer computes", _WHOLE)


def _copy_storage(storage: StorageStandin, content: memoryview) -> Tensor:
    import torch

    flat = torch.empty(storage.numel, dtype=getattr(torch, storage.dtype))
    if storage.numel:
        flat.view(torch.uint8).numpy()[:] = np.frombuffer(content, np.uint8)
    if flat.dtype == torch.bool and (flat.view(torch.uint8) > 1).any():
        raise Refused("a tensor of truth values holds other bytes than 0 and 1")
    return flat

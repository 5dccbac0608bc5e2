"""Safetensors files, read from bytes in memory: a length, a header in JSON, and the tensors' bytes without a gap.

The `safetensors` library copies every tensor once more, takes the last of two tensors of one name, and does not give
the metadata; the tests compare this reader with it. It writes the files, of which none of this matters.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from repro.checkpoints.pickle_standins import ITEMSIZES, Refused, StorageStandin, TensorStandin
from repro.files.json_files import RepeatedKey, load_json

if TYPE_CHECKING:
    from torch import Tensor

_MAX_HEADER = 100_000_000  # bytes; the format's own bound
_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


def recognise(content: bytes) -> bool:
    """Whether `content` begins as a safetensors file does: with the length of a header, and an object in JSON."""
    return content[8:9] == b"{" and _read_length(content) <= len(content) - 8


def parse(content: bytes) -> tuple[dict[str, Any], dict[str, memoryview]]:
    """Parse a file: its "state_dict" and its "meta", and the bytes of each tensor by name.

    Raises:
        Refused: the header is not as the format wants it, or does not describe the bytes that follow.
        ValueError, RecursionError: the header is no JSON.
    """
    length = _read_length(content)
    if length > _MAX_HEADER:
        raise Refused(f"its header claims {length} bytes")
    data = memoryview(content)[8 + length :]
    try:
        header = load_json(content[8 : 8 + length].decode())
    except RepeatedKey as error:
        raise Refused(f"its header is ambiguous: {error}") from None
    meta = header.pop("__metadata__", {})
    if type(meta) is not dict or not all(type(value) is str for value in meta.values()):
        raise Refused("its metadata are not texts by name")
    state, views, spans = {}, {}, []
    for name, entry in header.items():
        name.encode()  # half a surrogate pair could be neither printed nor stored
        state[name], begin, end = _describe_tensor(name, entry)
        views[name] = data[begin:end]
        spans.append((begin, end))
    reached = 0
    for begin, end in sorted(spans):
        if begin != reached:
            raise Refused("its tensors overlap, or bytes between them belong to none")
        reached = end
    if reached != len(data):
        raise Refused(f"its tensors claim {reached} bytes, where the file has {len(data)}")
    return {"state_dict": state, "meta": meta}, views


def serialise(tensors: Mapping[str, Tensor]) -> bytes:
    """Serialise tensors by name, as PyTorch's; none of them shares memory with another one in the file."""
    import torch
    from safetensors.torch import save

    copies = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    return save(copies, metadata={"format": "pt"})


def _read_length(content: bytes) -> int:
    return int(struct.unpack_from("<Q", content)[0]) if len(content) >= 8 else 1 << 64


def _describe_tensor(name: str, entry: object) -> tuple[TensorStandin, int, int]:
    match entry:
        case {"dtype": str(code), "shape": [*shape], "data_offsets": [begin, end], **others} if not others:
            pass
        case _:
            raise Refused(f"its header does not describe {name!r:.100} as the format wants it")
    if code not in _DTYPES:
        raise Refused(f"the weight {name!r:.100} is of the type {code!r:.20}, which no network here has")
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        raise Refused(f"its header does not describe {name!r:.100} as the format wants it")
    strides, numel = [], 1
    for side in reversed(shape):
        strides.append(numel)
        numel *= side
    if end - begin != numel * ITEMSIZES[_DTYPES[code]]:
        raise Refused(f"the weight {name!r:.100} of shape {shape!s:.100} has too few or too many bytes")
    storage = StorageStandin(name, numel, _DTYPES[code])
    return TensorStandin(storage, 0, tuple(shape), tuple(reversed(strides))), begin, end

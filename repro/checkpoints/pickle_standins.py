"""What names in a pickle stand for when it is read as data: records of numpy's arrays and of torch's tensors.

A record is made with what the pickle passes and checks it; no memory is spent on elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_DIMENSIONS = 16
#: Bytes of an element, by torch's name of its type.
ITEMSIZES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
    "bool": 1,
}  # fmt: skip


class Refused(ValueError):
    """A file holds something that no weights file needs, or that cannot be true; `advice` says what to do about it."""

    def __init__(
        self,
        reason: str,
        advice: str = "Fetch it again from its publisher, or give a file of a state dict that torch.save wrote.",
    ) -> None:
        super().__init__(reason)
        self.advice = advice


@dataclass(frozen=True)
class StorageStandin:
    """The memory of a tensor: `numel` elements of `dtype` (torch's name), stored in the file under `key`."""

    key: str
    numel: int
    dtype: str

    @property
    def nbytes(self) -> int:
        return self.numel * ITEMSIZES[self.dtype]


@dataclass(frozen=True)
class TensorStandin:
    """A strided tensor in a storage, in elements; checked to lie in it and to hold no more elements than it."""

    storage: StorageStandin
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.size) * ITEMSIZES[self.storage.dtype]

    def __post_init__(self) -> None:
        if (
            not isinstance(self.storage, StorageStandin)
            or type(self.size) is not tuple
            or type(self.stride) is not tuple
        ):
            raise Refused("a tensor is not as torch.save writes it")
        numbers = (self.offset, *self.size, *self.stride)
        if not len(self.size) == len(self.stride) <= MAX_DIMENSIONS or not all(map(_is_length, numbers)):
            raise Refused("a tensor has a size or a stride that is no short list of non-negative integers")
        numel = math.prod(self.size)
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.size, self.stride, strict=True))
        if numel > self.storage.numel or (numel and last >= self.storage.numel):
            raise Refused(
                f"a tensor of shape {list(self.size)}, stride {list(self.stride)} and offset {self.offset} reaches "
                f"beyond its storage of {self.storage.numel} elements"
            )


class VariableStandin:
    """A tensor or parameter as torch before 0.4 wrote it: made empty, then given its data by its state."""

    def __init__(self, data: TensorStandin | VariableStandin | None = None, grad: bool = True) -> None:
        if not isinstance(data, (TensorStandin, VariableStandin, type(None))):
            raise Refused("a parameter is made of something that is no tensor")
        #: None as long as it is empty
        self.tensor: TensorStandin | None = data.tensor if isinstance(data, VariableStandin) else data

    def __setstate__(self, state: tuple) -> None:
        match state:
            case (StorageStandin() as storage, offset, size, stride):
                self.tensor = TensorStandin(storage, offset, size, stride)
            case (TensorStandin() | VariableStandin() as data, _, hooks, bool(), _) if not hooks:
                self.tensor = data.tensor if isinstance(data, VariableStandin) else data
            case (bool(), _, hooks) if not hooks:
                pass
            case _:
                raise Refused("a parameter is not as torch.save writes it")


class DtypeStandin:
    """numpy's description of an element: real numbers and booleans of up to 8 bytes."""

    def __init__(self, code: str, align: object = False, copy: object = False) -> None:
        if not isinstance(code, str) or code not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"):
            raise Refused(
                "an array has elements that are no real numbers of 1 to 8 bytes (objects, text, complex, ...)"
            )
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        if not (isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None, None, None)):
            raise Refused("an array has elements with fields or of arrays, not numbers")
        if state[1] not in ("<", ">", "|"):
            raise Refused("an array has elements of an unknown byte order")
        self.dtype = self.dtype.newbyteorder(state[1])


class ArrayStandin:
    """numpy's array; `value` is a read-only view of the bytes in the pickle."""

    value: np.ndarray

    @property
    def nbytes(self) -> int:
        return self.value.nbytes

    def __setstate__(self, state: tuple) -> None:
        match state:
            case (
                _,
                tuple(shape),
                DtypeStandin(dtype=dtype),
                bool() | 0 | 1 as fortran,
                bytes() | bytearray() | str() as data,
            ):
                value = np.frombuffer(_to_bytes(data), dtype)
                if dtype == np.bool_ and (value.view(np.uint8) > 1).any():
                    raise Refused("an array of truth values holds other bytes than 0 and 1")
            case _:
                raise Refused("an array is not as numpy writes arrays of numbers")
        if len(shape) > MAX_DIMENSIONS or not all(map(_is_length, shape)) or math.prod(shape) != value.size:
            raise Refused(f"an array holds {value.size} elements and claims a shape of another number")
        self.value = value.reshape(shape, order="F" if fortran else "C")


def _make_array(kind: object, shape: object, code: object) -> ArrayStandin:
    """numpy's `_reconstruct`: an array that is filled by its state. Its kind can only be `numpy.ndarray`."""
    return ArrayStandin()


def _make_array_of_buffer(buffer: object, dtype: object, shape: object, order: object) -> ArrayStandin:
    """numpy's `_frombuffer`, which protocol 5 of pickle writes."""
    if not isinstance(buffer, (bytes, bytearray)) or order not in ("C", "F"):
        raise Refused("an array is not as numpy writes arrays of numbers")
    array = ArrayStandin()
    array.__setstate__((1, shape, dtype, order == "F", buffer))
    return array


def _make_scalar(dtype: DtypeStandin, data: bytes | str) -> float:
    """numpy's `scalar`, as Python's number."""
    if not isinstance(dtype, DtypeStandin) or not isinstance(data, (bytes, str)) or len(data) > 8:
        raise Refused("a numpy scalar is no real number")
    return np.frombuffer(_to_bytes(data), dtype.dtype)[0].item()


def _is_length(number: object) -> bool:
    return type(number) is int and number >= 0


def _to_bytes(data: bytes | bytearray | str) -> bytes | bytearray:
    return data.encode("latin1") if isinstance(data, str) else data  # Python 2 wrote bytes as text


def _make_tensor(
    storage: StorageStandin, offset: int, size: tuple, stride: tuple, grad: bool, hooks: object, flags: object = None
) -> TensorStandin:
    """`torch._utils._rebuild_tensor_v2`."""
    if type(grad) is not bool or hooks or flags:
        raise Refused("a tensor has hooks or a lazy conjugation, which no weights need")
    return TensorStandin(storage, offset, size, stride)


def _make_empty() -> VariableStandin:
    """`torch.FloatTensor()` and the like; with arguments they would allocate."""
    return VariableStandin()


def _make_parameter(
    data: TensorStandin | VariableStandin, grad: object, hooks: object
) -> TensorStandin | VariableStandin:
    """`torch._utils._rebuild_parameter`."""
    if not isinstance(data, (TensorStandin, VariableStandin)) or type(grad) is not bool or hooks:
        raise Refused("a parameter is not as torch.save writes it")
    return VariableStandin(data) if isinstance(data, VariableStandin) else data


def _make_size(sides: object) -> tuple:
    """`torch.Size`, as a tuple."""
    if type(sides) is not tuple or not all(map(_is_length, sides)):
        raise Refused("a torch.Size is no tuple of lengths")
    return sides


def _make_device(kind: object, index: object = None) -> str:
    """`torch.device`, as text."""
    if not isinstance(kind, str) or not (index is None or _is_length(index)):
        raise Refused("a torch.device is not as torch.save writes it")
    return kind if index is None else f"{kind}:{index}"


#: numpy's names, with inert stand-ins. The two spellings are of numpy 1 and numpy 2.
NUMPY: dict[str, Callable[..., Any]] = {
    "numpy.dtype": DtypeStandin,
    "numpy.core.multiarray._reconstruct": _make_array,
    "numpy._core.multiarray._reconstruct": _make_array,
    "numpy.core.multiarray.scalar": _make_scalar,
    "numpy._core.multiarray.scalar": _make_scalar,
    "numpy.core.numeric._frombuffer": _make_array_of_buffer,
    "numpy._core.numeric._frombuffer": _make_array_of_buffer,
    "numpy.ndarray": ArrayStandin,
}
TORCH: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": TensorStandin,
    "torch._utils._rebuild_tensor_v2": _make_tensor,
    "torch._utils._rebuild_parameter": _make_parameter,
    "torch.nn.parameter.Parameter": VariableStandin,
    "torch.Size": _make_size,
    "torch.device": _make_device,
}
#: torch's names of types of elements, which are only mentioned.
DTYPES = tuple(f"torch.{name}" for name in ITEMSIZES)
#: torch's names of storages, and of the type of their elements.
STORAGES = {
    "torch.DoubleStorage": "float64", "torch.FloatStorage": "float32", "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16", "torch.LongStorage": "int64", "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16", "torch.CharStorage": "int8", "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
}  # fmt: skip
TORCH |= {name.replace("Storage", "Tensor"): _make_empty for name in STORAGES}
NEW = (VariableStandin, _make_empty)  #: what may be made by __new__ too

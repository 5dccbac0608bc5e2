"""Structure arrays in MATLAB's .mat files, read without trust in any size that the file states.

scipy.io.loadmat ends the process for one in 25 files in which a few bits of a header differ (1.17.1), which no
`except` catches; this reads the small part of the format that the devkit needs. Source: "MAT-File Format", MathWorks,
chapter 1, level 5 (versions 5 to 7).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_HEADER = 128  # bytes
_MATRIX, _COMPRESSED = 14, 15  # data types
_STRUCTURE, _TEXT = 2, 4  # array types
_NUMBERS = range(6, 16)  # array types: double to uint64
_NUMERIC = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_ENCODINGS = {1: "ascii", 2: "ascii", 4: "utf-16", 16: "utf-8", 17: "utf-16"}


def read_structures(
    content: bytes, name: str, fields: Sequence[str], limit: int = 1 << 26
) -> list[dict[str, int | str]]:
    """Read some fields of each element of a structure array, whose values are whole numbers or texts of one line.

    Args:
        content: of the file.
        name: of the variable.
        limit: bytes that a compressed variable has at most.

    Raises:
        ValueError: it is no such file, has no such variable or field, or is damaged.
    """
    mark = content[126:_HEADER]
    if mark not in (b"IM", b"MI"):
        raise ValueError("it is no MATLAB file of versions 5 to 7")
    order = "<" if mark == b"IM" else ">"
    for element in _Elements(content[_HEADER:], order):
        if element.kind == _COMPRESSED:
            element = next(iter(_Elements(_decompress(element.content, limit), order)), element)
        if element.kind == _MATRIX:
            array = _Array.parse(element.content, order)
            if array.name == name:
                return list(_iterate_structures(array, fields, order))
    raise ValueError(f"it has no variable {name}")


@dataclass
class _Element:
    kind: int  # its data type
    content: bytes


class _Elements:
    """The data elements that follow each other in `content`."""

    def __init__(self, content: bytes, order: str) -> None:
        self._content, self._order, self._at = content, order, 0

    def __iter__(self) -> Iterator[_Element]:
        while self._at < len(self._content):
            yield self.take()

    def take(self) -> _Element:
        """The next one."""
        if len(self._content) - self._at < 8:
            raise ValueError("it ends too early")
        kind, size = self._read_words(self._at)
        if kind >> 16:  # the small format: the type, the size and up to four bytes together
            kind, size, begin, end = kind & 0xFFFF, kind >> 16, self._at + 4, self._at + 8
            if kind in (_MATRIX, _COMPRESSED):
                raise ValueError("the size of an array is damaged")
        else:
            begin = self._at + 8
            end = begin + (size if kind == _COMPRESSED else size + -size % 8)
        if begin + size > min(end, len(self._content)):
            raise ValueError(f"it ends within an element of {size} bytes")
        self._at = end
        return _Element(kind, self._content[begin : begin + size])

    def _read_words(self, at: int) -> tuple[int, int]:
        first, second = np.frombuffer(self._content, f"{self._order}u4", 2, at).tolist()
        return first, second


@dataclass
class _Array:
    kind: int  # its array type
    size: int  # number of its values
    name: str
    rest: _Elements  # what follows its head

    @staticmethod
    def parse(content: bytes, order: str) -> _Array:
        rest = _Elements(content, order)
        flags, sides, name = rest.take(), _read_numbers(rest.take(), order), rest.take()
        if len(flags.content) != 8 or min(sides, default=-1) < 0:
            raise ValueError("the head of an array is damaged")
        kind = int(np.frombuffer(flags.content, f"{order}u4")[0]) & 0xFF
        return _Array(kind, math.prod(map(int, sides)), name.content.decode("ascii"), rest)


def _iterate_structures(array: _Array, fields: Sequence[str], order: str) -> Iterator[dict[str, int | str]]:
    if array.kind != _STRUCTURE:
        raise ValueError(f"{array.name} is no structure array")
    (width,) = _read_numbers(array.rest.take(), order)
    names = array.rest.take().content
    if not 0 < width <= 64 or len(names) % width:
        raise ValueError("the names of its fields are damaged")
    columns = [names[at : at + int(width)].split(b"\0")[0].decode("ascii") for at in range(0, len(names), int(width))]
    for field in fields:
        if columns.count(field) != 1:
            raise ValueError(f"{array.name} has {columns.count(field)} fields {field}")
    for _ in range(array.size):
        values = [(column, array.rest.take()) for column in columns]
        if any(value.kind != _MATRIX for _, value in values):
            raise ValueError(f"a field of {array.name} is no array")
        yield {column: _read_value(column, value.content, order) for column, value in values if column in fields}


def _read_value(field: str, content: bytes, order: str) -> int | str:
    array = _Array.parse(content, order)
    data = array.rest.take()
    if array.kind == _TEXT:
        text = _decode(data, order)
        if len(text) != array.size:
            raise ValueError(f"a field {field} has {len(text)} characters for {array.size}")
        return text
    numbers = _read_numbers(data, order)
    if array.kind not in _NUMBERS or len(numbers) != 1 or array.size != 1 or not math.isfinite(numbers[0]):
        raise ValueError(f"a field {field} is neither a text nor a number")
    if numbers[0] != int(numbers[0]):
        raise ValueError(f"a field {field} is {numbers[0]}, no whole number")
    return int(numbers[0])


def _read_numbers(element: _Element, order: str) -> list[int | float]:
    if element.kind not in _NUMERIC:
        raise ValueError(f"numbers of the unknown type {element.kind}")
    numbers: list[int | float] = np.frombuffer(element.content, f"{order}{_NUMERIC[element.kind]}").tolist()
    return numbers


def _decode(element: _Element, order: str) -> str:
    if element.kind not in _ENCODINGS:
        raise ValueError(f"a text of the unknown type {element.kind}")
    encoding = _ENCODINGS[element.kind]
    if encoding == "utf-16":
        encoding += "-le" if order == "<" else "-be"
    return element.content.decode(encoding)


def _decompress(content: bytes, limit: int) -> bytes:
    """Decompress a variable; its checksum is compared."""
    decompressor = zlib.decompressobj()
    try:
        unpacked = decompressor.decompress(content, limit)
    except zlib.error as error:
        raise ValueError(f"a compressed variable is damaged: {error}") from None
    if not decompressor.eof:
        raise ValueError(f"a compressed variable is cut short, or has more than {limit} bytes")
    return unpacked

"""Pickles read as data: an interpreter for the part of the pickle language that weights files are written in.

A pickle is a program. This interpreter knows the instructions that make numbers, text, lists, dicts and tuples, and a
short list of names, each of which stands for a record (`pickle_standins`) or an `OrderedDict`; nothing is ever
imported by name. Arrays and tensors are recorded, not made, so that what they claim can be compared with what the file
holds before memory is spent on them.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from typing import Any

from repro.checkpoints.pickle_standins import (
    DTYPES,
    NEW,
    NUMPY,
    STORAGES,
    TORCH,
    ArrayStandin,
    DtypeStandin,
    Refused,
    StorageStandin,
    VariableStandin,
)

#: Over ten times what 700 tensors and their optimizer state take; bounds the time and memory of a forged file.
MAX_INSTRUCTIONS = 500_000


@dataclass(frozen=True)
class _Name:
    """What a name in the pickle stands for; `call` is None for a name that is only mentioned."""

    name: str
    call: Callable[..., Any] | None


class _Interpreter:
    def __init__(self, budget: int, tensors: bool) -> None:
        self.tensors = tensors
        self.budget = budget  # bytes, for the instructions that copy
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, StorageStandin] = {}
        self.names = {name: _Name(name, call) for name, call in (NUMPY | TORCH if tensors else NUMPY).items()} | {
            "collections.OrderedDict": _Name("collections.OrderedDict", self._make_ordered_dict),
            "_codecs.encode": _Name("_codecs.encode", self._encode),
            "collections.Counter": _Name("collections.Counter", _make_counter),
        }
        if tensors:
            self.names |= {name: _Name(name, None) for name in (*STORAGES, *DTYPES)}

    def run(self, stream: BytesIO) -> object:
        for count, (instruction, argument, position) in enumerate(pickletools.genops(stream)):
            if count == MAX_INSTRUCTIONS:
                raise Refused(f"its pickle has more than {MAX_INSTRUCTIONS} instructions")
            if instruction.name == "STOP":
                return self.stack.pop()
            self._execute(instruction.name, argument, position)
        raise Refused("its pickle has no end")

    def _execute(self, instruction: str, argument: Any, position: int | None) -> None:
        stack = self.stack
        match instruction:
            case "PROTO" | "FRAME":
                pass
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                stack.append(argument)
            case "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8" | "BYTEARRAY8":  # the last of numpy, in protocol 5
                stack.append(argument)
            case "BINSTRING" | "SHORT_BINSTRING":  # Python 2's str: of torch text, of numpy also the bytes of arrays
                stack.append(argument.encode("latin1").decode() if self.tensors else argument)
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8":
                argument.encode()  # half a surrogate pair could be neither printed nor stored
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[instruction])
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "MARK":
                self.outer.append(stack)
                self.stack = []
            case "TUPLE":
                self._take_since_mark(tuple)
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                length = int(instruction[-1])
                if len(stack) < length:
                    raise Refused(f"it takes {length} values where there are fewer (byte {position} of the pickle)")
                stack[-length:] = [tuple(stack[-length:])]
            case "APPEND":
                value = stack.pop()
                self._extend([value])
            case "APPENDS":
                self._take_since_mark(self._extend, push=False)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _put(stack[-1], [key, value])
            case "SETITEMS":
                self._take_since_mark(lambda items: _put(self.stack[-1], items), push=False)
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                module, name = argument.split(" ", 1)
                stack.append(self._look_up(module, name, position))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(self._look_up(module, name, position))
            case "REDUCE" | "NEWOBJ":
                arguments, name = stack.pop(), stack.pop()
                if not isinstance(name, _Name) or name.call is None or type(arguments) is not tuple:
                    raise Refused(f"it calls something that is no function (byte {position} of the pickle)")
                if instruction == "NEWOBJ" and name.call not in NEW:
                    raise Refused(f"it calls something that is no function (byte {position} of the pickle)")
                stack.append(name.call(*arguments))
            case "BUILD":
                state, target = stack.pop(), stack[-1]
                if isinstance(target, (DtypeStandin, ArrayStandin, VariableStandin)):
                    target.__setstate__(state)
                    self._spend(target.value.nbytes if isinstance(target, ArrayStandin) else 0)
                elif type(target) is not OrderedDict or type(state) is not dict or set(state) != {"_metadata"}:
                    raise Refused(f"it sets attributes of an object (byte {position} of the pickle)")
            case "BINPERSID":
                stack.append(self._make_storage(stack.pop()))
            case _:
                raise Refused(
                    f"its pickle has the instruction {instruction} (byte {position}), which no weights file needs"
                )

    def _take_since_mark(self, take: Callable[[list], Any], push: bool = True) -> None:
        items, self.stack = self.stack, self.outer.pop()
        result = take(items)
        if push:
            self.stack.append(result)

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise Refused("it appends to something that is no list")
        self.stack[-1].extend(items)

    def _look_up(self, module: object, name: object, position: int | None) -> _Name:
        full = f"{module!s:.80}.{name!s:.80}" if isinstance(module, str) and isinstance(name, str) else "a name"
        if full not in self.names:
            raise Refused(
                f"its pickle asks for {full!r} (byte {position}), which no weights file needs: the file holds code, or "
                "objects of another program"
            )
        return self.names[full]

    def _make_ordered_dict(self, pairs: object = ()) -> OrderedDict:
        """OrderedDict(pairs), as Python 2 wrote it."""
        if not isinstance(pairs, (list, tuple)) or not all(type(pair) in (list, tuple) for pair in pairs):
            raise Refused("an OrderedDict is not made of pairs")
        result: OrderedDict = OrderedDict()
        self._spend(16 * len(pairs))
        _put(result, [part for key, value in pairs for part in (key, value)])
        return result

    def _encode(self, text: object, encoding: object) -> bytes:
        if type(text) is not str or encoding not in ("latin1", "latin-1"):
            raise Refused("it encodes text other than as numpy does")
        self._spend(len(text))
        return text.encode("latin1")

    def _spend(self, size: int) -> None:
        self.budget -= size
        if self.budget < 0:
            raise Refused("it would unpack to several times the size of the file")

    def _make_storage(self, identity: object) -> StorageStandin:
        match identity:
            case ("storage", _Name(name=name), str(key), str(), int(numel)) if name in STORAGES:
                pass
            case ("storage", _Name(name=name), str(key), str(), int(numel), None) if name in STORAGES:
                pass  # None: no view of another storage, which torch wrote before 0.4
            case _:
                raise Refused("a tensor's storage is described as torch.save does not describe it")
        storage = StorageStandin(key, numel, STORAGES[name])
        if self.storages.setdefault(key, storage) != storage:
            raise Refused(f"storage {key!r} is described in two ways")
        return storage


def _make_counter(counts: object) -> dict:
    """collections.Counter, as a dict: torch's MultiStepLR keeps its milestones in one."""
    if type(counts) is not dict:
        raise Refused("a Counter is not made of a dict")
    return counts


def _put(target: object, items: list[Any]) -> None:
    """Put `items`, keys and values in turn, into a dict."""
    if not isinstance(target, dict):
        raise Refused("it puts an item into something that is no dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) not in (str, int):  # the hash of nested tuples takes exponential time
            raise Refused(f"a dict has a key of type {type(key).__name__}, not text")
        target[key] = value


def interpret(stream: BytesIO, size: int, *, tensors: bool) -> tuple[Any, dict[str, StorageStandin]]:
    """Interpret one pickle: its value, and the storages that its tensors mention, by key.

    Numbers of numpy become Python's, arrays `ArrayStandin`, tensors `TensorStandin`.

    Args:
        stream: read to the end of the pickle and no further.
        size: bytes of the file.
        tensors: whether torch's names are known too.

    Raises:
        Refused: the pickle names, makes or claims what a weights file does not.
        ValueError, LookupError, TypeError, AttributeError, ArithmeticError: the pickle is damaged.
    """
    interpreter = _Interpreter(4 * size, tensors)
    return interpreter.run(stream), interpreter.storages


def require_end(stream: BytesIO) -> None:
    """Make sure that `stream` was read to its end.

    Raises:
        Refused: there is more in it, which nothing has read.
    """
    position = stream.tell()
    if rest := stream.seek(0, SEEK_END) - position:
        raise Refused(f"{rest} bytes follow its end: it is damaged, or holds several objects")

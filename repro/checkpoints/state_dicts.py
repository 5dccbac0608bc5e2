"""Which of the mappings in a weights file is its state dict: ambiguity is refused, and a name decides.

One rule for whatever is not the state dict: tensors that may be weights too are never passed over without a word,
wherever they lie and whatever holds them. Four things are none: tensors of integers, as the states of random
generators; single numbers, as scores; a normal optimizer's state; and what has no tensor. An optimizer's state is a
normal one if it holds neither names nor, for the most part, shapes of the network's tensors, as a moving average does.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from repro.checkpoints.pickle_standins import ArrayStandin, Refused, TensorStandin, VariableStandin

_WRAPPERS = ("state_dict", "model", "model_state")  # OpenMMLab; Detectron2 and torchvision; pytorchvideo
_OPTIMIZER = re.compile(r"optim(i[sz]er)?s?([_.0-9].*)?", re.IGNORECASE)
# Bounds of what a forged file can cost: names of a megabyte each, and a hundred thousand state dicts.
_LONGEST_NAME = 300
_MOST_COMPARED = 8

_Tensor = TensorStandin | ArrayStandin
_ENTRIES = (TensorStandin, ArrayStandin, VariableStandin)


class _Content:
    """What a mapping or a list holds, which may lie in several places of a file."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.inside: dict[object, Any] = value if isinstance(value, dict) else dict(enumerate(value))

    @cached_property
    def tensors(self) -> dict[object, _Tensor]:
        """The tensors that it holds itself, by their key or number."""
        found: dict[object, _Tensor] = {}
        for key, entry in self.inside.items():
            tensor = entry.tensor if isinstance(entry, VariableStandin) else entry
            if isinstance(tensor, _Tensor):
                found[key] = tensor
        return found

    @cached_property
    def may_be_weights(self) -> bool:
        return any(map(_may_be_weights, self.tensors.values()))

    @cached_property
    def is_state_dict(self) -> bool:
        """Whether it can be chosen: more than half of a mapping are tensors by name, not all without dimensions."""
        named = sum(isinstance(key, str) and isinstance(entry, _ENTRIES) for key, entry in self.inside.items())
        by_name = isinstance(self.value, dict) and 2 * named > len(self.value)
        return by_name and any(map(_get_shape, self.tensors.values()))

    @cached_property
    def shapes(self) -> Counter[tuple[int, ...]]:
        return Counter(_get_shape(entry) for entry in self.tensors.values() if _has_elements(entry))


@dataclass(frozen=True)
class _Part:
    """A mapping or a list in a file, and how one gets to it."""

    content: _Content
    key: object = ""
    above: _Part | None = None  #: None: it is the whole of the file
    first: object = ""  #: the key of what holds it directly below the top level, or its own
    of_optimizer: bool = False

    @property
    def name(self) -> str:
        """What messages and `part` of `select` call it: `model`, `ema/module`, `models/0`."""
        part, keys, length = self, [], 0
        while part.above is not None and length < _LONGEST_NAME:
            keys.append(str(part.key)[: _LONGEST_NAME - length])
            length += len(keys[-1]) + 1
            part = part.above
        path = "/".join(reversed(keys if part.above is None else [*keys, "..."]))
        return path if path.isprintable() else ascii(path)


def select(value: dict[Any, Any], part: str | None) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Select the state dict among what a file holds, and what is stated beside it.

    Args:
        value: the whole of the file.
        part: the name of the state dict, as messages of this function write it; None for the only one.

    Raises:
        Refused: there are several (weights and their moving average, say), or tensors beside it that may be weights,
            and no name decides; or there is none of that name, or two.
    """
    found, loose = _find(value)
    if part is not None:
        return _choose(found, part), value
    if len(found) > 1:
        also = f", and tensors beside them in {_join(loose)}," if loose else ","
        raise Refused(
            f"it holds several state dicts, {_join(found)}{also} and which one is meant changes the result",
            advice=f"Say which: FILE#{found[0].name}, for example.",
        )
    if not found:
        return value, {}
    name = found[0].name
    if loose:
        raise Refused(
            f"beside its state dict {name} it holds tensors that may be weights too, and which are meant changes the "
            f"result: {_join(loose)}",
            advice=f"If {name} is what you want, say so: FILE#{name}. The others are no state dicts: save them as one.",
        )
    if name not in _WRAPPERS:
        raise Refused(
            f"its only state dict is {name}, which may be something else than the network's weights",
            advice=f"If it is what you want, say so: FILE#{name}.",
        )
    return found[0].content.value, value


def _choose(found: Sequence[_Part], part: str) -> dict[Any, Any]:
    chosen = [one for one in found if one.name == part]
    if len(chosen) > 1:
        raise Refused(
            f"it holds {len(chosen)} state dicts of the name {part!r:.100}, of which none can be chosen by it",
            advice="Save the one that you want as a file of its own.",
        )
    if not chosen:
        there = f"its state dicts are {_join(found)}" if found else "its top level is its only state dict"
        raise Refused(f"it holds no state dict {part!r:.100}: {there}", advice="Give one of these names, or none.")
    return chosen[0].content.value


def _join(parts: Sequence[_Part]) -> str:
    names = " and ".join(part.name for part in parts[:8])
    return names + (f" and {len(parts) - 8} more" if len(parts) > 8 else "")


def _find(value: dict[Any, Any]) -> tuple[list[_Part], list[_Part]]:
    """The state dicts below the top level, and what else holds tensors that may be weights."""
    top = _Part(_Content(value))
    held = [part for part in _walk(top) if part.content.may_be_weights or part.content.is_state_dict]
    networks = [part.content for part in held if _can_be_chosen(part) and not part.of_optimizer]
    names = {key for network in networks for key in network.tensors if isinstance(key, str)}
    networks = networks[:_MOST_COMPARED]
    held = [part for part in held if not part.of_optimizer or _resembles(part.content, names, networks)]
    found = [part for part in held if _can_be_chosen(part)]
    # What has a state dict's name is taken for one, and refused for what it holds, unless there is one in it.
    taken = {part.first for part in found}
    wrappers = (name for name in _WRAPPERS if isinstance(value.get(name), dict) and name not in taken)
    found = [_Part(_Content(value[name]), name, top, name) for name in wrappers] + found
    places = {id(part.content.value) for part in found}
    loose = [part for part in held if id(part.content.value) not in places]
    if loose and loose[0] is top:
        alone = (key for key, entry in top.content.tensors.items() if _may_be_weights(entry))
        loose[:1] = [_Part(top.content, key, top, key) for key in alone]
    return found, loose


def _walk(top: _Part) -> Iterator[_Part]:
    """The parts of a file, breadth first. A forged one can nest an object in itself, or in a million others."""
    parts, contents, entered = [top], {id(top.content.value): top.content}, set()
    for part in parts:  # which grows
        yield part
        mark = id(part.content), part.of_optimizer
        if mark in entered or _can_be_chosen(part):
            continue  # a mapping among the tensors of a state dict is refused where that is taken
        entered.add(mark)
        for key, value in part.content.inside.items():
            if isinstance(value, (dict, list, tuple)):
                content = contents.setdefault(id(value), _Content(value))
                of_optimizer = part.of_optimizer or _is_of_optimizer(key, value)
                parts.append(_Part(content, key, part, key if part is top else part.first, of_optimizer))


def _can_be_chosen(part: _Part) -> bool:
    return part.above is not None and part.content.is_state_dict


def _is_of_optimizer(key: object, value: object) -> bool:
    return bool(_OPTIMIZER.fullmatch(str(key))) or (isinstance(value, dict) and "param_groups" in value)


def _resembles(content: _Content, names: Collection[str], networks: Sequence[_Content]) -> bool:
    """Whether tensors of an optimizer's state have one of the `names`, or most of the shapes of one of the networks."""
    if any(key in names for key in content.tensors):
        return True
    for network in networks:
        most = network.shapes.total() // 2
        if len(content.tensors) > most and (content.shapes & network.shapes).total() > most:
            return True
    return False


def _may_be_weights(entry: _Tensor) -> bool:
    floats = entry.value.dtype.kind == "f" if isinstance(entry, ArrayStandin) else "float" in entry.storage.dtype
    return floats and _has_elements(entry)


def _has_elements(entry: _Tensor) -> bool:
    return math.prod(_get_shape(entry)) > 1


def _get_shape(entry: _Tensor) -> tuple[int, ...]:
    return entry.value.shape if isinstance(entry, ArrayStandin) else entry.size

"""Which of the mappings in a weights file is its state dict: ambiguity is refused, and a name decides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from repro.checkpoints.pickle_standins import ArrayStandin, Refused, TensorStandin, VariableStandin

_WRAPPERS = ("state_dict", "model", "model_state")  # OpenMMLab; Detectron2 and torchvision; pytorchvideo
_TENSORS = (TensorStandin, ArrayStandin, VariableStandin)
_LONGEST_NAME = 1000  # in a forged file, a hundred thousand parts could have one of a megabyte each
_OPTIMIZER = re.compile(r"optim(i[sz]er)?s?([_.0-9].*)?", re.IGNORECASE)


def select(value: dict[Any, Any], part: str | None) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Select the state dict among what a file holds, and what is stated beside it.

    Args:
        value: the whole of the file.
        part: the name of the state dict, as messages of this function write it; None for the only one.

    Raises:
        Refused: there are several (weights and their moving average, say) and no name decides, or none of that name.
    """
    found = _find(value)
    printable = [name if name.isprintable() else ascii(name) for name in found]
    names = " and ".join(printable[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
    if part is not None:
        if part not in found:
            there = f"its state dicts are {names}" if found else "its top level is its only state dict"
            raise Refused(f"it holds no state dict {part!r:.100}: {there}", advice="Give one of these names, or none.")
        return found[part], value
    if len(found) > 1:
        raise Refused(
            f"it holds several state dicts, {names}, and which one is meant changes the result",
            advice=f"Say which: FILE#{printable[0]}, for example.",
        )
    for (name, state), shown in zip(found.items(), printable, strict=True):
        if name not in _WRAPPERS:
            raise Refused(
                f"its only state dict is {shown}, which may be something else than the network's weights",
                advice=f"If it is what you want, say so: FILE#{shown}.",
            )
        return state, value
    return value, {}


def _find(value: dict[Any, Any]) -> dict[str, dict[Any, Any]]:
    """The state dicts below the top level, by name (`ema/module`, `models/0`); those of optimizers are none."""
    places = list(_list_parts("", value))
    wrappers = {name: inner for name, inner in places if name in _WRAPPERS and isinstance(inner, dict)}
    found: dict[str, dict[Any, Any]] = {}
    entered: set[int] = set()  # a forged file can nest one object in itself, or in a million others
    for name, inner in places:  # which grows
        if _is_state_dict(inner):
            found[name] = inner
        elif id(inner) not in entered:
            entered.add(id(inner))
            places += _list_parts(f"{name}/", inner)
    held = {name.split("/")[0] for name in found}
    return {name: inner for name, inner in wrappers.items() if name not in held} | found  # refused for what they hold


def _list_parts(above: str, value: object) -> Iterator[tuple[str, Any]]:
    """What a mapping or a list holds, by name."""
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    elif not isinstance(value, dict) or (above and "param_groups" in value):
        return
    for name, inner in value.items():
        path, nests = f"{above}{name}", isinstance(inner, (dict, list, tuple))
        if nests and len(path) <= _LONGEST_NAME and not _OPTIMIZER.fullmatch(str(name)):
            yield path, inner


def _is_state_dict(value: object) -> bool:
    """Whether more than half of a mapping are tensors by name, and not all of these single numbers, as scores are."""
    if not isinstance(value, dict):
        return False
    tensors = [entry for key, entry in value.items() if isinstance(key, str) and isinstance(entry, _TENSORS)]
    return 2 * len(tensors) > len(value) and any(map(_has_dimensions, tensors))


def _has_dimensions(entry: TensorStandin | ArrayStandin | VariableStandin) -> bool:
    tensor = entry.tensor if isinstance(entry, VariableStandin) else entry
    return bool(tensor.value.ndim if isinstance(tensor, ArrayStandin) else tensor and tensor.size)

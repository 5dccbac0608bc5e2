"""Which of the mappings in a weights file is its state dict: ambiguity is refused, and a name decides."""

from __future__ import annotations

from typing import Any

from repro.checkpoints.pickle_standins import ArrayStandin, Refused, TensorStandin, VariableStandin

_WRAPPERS = ("state_dict", "model", "model_state")  # OpenMMLab; Detectron2 and torchvision; pytorchvideo


def select(value: dict[Any, Any], part: str | None) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Select the state dict among what a file holds, and what is stated beside it.

    Args:
        value: the whole of the file.
        part: the name of the state dict, as messages of this function write it; None for the only one.

    Raises:
        Refused: there are several (weights and their moving average, say) and no name decides, or none of that name.
    """
    found = _find(value)
    names = " and ".join(found)
    if part is not None:
        if part not in found:
            there = f"its state dicts are {names}" if found else "its top level is its only state dict"
            raise Refused(f"it holds no state dict {part!r:.100}: {there}", advice="Give one of these names, or none.")
        return found[part], value
    if len(found) > 1:
        raise Refused(
            f"it holds several state dicts, {names}, and which one is meant changes the result",
            advice=f"Say which: FILE#{next(iter(found))}, for example.",
        )
    for name, state in found.items():
        if name not in _WRAPPERS:
            raise Refused(
                f"its only state dict is {name}, which may be something else than the network's weights",
                advice=f"If it is what you want, say so: FILE#{name}.",
            )
        return state, value
    return value, {}


def _find(value: dict[Any, Any]) -> dict[str, dict[Any, Any]]:
    """The state dicts in a file below its top level, by name; optimizers have mappings of tensors too, and are not."""
    found: dict[str, dict[Any, Any]] = {}
    for name, inner in value.items():
        if not isinstance(name, str) or not isinstance(inner, dict) or name.startswith("optim"):
            continue
        nested = {f"{name}/{key}": part for key, part in inner.items() if isinstance(key, str) and _is_state_dict(part)}
        if _is_state_dict(inner):
            found[name] = inner
        elif nested:
            found |= nested
        elif name in _WRAPPERS:
            found[name] = inner  # to be refused for what it holds
    return found


def _is_state_dict(value: object) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) for key in value)
        and all(isinstance(entry, (TensorStandin, ArrayStandin, VariableStandin)) for entry in value.values())
    )

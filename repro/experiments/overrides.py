"""Settings of a recipe or a network that the user overrides: `recipe.learning_rate=0.01`. Imports nothing heavy.

An experiment with overrides is another experiment, whose name says what it is:
`coco-r50-gc-r16+recipe.learning_rate=0.01`. So nothing else has to be kept of it, in records, plans or work orders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from repro.errors import ReproError, unknown
from repro.experiments.specification import Experiment

#: (path, value) in the order of the paths: ("recipe.learning_rate", "0.01").
Overrides = tuple[tuple[str, str], ...]
_ROOTS = ("recipe", "network")
#: What is not overridden, and what to do instead.
_REFUSED = {
    "recipe.initial_weights": "initial weights are given with --init, or in a file of your own experiments",
    "network.num_classes": "the data set decides how many classes there are",
    "network.backbone.dimensions": "the data set decides whether images or clips are looked at",
}
_LONGEST = 100  #: characters of a name, which is part of file names
_MOST = 10**9  #: no whole number is larger: an experiment would never end, or its network fit no memory


def split_name(name: str) -> tuple[str, Overrides]:
    """The name of the experiment that is overridden, and the overrides.

    >>> split_name("coco-r50-gc-r16+recipe.epochs=24")
    ('coco-r50-gc-r16', (('recipe.epochs', '24'),))
    """
    base, *parts = name.split("+")
    pairs = (part.partition("=") for part in parts)
    return base, tuple((path, value) for path, _, value in pairs)


def write(overrides: Overrides) -> str:
    """Write overrides as the command line takes them: `--set recipe.epochs=24 --set recipe.momentum=0.8`."""
    return " ".join(f"--set {path}={value}" for path, value in overrides)


def override(experiment: Experiment, given: Sequence[str]) -> Experiment:
    """The experiment with texts `PATH=VALUE` overriding what it says; its name says so.

    Args:
        experiment: as its profile runs it.

    Raises:
        ReproError: a text has no such form, there is no such setting, the value is not of its type or is what the
            setting is already, or a setting stands there twice.
    """
    base, before = split_name(experiment.name)
    chosen = dict(before)
    for text in given:
        path, separator, value = text.partition("=")
        if not separator:
            raise ReproError(f"--set {text!r} is not PATH=VALUE, as in recipe.learning_rate=0.01")
        if path in chosen:
            raise ReproError(f"--set {path} stands there twice: a setting has one value")
        changed = _set(experiment, path, value)
        now = _find(changed, path)
        if now == _find(experiment, path):
            raise ReproError(f"--set {path}={value} changes nothing: {experiment.name} has it so at this profile")
        experiment, chosen[path] = changed, _write_value(now)
    name = "+".join([base, *(f"{path}={value}" for path, value in sorted(chosen.items()))])
    if len(name) > _LONGEST:
        raise ReproError(
            f"{len(chosen)} overrides are too many for a name: define {base} with them in a file of your own "
            "(docs/how-to/add-a-block.md)"
        )
    return replace(experiment, name=name)


def apply(experiment: Experiment, overrides: Overrides) -> Experiment:
    """The experiment with the overrides that its new name says.

    Raises:
        ReproError: as `override`, but not of what changes nothing.
    """
    for path, value in overrides:
        experiment = _set(experiment, path, value)
    if not overrides:
        return experiment
    return replace(experiment, name="+".join([experiment.name, *(f"{path}={value}" for path, value in overrides)]))


def describe(experiment: Experiment, before: Experiment) -> list[str]:
    """Say for each override what was set instead of what: `recipe.epochs of 24 instead of 12`."""
    return [
        f"{path} of {value} instead of {_write_value(_find(before, path))}"
        for path, value in split_name(experiment.name)[1]
    ]


def _set(experiment: Experiment, path: str, text: str) -> Experiment:
    _check_path(experiment, path)
    return _replace(experiment, path.split("."), path, text)


def _check_path(experiment: Experiment, path: str) -> None:
    known = _list_paths(experiment)
    if path in known:
        return
    if path in _REFUSED:
        raise ReproError(f"--set {path}: {_REFUSED[path]}")
    if path in _ROOTS or any(name.startswith(f"{path}.") for name in known):
        within = [name for name in known if name.startswith(f"{path}.")]
        raise ReproError(f"--set {path}: it is made of several settings: {', '.join(within[:6])}, ...")
    raise unknown(f"setting of {split_name(experiment.name)[0]}, --set", path, known)


def _list_paths(experiment: Experiment) -> list[str]:
    """All settings of the recipe and of the network that have a single value."""
    found: list[str] = []

    def walk(value: Any, path: str) -> None:
        for each in fields(value):
            inner, name = getattr(value, each.name), f"{path}.{each.name}"
            if is_dataclass(inner) and not isinstance(inner, type):
                walk(inner, name)
            elif not (callable(inner) or name in _REFUSED or _is_nested(inner) or (each.name, inner) == _NO_BLOCK):
                found.append(name)

    walk(experiment.recipe, "recipe")
    walk(experiment.network, "network")
    return found


_NO_BLOCK = ("context", None)  #: there is nothing in it to set


def _is_nested(value: Any) -> bool:
    return isinstance(value, tuple) and any(isinstance(item, tuple) for item in value)


def _find(experiment: Experiment, path: str) -> Any:
    value: Any = experiment
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _replace(owner: Any, parts: Sequence[str], path: str, text: str) -> Any:
    first, *rest = parts
    if rest:
        return replace(owner, **{first: _replace(getattr(owner, first), rest, path, text)})
    return replace(owner, **{first: _parse(path, text, get_type_hints(type(owner))[first])})


def _parse(path: str, text: str, hint: Any) -> Any:
    for kind in get_args(hint) if get_origin(hint) is Union or type(hint).__name__ == "UnionType" else (hint,):
        value = _read(text, kind)
        if value is not _WRONG:
            return _check_range(path, value)
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    if choices:
        raise unknown(f"value of --set {path}", text, map(str, choices))
    raise ReproError(f"--set {path}={text}: it is {_describe(hint)}")


_WRONG = object()


def _read(text: str, kind: Any) -> Any:
    """The value of type `kind` that a text stands for, or `_WRONG`."""
    if kind is type(None):
        return None if text.lower() == "none" else _WRONG
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), _WRONG)
    if get_origin(kind) is Literal:
        return next((choice for choice in get_args(kind) if str(choice) == text), _WRONG)
    if get_origin(kind) is tuple:
        *own, last = get_args(kind)
        items = text.split(",") if text else []
        kinds = own * len(items) if last is Ellipsis else [*own, last]
        values = tuple(_read(item.strip(), one) for item, one in zip(items, kinds, strict=False))
        return _WRONG if _WRONG in values or len(items) != len(kinds) else values
    if kind is str:
        return text if text.isidentifier() else _WRONG
    try:
        return kind(text) if kind in (int, float) else _WRONG
    except ValueError:
        return _WRONG


def _check_range(path: str, value: Any) -> Any:
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, (int, float)) and not 0 <= number < math.inf:  # neither does NaN lie between them
            raise ReproError(f"--set {path}={number}: it is a finite number and not below 0")
        if isinstance(number, int) and number > _MOST:
            raise ReproError(f"--set {path}: it is a whole number and not above {_MOST}")
        if not isinstance(number, bool) and number == 0 and path.rpartition(".")[2] in _POSITIVE:
            raise ReproError(f"--set {path}=0: it is more than 0")
    return value


#: Settings that are lengths, sizes or numbers of something, of which there is at least one.
_POSITIVE = frozenset(
    {
        "epochs", "batch_size", "learning_rate", "iterations", "clip_norm", "ratio", "reduction", "blocks", "width",
        "groups", "width_per_group", "input_size", "fpn_channels", "box_channels", "mask_channels", "short_side",
        "long_side", "anchor_scale", "proposals_per_level", "proposals", "rpn_samples", "roi_samples", "detections",
        "images_per_loss",
    }
)  # fmt: skip


def _describe(hint: Any) -> str:
    if get_origin(hint) is Union or type(hint).__name__ == "UnionType":
        return " or ".join(_describe(kind) for kind in get_args(hint))
    if get_origin(hint) is tuple:
        of = get_args(hint)
        number = "" if of[-1] is Ellipsis else f"{len(of)} "
        return f"{number}values with commas between, each {_describe(of[0])}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a name", type(None): "none"}
    return names.get(hint, "something else")


def _write_value(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_write_value, value))
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value).replace("e+", "e")  # a plus separates overrides

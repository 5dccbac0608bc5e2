"""Every key of a file and of a network accounted for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from repro.checkpoints.prefixes import describe_prefix
from repro.conversion.networks import build_meta_state_dict
from repro.errors import ReproError
from repro.experiments import Classifier, Detector
from repro.experiments.conventions import DetectionConventions
from repro.models.conventions import ClassifierConventions


@dataclass(frozen=True)
class Converted:
    """The weights of a file under the names and in the layout of a network."""

    tensors: dict[str, Tensor]  #: the network's state dict, less `missing`
    missing: tuple[str, ...]  #: keys of the network that the file does not have and that do not matter
    unexpected: tuple[str, ...]  #: keys of the file that the network does not need, each for a known reason
    reshaped: tuple[str, ...]  #: keys of the file whose tensors were changed, each with how
    conventions: DetectionConventions | ClassifierConventions  #: of the framework
    network: Detector | Classifier  #: to which the weights belong
    format: str = ""  #: of the file, filled in by `conversion.convert`


@dataclass(frozen=True)
class TensorChange:
    """A change of a tensor's layout or values that keeps its number of dimensions."""

    make: Callable[[Tensor], Tensor]  #: returns its very argument where there is nothing to change
    how: str  #: in words


@dataclass(frozen=True)
class Rule:
    """Where a file keeps some of the network's tensors."""

    own: str  #: regular expression for the beginning of a key of the network
    theirs: tuple[str, ...]  #: what stands for it in files (groups as \1): several names where versions differ
    change: TensorChange | None = None


@dataclass(frozen=True)
class KeyProblem:
    """A key that does not fit, for no known reason."""

    kind: Literal["missing", "unexpected", "shape"]
    key: str  #: of the file; where it is missing, what it would be called
    detail: str = ""


@dataclass(frozen=True)
class Cause:
    """The likely reason if keys like these do not fit."""

    kind: Literal["missing", "unexpected", "shape"]
    keys: str  #: regular expression, searched for in the key
    text: str


#: How many batches a batch norm was trained on, which nothing reads.
_COUNTER = re.compile(r"\.num_batches_tracked$")


def translate(
    tensors: Mapping[str, Tensor],
    network: Detector | Classifier,
    conventions: DetectionConventions | ClassifierConventions,
    rules: Sequence[Rule],
    causes: Sequence[Cause],
    unused: str = r"(?!)",
) -> Converted:
    """Translate the `tensors` of a file for `network`, and account for every key.

    Args:
        tensors: by the file's keys.
        network: what the file should fit.
        conventions: those of the file's framework, passed on.
        rules: the first that applies says what a key of the network is called in the file; without any the names agree.
        causes: the likely reasons, in order of precedence, if the file does not fit.
        unused: regular expression of keys that files of the format may have and no network needs.

    Raises:
        ReproError: the file does not fit; the first key and the probable cause are named.
    """
    translated: dict[str, Tensor] = {}
    missing, reshaped, problems, used = [], [], [], set()
    for own, expected in build_meta_state_dict(network).items():
        rule, names = _translate_name(own, rules)
        key = next((name for name in names if name in tensors), None)
        if key is None and _COUNTER.search(own):
            missing.append(own)
        elif key is None:
            problems.append(KeyProblem("missing", names[0]))
        else:
            used.add(key)
            tensor = changed = tensors[key]
            change = rule.change if rule else None
            if change is not None and tensor.dim() == expected.dim():
                changed = change.make(tensor)
                if changed is not tensor:
                    reshaped.append(f"{key}: {change.how}")
            if problem := _find_misfit(key, tensor, changed, expected):
                problems.append(problem)
            translated[own] = changed
    unexpected = []
    for key in tensors:
        if key in used:
            continue
        if _COUNTER.search(key) or re.search(unused, key):
            unexpected.append(key)
        else:
            problems.append(KeyProblem("unexpected", key))
    if problems:
        raise ReproError(_explain(problems, causes, recognised=bool(used)) + ("" if used else describe_prefix(tensors)))
    return Converted(translated, tuple(missing), tuple(unexpected), tuple(reshaped), conventions, network)


def prepend_zeros(rows: int) -> Callable[[Tensor], Tensor]:
    """A function that puts `rows` rows of zeros before those of a tensor."""

    def make(tensor: Tensor) -> Tensor:
        padded = tensor.new_zeros(rows + len(tensor), *tensor.shape[1:])
        padded[rows:] = tensor
        return padded

    return make


#: For heads whose background comes last and has neither box nor mask; the network's have it first and never read the
#: background's own.
BACKGROUND_FIRST = TensorChange(lambda rows: rows.roll(1, dims=0), "the last row, the background's, made the first")
BACKGROUND_BOX = TensorChange(prepend_zeros(4), "4 rows of zeros, the background's, put before the others")
BACKGROUND_MASK = TensorChange(prepend_zeros(1), "a row of zeros, the background's, put before the others")


def _translate_name(own: str, rules: Sequence[Rule]) -> tuple[Rule | None, list[str]]:
    for rule in rules:
        if match := re.match(rule.own, own):
            return rule, [match.expand(template) + own[match.end() :] for template in rule.theirs]
    return None, [own]


def _find_misfit(key: str, tensor: Tensor, changed: Tensor, expected: Tensor) -> KeyProblem | None:
    if changed.shape != expected.shape:
        becomes = "" if changed.shape == tensor.shape else f", which makes {tuple(changed.shape)},"
        return KeyProblem(
            "shape", key, f" has shape {tuple(tensor.shape)}{becomes} and should have {tuple(expected.shape)}"
        )
    if changed.is_floating_point() != expected.is_floating_point():
        return KeyProblem("shape", key, f" holds {changed.dtype} and should hold {expected.dtype}")
    return None


def _explain(problems: list[KeyProblem], causes: Sequence[Cause], recognised: bool) -> str:
    first, why = problems[0], ""
    if not recognised:
        why = ": none of its keys is one of this format"
    else:
        for cause in causes:
            fitting = [p for p in problems if p.kind == cause.kind and re.search(cause.keys, p.key)]
            if fitting:
                first, why = fitting[0], f": {cause.text}"
                break
    subject = {"missing": f"it lacks {first.key}", "unexpected": f"{first.key} is unknown"}
    more = len(problems) - 1
    return (
        f"the file does not fit the network{why}. First of all {subject.get(first.kind, first.key + first.detail)}"
        + (f"; {more} more {'key does' if more == 1 else 'keys do'} not fit." if more else ".")
    )

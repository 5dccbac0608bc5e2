"""The result of a finished training: the trained weights, and a sealed file that says how they came to be, twice."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from repro.errors import ReproError
from repro.files.json_files import load_json
from repro.files.notices import tell
from repro.files.places import is_there
from repro.files.regular_files import read_regular, sha256
from repro.files.schema import FiniteModel
from repro.files.seals import has_seal, parse_sealed, seal
from repro.paths import unwritable, write_atomically

WEIGHTS = "weights.pt"
#: The result is small and a training is long, so that it is kept twice.
RESULTS = ("fitted.json", "fitted.copy.json")
_LIMIT = 16 << 20  #: bytes of a result
_WEIGHTS_LIMIT = 16 << 30
DAMAGED = ".damaged"  #: what is put aside is called so
_CONTINUED = f"It is kept as *{DAMAGED}; the training goes on from its last state, or from the start if it has none."


@dataclass(frozen=True)
class TrainingSegment:
    """Iterations that were trained without an interruption, from `start` to the next segment's `start`."""

    start: int  #: number of iterations completed before
    world_size: int
    precision: str
    accelerator: str | None = None  #: "cpu" or "cuda"; None in states of earlier versions


@dataclass(frozen=True)
class Fitted:
    """A finished training."""

    iterations: int
    final_loss: float  #: mean of the summed loss terms over the last 20 iterations
    seconds: float  #: wall time of the training loop over all segments
    peak_memory_bytes: int  #: of the first process, on the GPU or resident
    effective_batch: int
    world_size: int  #: of the last segment
    segments: tuple[TrainingSegment, ...]
    weights: Path
    sha256: str  #: of the bytes of `weights`

    @property
    def resumed(self) -> int:
        """The number of times that the training was resumed from a saved state."""
        return len(self.segments) - 1


def save_result(fitted: Fitted, identity: str) -> None:
    """Write the result of a training beside its weights, which are there.

    Raises:
        ReproError: it cannot be written.
    """
    values = asdict(fitted)
    directory = values.pop("weights").parent
    content = seal(_Result(identity=identity, fitted=_Values(**values)))
    for name in RESULTS:
        write_atomically(directory / name, content)


def read_result(directory: Path, identity: str) -> Fitted | None:
    """Read the result of the training in `directory`; None where there is none. The weights are not looked at.

    Of a damaged file of the two the user is told, and the other one is taken. One of an earlier version has no seal:
    the user is told that, too.

    Raises:
        ReproError: it is another training's, or both files are damaged.
    """
    problem: ReproError | None = None
    for path in (directory / name for name in RESULTS):
        if not is_there(path):
            continue
        try:
            result = _parse(path, read_regular(path, _LIMIT, "result"))
        except ReproError as error:
            problem = problem or error
            continue
        if result.identity != identity:
            raise explain_other_identity(path, result.identity, identity)
        if problem:
            tell(f"{problem} {path} is whole, and is taken instead.")
        return Fitted(**dict(result.fitted), weights=directory / WEIGHTS)
    if problem:
        raise problem
    return None


def find_finished(directory: Path, identity: str) -> Fitted | None:
    """Find the finished training in `directory`, with weights that are those of its result; changes nothing.

    Raises:
        ReproError: it is another training's.
    """
    if not is_there(directory / WEIGHTS):
        return None
    try:
        fitted = read_result(directory, identity)
        return fitted if fitted and sha256(fitted.weights) == fitted.sha256 else None
    except OtherTraining:
        raise
    except ReproError:
        return None


def load_finished(directory: Path, identity: str, repair: bool) -> tuple[Fitted, bytes] | None:
    """Load the finished training in `directory`, and the bytes of its weights; None where there is none.

    What is damaged counts as not there, and the user is told.

    Args:
        repair: put what is damaged aside, and write a damaged file of a result anew from its copy.

    Raises:
        ReproError: the result is another training's; or something cannot be written.
    """
    if not is_there(directory / WEIGHTS):
        return None
    try:
        fitted = read_result(directory, identity)
    except OtherTraining:
        raise
    except ReproError as error:
        tell(f"{error} {_CONTINUED}")
        if repair:
            for name in RESULTS:
                set_aside(directory / name)
        return None
    if fitted is None:
        return None
    content = read_regular(fitted.weights, _WEIGHTS_LIMIT, "weights")
    if hashlib.sha256(content).hexdigest() != fitted.sha256:
        tell(f"{fitted.weights} is damaged: its sha256 is not the one in {RESULTS[0]}. {_CONTINUED}")
        if repair:
            for name in (WEIGHTS, *RESULTS):
                set_aside(directory / name)
        return None
    if repair and not _are_sealed_alike(directory):
        save_result(fitted, identity)
    return fitted, content


def set_aside(path: Path) -> None:
    """Give a damaged file another name, so that it is not read again and nothing is lost.

    Raises:
        ReproError: it cannot be renamed.
    """
    try:
        if is_there(path):
            os.replace(path, path.with_name(path.name + DAMAGED))
    except OSError as error:
        raise unwritable(path, error) from error


class OtherTraining(ReproError):
    """A file that is whole but of another training: never put aside or written over."""


def explain_other_identity(path: Path, found: object, expected: str) -> OtherTraining:
    """The error to raise where a file belongs to another training."""
    return OtherTraining(
        f"{path} belongs to another training: its experiment, recipe, data, initial weights or seed differ "
        f"(its key is {str(found)[:12]}, this training's is {expected[:12]}). "
        f"Choose another directory, or delete {path.parent} to train from the start."
    )


class _Values(FiniteModel):
    iterations: int
    final_loss: float
    seconds: float
    peak_memory_bytes: int
    effective_batch: int
    world_size: int
    segments: tuple[TrainingSegment, ...]
    sha256: str


class _Result(FiniteModel):
    """A result's file. Those of version 1 have no seal, and neither this field."""

    schema_version: Literal[2] = 2
    identity: str
    fitted: _Values


def _parse(path: Path, content: bytes) -> _Result:
    if not has_seal(content):
        try:
            old = load_json(content)
            if isinstance(old, dict) and "schema_version" not in old:
                result = _Result(**old)
                tell(f"{path} was written by an earlier version, without a hash: an edit or a damage would not show.")
                return result
        except (ValueError, TypeError, RecursionError, ValidationError):
            pass  # said below
    return parse_sealed(content, _Result, "result", path, "It is written when a training ends.")


def _are_sealed_alike(directory: Path) -> bool:
    """Whether both files of the result are there, sealed and the same."""
    try:
        first, second = (read_regular(directory / name, _LIMIT) for name in RESULTS)
    except ReproError:
        return False
    return first == second and has_seal(first)

"""The files of a training in its directory, written so that an interruption at any moment loses only recent iterations.

    log.jsonl     a line per iteration: {"iteration": 1, "lr": ..., "losses": {...}}, counted from 1
    state.pt      while it trains: everything that the next iteration depends on
    weights.pt    at the end: the model's state dict
    fitted.json   at the end, after weights.pt: the training's result

The log may run ahead of the state; a resumed training cuts it back to the state's iteration.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from repro.errors import UNREADABLE, ReproError
from repro.files.places import is_there, list_directory
from repro.files.regular_files import open_regular, read_regular
from repro.paths import unwritable, write_atomically

#: Number of last iterations over whose mean the final loss is taken.
FINAL_ITERATIONS = 20
_LARGEST, _SMALL = 16 << 30, 16 << 20  #: bytes of a state or of weights, and of a result
_WEIGHTS, _RESULT = "weights.pt", "fitted.json"


@dataclass(frozen=True)
class TrainingSegment:
    """Iterations that were trained without an interruption, from `start` to the next segment's `start`."""

    start: int  #: number of iterations completed before
    world_size: int
    precision: str
    accelerator: str | None = None  #: "cpu" or "cuda"; None in states of earlier versions


@dataclass
class Position:
    """The progress of a training. `seconds` and `peak_memory_bytes` include earlier segments."""

    iteration: int = 0  #: number of completed ones
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    log_bytes: int = 0
    segments: list[dict[str, Any]] = field(default_factory=list)


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


def is_finished(directory: Path) -> bool:
    """Whether `directory` holds the result of a training, which may still turn out to be damaged."""
    return is_there(directory / _RESULT) and is_there(directory / _WEIGHTS)


class Run:
    """The directory of one training. Of several processes only the one with `writes` changes it; all of them read it.

    At most one training at a time may use a directory.
    """

    def __init__(self, directory: Path, identity: str, writes: bool):
        self.directory, self.identity, self.writes = directory, identity, writes
        self.log, self.state = directory / "log.jsonl", directory / "state.pt"
        self.weights, self.result = directory / _WEIGHTS, directory / _RESULT
        self._log: io.FileIO | None = None

    def load_result(self, model: torch.nn.Module) -> Fitted | None:
        """Load the result of the finished training, and its weights into `model`; None if it is not finished.

        A leftover state is deleted.

        Raises:
            ReproError: the result is another training's, or one of its two files is damaged.
        """
        if not is_finished(self.directory):
            return None
        try:
            result = json.loads(read_regular(self.result, _SMALL))
            self._check_identity(self.result, result["identity"])
            values = result["fitted"]
            segments = tuple(TrainingSegment(**segment) for segment in values.pop("segments"))
            fitted = Fitted(**values, segments=segments, weights=self.weights)
        except UNREADABLE as error:
            raise self._describe_damage(self.result, error) from None
        content = read_regular(self.weights, _LARGEST, "weights")
        if hashlib.sha256(content).hexdigest() != fitted.sha256:
            raise self._describe_damage(self.weights, "its sha256 is not the one in fitted.json")
        model.load_state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
        if self.writes:
            self.state.unlink(missing_ok=True)
        return fitted

    def restore(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Position:
        """Load the saved state, if there is one, and open the log at its iteration.

        Raises:
            ReproError: the state is damaged or another training's, or the directory cannot be written.
        """
        position = Position()
        if is_there(self.state):
            try:
                with open_regular(self.state, _LARGEST, "state") as file:
                    state = torch.load(file, map_location="cpu", weights_only=True)
                self._check_identity(self.state, state["identity"])
                position = Position(**state["position"])
                model.load_state_dict(state["model"])
                optimizer.load_state_dict(state["optimizer"])
            except UNREADABLE as error:
                raise self._describe_damage(self.state, error) from None
        if self.writes:
            self._open_log(position.log_bytes)
        return position

    def _open_log(self, size: int) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            unfinished = tuple(f".{path.name}." for path in (self.state, self.weights, self.result))
            for leftover in list_directory(self.directory):
                if leftover.name.startswith(unfinished):  # of a process that was killed while writing
                    leftover.unlink()
            self._log = self.log.open("ab", buffering=0)
            if self._log.tell() < size:
                raise self._describe_damage(self.log, f"it is shorter than when {self.state.name} was written")
            self._log.truncate(size)
        except OSError as error:
            raise unwritable(self.log, error) from error

    def append(self, iteration: int, lr: float, losses: dict[str, float]) -> None:
        """Add an iteration's line to the log."""
        if self._log is None:
            return
        line = json.dumps({"iteration": iteration, "lr": lr, "losses": losses}).encode() + b"\n"
        try:
            while line:  # a disk that is nearly full takes only a part
                line = line[self._log.write(line) :]
        except OSError as error:
            raise unwritable(self.log, error) from error

    def save(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, position: Position) -> None:
        """Replace the saved state by this one.

        Raises:
            ReproError: it cannot be written; the earlier state is untouched.
        """
        if self._log is None:
            return
        os.fsync(self._log.fileno())
        position.log_bytes = self._log.tell()
        state = {
            "identity": self.identity,
            "position": asdict(position),
            "model": dict(model.state_dict()),
            "optimizer": optimizer.state_dict(),
        }
        write_atomically(self.state, _serialise(state))

    def finish(self, model: torch.nn.Module, position: Position, effective_batch: int) -> None:
        """Write the weights, then the result.

        Raises:
            ReproError: they cannot be written; the saved state is untouched.
        """
        if not self.writes:
            return
        self.close()
        content = _serialise({name: tensor.detach().cpu() for name, tensor in model.state_dict().items()})
        write_atomically(self.weights, content)
        fitted = {
            "iterations": position.iteration,
            "final_loss": self._compute_final_loss(),
            "seconds": position.seconds,
            "peak_memory_bytes": position.peak_memory_bytes,
            "effective_batch": effective_batch,
            "world_size": position.segments[-1]["world_size"],
            "segments": position.segments,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        result = {"identity": self.identity, "fitted": fitted}
        write_atomically(self.result, (json.dumps(result, indent=1) + "\n").encode())

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def _compute_final_loss(self) -> float:
        with self.log.open("rb") as lines:
            last = [sum(json.loads(line)["losses"].values()) for line in deque(lines, maxlen=FINAL_ITERATIONS)]
        return sum(last) / len(last)

    def _check_identity(self, path: Path, identity: object) -> None:
        if identity != self.identity:
            raise ReproError(
                f"{path} belongs to another training: its experiment, recipe, data, initial weights or seed differ "
                f"(its key is {str(identity)[:12]}, this training's is {self.identity[:12]}). "
                f"Choose another directory, or delete {self.directory} to train from the start."
            )

    def _describe_damage(self, path: Path, why: Exception | str) -> ReproError:
        reason = next(iter(str(why).strip().splitlines()), type(why).__name__)
        return ReproError(
            f"{path} is damaged or not of this training ({reason}). Delete {self.directory} to train from the start."
        )


def _serialise(value: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()

"""The files of a training, written so that an interruption at any moment loses only recent iterations.

    log.jsonl             a line per iteration, from 1: {"iteration": 1, "lr": ..., "losses": {...}, "norm": ...}
    metrics.csv           a row per window of iterations and per evaluation, see `log_rows`
    state.pt              while it trains: everything that the next iteration depends on, sealed
    state.previous.pt     the state before that
    weights.pt            at the end: the model's state dict
    fitted.json           at the end, after weights.pt: the training's result, sealed; fitted.copy.json is the same

The log may run ahead of the state; a resumed training cuts it back to the state's iteration. What is damaged is told
and put aside, and the training goes on from the last state that is whole.
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

from repro.engine import fitted as results
from repro.engine.fitted import Fitted, explain_other_identity, set_aside
from repro.engine.log_rows import LOG, TABLE
from repro.errors import UNREADABLE, ReproError
from repro.files.notices import tell
from repro.files.places import is_there, list_directory
from repro.files.regular_files import open_regular, read_regular
from repro.files.seals import Changed, seal_bytes, unseal_bytes
from repro.paths import unwritable, write_atomically

#: Number of last iterations over whose mean the final loss is taken.
FINAL_ITERATIONS = 20
_LARGEST = 16 << 30  #: bytes of a state, and of a log
_DAMAGE = (*UNREADABLE, Changed)  #: what reading a damaged state raises


@dataclass
class Position:
    """The progress of a training. `seconds` and `peak_memory_bytes` include earlier segments."""

    iteration: int = 0  #: number of completed ones
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    log_bytes: int = 0
    segments: list[dict[str, Any]] = field(default_factory=list)
    log_sha256: str | None = None  #: of the first `log_bytes` of the log; None in states of earlier versions
    last_losses: list[float] = field(default_factory=list)  #: summed loss terms, of at most FINAL_ITERATIONS


class Run:
    """The directory of one training. Of several processes only the one with `writes` changes it; all of them read it.

    At most one training at a time may use a directory.
    """

    def __init__(self, directory: Path, identity: str, writes: bool):
        self.directory, self.identity, self.writes = directory, identity, writes
        self.log, self.state = directory / LOG, directory / "state.pt"
        self.previous = directory / "state.previous.pt"
        self.weights = directory / results.WEIGHTS
        self._log: io.FileIO | None = None
        self._log_hash = hashlib.sha256()
        self._last_losses: deque[float] = deque(maxlen=FINAL_ITERATIONS)

    def load_result(self, model: torch.nn.Module) -> Fitted | None:
        """Load the result of the finished training, and its weights into `model`; None if it is not finished.

        Leftover states are deleted. A damaged result counts as none: the user is told.

        Raises:
            ReproError: the result is another training's, or cannot be read.
        """
        found = results.load_finished(self.directory, self.identity, repair=self.writes)
        if found is None:
            return None
        fitted, content = found
        model.load_state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
        if self.writes:
            self._remove_unfinished()
            for path in (self.state, self.previous):
                path.unlink(missing_ok=True)
                path.with_name(path.name + results.DAMAGED).unlink(missing_ok=True)
        return fitted

    def choose_state(self) -> str | None:
        """Choose the state to go on from: the name of the last one that is whole; None where there is none.

        For the process that writes. What is damaged is put aside, and the user is told in a line.

        Raises:
            ReproError: a state is another training's.
        """
        problems, chosen, damaged_log = [], None, None
        for path in (self.state, self.previous):
            if not is_there(path):
                continue
            try:
                position = Position(**self._read_state(path, tell_age=True)["position"])
            except _DAMAGE as error:
                problems.append(self._describe_damage(path, error))
                set_aside(path)
                continue
            problem = self._examine_log(position)
            if problem is None:
                chosen = path
                break
            damaged_log = damaged_log or (path, problem)
        if damaged_log:
            path, problem = damaged_log
            problems.append(problem)
            if chosen is None:  # not for a log is a training begun anew: neither weights nor record come from it
                chosen = path
                problems.append("the log stays damaged: neither the weights nor the record are made from it")
            else:  # what is trained again writes the lines again
                path.unlink()
        if problems:
            begin = f"from {chosen.name}" if chosen else "from the start, for there is no other state"
            tell(f"{self.directory}: {'; '.join(problems)}. The training goes on {begin}.")
        return chosen.name if chosen else None

    def restore(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, chosen: str | None) -> Position:
        """Load the state that `choose_state` chose, if there is one, and open the log at its iteration.

        Raises:
            ReproError: the state is damaged or of another network, or the directory cannot be written.
        """
        position = Position()
        if chosen:
            path = self.directory / chosen
            try:
                state = self._read_state(path)
                position = Position(**state["position"])
                model.load_state_dict(state["model"])
                optimizer.load_state_dict(state["optimizer"])
            except _DAMAGE as error:
                raise ReproError(
                    f"{self.directory / self._describe_damage(path, error)}. Delete {self.directory} to train from the "
                    "start."
                ) from None
        if self.writes:
            self._open_log(position)
        return position

    def _read_state(self, path: Path, tell_age: bool = False) -> dict[str, Any]:
        """The content of a state.

        Raises:
            Changed: it is not as it was written; or what `torch.load` raises.
            ReproError: it is another training's, or cannot be read.
        """
        content, sealed = unseal_bytes(read_regular(path, _LARGEST, "state"))
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if not sealed and "sealed" in state:
            raise Changed("its sha256 at its end is missing")
        if state["identity"] != self.identity:
            raise explain_other_identity(path, state["identity"], self.identity)
        if not sealed and tell_age:
            tell(f"{path} was written by an earlier version, without a hash: an edit or a damage would not show.")
        return state

    def _examine_log(self, position: Position) -> str | None:
        """What is wrong with the part of the log that was written before a state; None where nothing is."""
        size, total = _hash_beginning(self.log, position.log_bytes)
        if size < position.log_bytes:
            return f"{self.log.name} is damaged (it is shorter than when the state was written)"
        if position.log_sha256 not in (None, total.hexdigest()):
            return f"{self.log.name} is damaged (it is not what it was when the state was written)"
        return None

    def _open_log(self, position: Position) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._remove_unfinished()
            self._log = self.log.open("ab", buffering=0)
            size = self._log.tell()
            if size > position.log_bytes:
                self._log.truncate(position.log_bytes)
            elif size < position.log_bytes:  # of a damaged one, whole lines are kept
                self._log.truncate(read_regular(self.log, max(size, 1)).rfind(b"\n") + 1)
        except OSError as error:
            raise unwritable(self.log, error) from error
        self._log_hash = _hash_beginning(self.log, position.log_bytes)[1]
        self._last_losses.clear()
        if position.log_sha256 is None:
            self._last_losses.extend(self._read_last_losses())
        else:
            self._last_losses.extend(position.last_losses)

    def _remove_unfinished(self) -> None:
        """Remove what a process left that was killed while it wrote a file."""
        names = (self.state.name, self.previous.name, self.weights.name, TABLE, *results.RESULTS)
        unfinished = tuple(f".{name}." for name in names)
        for leftover in list_directory(self.directory):
            if leftover.name.startswith(unfinished):
                leftover.unlink()

    def append(self, content: dict[str, Any]) -> None:
        """Add an iteration's line to the log."""
        if self._log is None:
            return
        line = json.dumps(content).encode() + b"\n"
        self._log_hash.update(line)
        self._last_losses.append(sum(content["losses"].values()))
        try:
            while line:  # a disk that is nearly full takes only a part
                line = line[self._log.write(line) :]
        except OSError as error:
            raise unwritable(self.log, error) from error

    def save(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, position: Position) -> None:
        """Save this state. The one before it is kept, and the one before that is not.

        Raises:
            ReproError: it cannot be written; the earlier state is untouched.
        """
        if self._log is None:
            return
        try:
            os.fsync(self._log.fileno())
        except OSError as error:
            raise unwritable(self.log, error) from error
        position.log_bytes, position.log_sha256 = self._log.tell(), self._log_hash.hexdigest()
        position.last_losses = list(self._last_losses)
        state = {
            "identity": self.identity,
            "position": asdict(position),
            "model": dict(model.state_dict()),
            "optimizer": optimizer.state_dict(),
            "sealed": True,  # so that one whose seal was cut off is not taken for one of earlier versions
        }
        content = seal_bytes(_serialise(state))
        try:
            if is_there(self.state):
                os.replace(self.state, self.previous)
        except OSError as error:
            raise unwritable(self.state, error) from error
        write_atomically(self.state, content)

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
        fitted = Fitted(
            iterations=position.iteration,
            final_loss=sum(self._last_losses) / len(self._last_losses),
            seconds=position.seconds,
            peak_memory_bytes=position.peak_memory_bytes,
            effective_batch=effective_batch,
            world_size=position.segments[-1]["world_size"],
            segments=tuple(results.TrainingSegment(**segment) for segment in position.segments),
            weights=self.weights,
            sha256=hashlib.sha256(content).hexdigest(),
        )
        results.save_result(fitted, self.identity)

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def _read_last_losses(self) -> list[float]:
        """What states of earlier versions do not have."""
        try:
            with self.log.open("rb") as lines:
                return [sum(json.loads(line)["losses"].values()) for line in deque(lines, maxlen=FINAL_ITERATIONS)]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ReproError(
                f"{self.log} is damaged ({error}). Delete {self.directory} to train from the start."
            ) from None

    def _describe_damage(self, path: Path, why: Exception) -> str:
        reason = next(iter(str(why).strip().splitlines()), type(why).__name__)
        return f"{path.name} is damaged or not of this training ({reason.rstrip('.')})"


def _hash_beginning(path: Path, size: int) -> tuple[int, hashlib._Hash]:
    """Hash the first `size` bytes of a file: how many it has of them, and their hash."""
    total, left = hashlib.sha256(), size
    if not is_there(path):
        return 0, total
    with open_regular(path, _LARGEST, "log") as file:
        while left and (block := file.read(min(left, 1 << 20))):
            total.update(block)
            left -= len(block)
    return size - left, total


def _serialise(value: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()

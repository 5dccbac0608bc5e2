"""What is known of each job, in files that all nodes see: RESULTS/jobs/NAME/.

    job.json        what it does, written before it is submitted
    submitted.json  its number at Slurm, and where its log is
    events.jsonl    what became of it: a line when it starts, is interrupted, dies, fails, ends or is cancelled

Slurm forgets a job some minutes after its end where it keeps no accounts, and knows nothing of why it failed.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import ValidationError

from repro.errors import ReproError
from repro.files.locks import hold_directory_lock
from repro.files.places import is_directory, is_there, list_directory
from repro.files.regular_files import read_regular
from repro.files.schema import FrozenModel, Text, describe_violation
from repro.jobs import slurm
from repro.paths import unwritable, write_atomically

Model = TypeVar("Model", bound=FrozenModel)

_LIMIT = 1 << 26  #: bytes of a file
What = Literal["started", "interrupted", "died", "failed", "measured", "cancelled"]
#: Events after which a job does not go on by itself.
FINAL = frozenset({"failed", "measured", "cancelled"})


class Description(FrozenModel):
    """What a job does."""

    label: Text
    experiment: Text
    seed: int
    task: str  #: a line for `measuring.worker`
    environment: dict[str, str]  #: of the process that executes it, beside what it inherits
    nodes: int
    processes: int  #: on each node
    container: tuple[str, ...] = ()  #: words that start one, before those of the process


class Submitted(FrozenModel):
    """The last submission of a job."""

    job: Text  #: its number, of a task of an array as 123_4
    cluster: Text
    at: Text  #: ISO 8601, UTC
    log: Text


class Event(FrozenModel):
    """What became of a job."""

    what: What
    job: Text
    host: Text
    at: Text
    text: Text = ""


@dataclass(frozen=True)
class Entry:
    """The directory of one job."""

    directory: Path

    @property
    def name(self) -> str:
        return self.directory.name

    def describe(self, description: Description) -> None:
        """Write down what the job does.

        Raises:
            ReproError: it cannot be written.
        """
        write_atomically(self.directory / "job.json", description.model_dump_json(indent=1).encode(), lasting=False)

    def submit(self, submitted: Submitted) -> None:
        """Write down that it was submitted.

        Raises:
            ReproError: it cannot be written.
        """
        write_atomically(self.directory / "submitted.json", submitted.model_dump_json(indent=1).encode(), lasting=False)

    def read_description(self) -> Description:
        """Read what it does.

        Raises:
            ReproError: the file is missing or damaged.
        """
        return _parse(self.directory / "job.json", Description)

    def read_submitted(self) -> Submitted | None:
        """Read its last submission; None where there is none.

        Raises:
            ReproError: the file is damaged.
        """
        path = self.directory / "submitted.json"
        return _parse(path, Submitted) if is_there(path) else None

    def read_events(self, job: str) -> list[Event]:
        """Read what became of it since it was submitted as `job`; a line that is half written counts as none."""
        path = self.directory / "events.jsonl"
        if not is_there(path):
            return []
        events = []
        for line in read_regular(path, _LIMIT).splitlines():
            try:
                events.append(Event.model_validate_json(line))
            except ValidationError:
                continue
        return [event for event in events if event.job == job]

    def add(self, what: What, job: str, text: str = "", host: str | None = None) -> None:
        """Add an event; of two nodes that do so at once, one waits, because on NFS they would write to one place.

        Args:
            host: where it happened; None: here.

        Raises:
            ReproError: it cannot be written.
        """
        event = {"what": what, "job": job, "host": host or slurm.name_node(), "at": now(), "text": text}
        path = self.directory / "events.jsonl"
        try:
            with hold_directory_lock(self.directory), path.open("ab", buffering=0) as file:
                file.write(json.dumps(event).encode() + b"\n")
                os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(path, error) from error


def locate(results: Path) -> Path:
    """The directory of all jobs; absolute, because nodes may have another current directory."""
    return (results / "jobs").absolute()


def list_entries(results: Path) -> list[Entry]:
    """List the jobs that were ever submitted for a directory of results."""
    root = locate(results)
    found = list_directory(root) if is_there(root) else []
    directories = (path for path in sorted(found) if is_directory(path))
    return [Entry(path) for path in directories if is_there(path / "job.json")]


def now() -> str:
    """The time, as files have it: ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _parse(path: Path, model: type[Model]) -> Model:
    try:
        return model.model_validate_json(read_regular(path, _LIMIT))
    except ValidationError as error:
        raise ReproError(f"{path} is damaged ({describe_violation(error)}): delete {path.parent}") from None

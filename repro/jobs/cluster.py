"""What a job asks Slurm for: from `slurm.toml`, and from options that come before it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from repro.errors import ReproError
from repro.files.places import is_file
from repro.files.schema import FrozenModel, Text, describe_violation
from repro.files.text_files import read_text
from repro.settings import MOST_DEVICES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_FILE = Path("slurm.toml")
_LIMIT = 1 << 20  #: bytes of the file
_LISTS = ("modules", "setup")
_Count = Annotated[int, Field(ge=1, le=100_000)]


class Resources(FrozenModel):
    """What one job asks for; what is None is left to the cluster's defaults."""

    partition: Text | None = None
    account: Text | None = None
    qos: Text | None = None
    constraint: Text | None = None
    exclude: Text | None = None  #: nodes
    time: Text | None = None  #: limit of one job, as sbatch takes it; a training that is longer is requeued
    memory: Text | None = None  #: of a node, as sbatch takes it: 200G
    nodes: _Count | None = None
    gpus: Annotated[int, Field(ge=0, le=MOST_DEVICES)] | None = None  #: of each node
    cpus: _Count | None = None  #: for each task: with several nodes of each process, else of all
    parallel: _Count | None = None  #: jobs of one array at a time
    notice: Annotated[int, Field(ge=10, le=3600)] | None = None  #: seconds before the time limit at which to save
    modules: tuple[Text, ...] | None = None  #: loaded by `module load`
    setup: tuple[Text, ...] | None = None  #: lines of the script before the job
    container: Text | None = None  #: what starts a container, before the command that measures in it

    def split_container(self) -> tuple[str, ...]:
        """Split what starts a container into words, as a shell does; empty where there is none.

        Raises:
            ReproError: a quotation mark is never closed.
        """
        try:
            return tuple(shlex.split(self.container or ""))
        except ValueError as error:
            raise ReproError(f"container = {self.container!r}: {error}") from None


class Cluster(Resources):
    """Resources of all jobs, and what is otherwise for the experiments of one data set."""

    coco: Resources | None = None
    imagenet: Resources | None = None
    kinetics: Resources | None = None

    def choose(self, dataset: str) -> Resources:
        """Choose what a job of a data set's experiments asks for."""
        own: Resources | None = getattr(self, dataset)
        names = Resources.model_fields
        given = {**self.model_dump(include=set(names)), **(own.model_dump(exclude_none=True) if own else {})}
        return Resources(**given)


def read_cluster(given: Iterable[str]) -> Cluster:
    """Read what a user says of the cluster.

    Args:
        given: each a TOML file, or KEY=VALUE (`partition=gpu`, `imagenet.time=8:00:00`); later ones win. `slurm.toml`
            of the current directory is read first if no file is named.

    Raises:
        ReproError: a file or a value is not as it has to be; it is named.
    """
    given = list(given)
    if not any(_names_file(each) for each in given) and is_file(DEFAULT_FILE):
        given.insert(0, str(DEFAULT_FILE))
    content: dict[str, Any] = {}
    for each in given:
        _merge(content, _read_toml(Path(each)) if _names_file(each) else _read_assignment(each))
    try:
        return Cluster(**content)
    except ValidationError as error:
        raise ReproError(f"what is said of the cluster ({', '.join(given)}): {describe_violation(error)}") from None


def _names_file(text: str) -> bool:
    return text.endswith(".toml") and "=" not in text


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path, _LIMIT))
    except tomllib.TOMLDecodeError as error:
        raise ReproError(f"{path} is no TOML: {error}") from None


def _read_assignment(text: str) -> dict[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise ReproError(f"--slurm {text}: give KEY=VALUE, as in partition=gpu, or a file that ends with .toml")
    *section, key = name.split(".")
    content: dict[str, Any] = {key: [value] if key in _LISTS else value}
    for part in reversed(section):
        content = {part: content}
    return content


def _merge(into: dict[str, Any], other: dict[str, Any]) -> None:
    """Add `other` to `into`: lists are continued, sections are merged, all else is replaced."""
    for key, value in other.items():
        before = into.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            _merge(before, value)
        elif isinstance(before, list) and isinstance(value, list):
            into[key] = before + value
        else:
            into[key] = value

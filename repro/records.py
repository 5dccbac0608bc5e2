"""The record of one measured experiment: immutable JSON, schema-versioned, content-addressed, atomically stored."""

from __future__ import annotations

import hashlib
import math
import os
import re
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from repro.errors import ReproError
from repro.experiments import digest
from repro.paths import write_atomically

SCHEMA = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Metric(_Part):
    """One measured number, in full precision and in the unit that the paper prints."""

    name: str  #: a column of the published tables: ap_box, ap50_box, ..., top1, jsd_att
    value: float
    unit: str
    n: int  #: items (images, clips) that the value was computed from
    standard_error: float | None = None

    @field_validator("value", "standard_error")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError("a metric must be a finite number")
        return value


class DataSet(_Part):
    """What was evaluated. `required`: the paper's number of items (5000 on COCO); `expected`: the annotation file's."""

    name: str
    annotations_sha256: str
    ids_sha256: str
    required: int
    expected: int
    evaluated: int
    failed: list[str] = []


class Checkpoint(_Part):
    """Weights that others trained: which file, from where, and what became of its keys (`checkpoints.yaml`)."""

    key: str  #: cache key of the evaluation: weights, translation, network, data and numerics
    id: str  #: of the registry's entry, or "file" where the user brought one of no entry
    match: Literal["exact", "near"]  #: the authors' weights of this very row, or others of the same network
    format: str
    url: str | None  #: where it was fetched from; None for a file given by hand
    sha256: str  #: of the file
    verified: bool  #: its sha256 begins as its publisher says
    size: int  #: bytes
    conventions: str  #: name of the framework's conventions that it was evaluated with
    missing: list[str]  #: keys of the network that the file does not have
    unexpected: list[str]  #: keys of the file that the network has no use for, each for a known reason
    reshaped: list[str]  #: keys whose tensors were cut, permuted or rolled, and how
    reported: dict[str, float] = {}  #: by their publisher, by column of the tables


class Weights(_Part):
    """The evaluated weights: `origin` says how they came to be."""

    sha256: str
    origin: str
    initial_sha256: str | None = None
    converter: str | None = None  #: name and version of what translated them from another framework
    checkpoint: Checkpoint | None = None


class Segment(_Part):
    """Iterations that were trained without an interruption, from `start` to the next segment's `start`."""

    start: int  #: iterations completed before
    world_size: int
    precision: str
    accelerator: str | None = None


class Training(_Part):
    """The recipe as it was carried out here."""

    key: str
    iterations: int
    recipe_iterations: int  #: what the whole recipe takes at this batch size on the paper's training set
    effective_batch: int
    learning_rate: float
    world_size: int  #: processes that it ended with
    final_loss: float
    resumed: int = 0
    batch_per_process: int | None = None
    normalisation: str | None = None  #: what batch norm took its statistics over, in words
    segments: list[Segment] = []


class Complexity(_Part):
    """Of the evaluated network, from its `Count`."""

    params: int
    macs: int
    input_shape: list[int]


class Cost(_Part):
    train_seconds: float
    evaluate_seconds: float
    peak_memory_bytes: int
    images_per_second: float


class Submitted(_Part):
    """What COCO's evaluation server was sent: the metrics are its answer."""

    key: str  #: of the predictions: weights, network, images and numerics
    files: dict[Literal["bbox", "segm"], str]  #: sha256 of the archives, by task


class Record(_Part):
    """Everything about one measurement of one experiment."""

    schema_version: Literal[1] = SCHEMA
    experiment: str
    profile: Literal["full", "mini"]
    source: Literal["trained", "checkpoint"]
    engine: str
    seed: int
    spec_hash: str
    command: str
    created: str  #: ISO 8601, UTC
    deviations: list[str]  #: from the paper's protocol, in words
    departures: list[str] = []  #: those of them that were asked for: another recipe than the paper's
    metrics: list[Metric]
    evaluator: str  #: name and version
    predictions_sha256: str
    weights: Weights
    dataset: DataSet
    training: Training | None
    numerics: dict[str, str | int | bool]
    environment: dict[str, str | bool | None]
    cost: Cost
    complexity: Complexity | None = None
    #: None where the metrics were computed here. Records from before it was thought of stay as they are.
    submitted: Submitted | None = Field(default=None, exclude_if=lambda value: value is None)
    #: What counted as agreement when it was measured (`Tolerances.in_force`), by rule and metric; None: not known.
    tolerances: dict[str, dict[str, float]] | None = Field(default=None, exclude_if=lambda value: value is None)
    key: str = Field(description="cache key: sha256 of what can change the answer, and nothing else")

    @model_validator(mode="after")
    def _weights_of_source(self) -> Record:
        if (self.source == "checkpoint") != (self.weights.checkpoint is not None):
            raise ValueError("weights.checkpoint belongs to source checkpoint, and to no other")
        return self

    def metric(self, name: str) -> Metric | None:
        """The metric of that name, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    @property
    def answered_by(self) -> str:
        """Where the numbers come from, in a word or two: "trained", "checkpoint" or "evaluation server"."""
        return "evaluation server" if self.submitted else self.source

    @property
    def measured_by(self) -> str | None:
        """The cache key of what was evaluated: of the training, or of the weights that others trained."""
        if self.training:
            return self.training.key
        return self.weights.checkpoint and self.weights.checkpoint.key

    @property
    def network(self) -> tuple[str | None, str]:
        """The same in two records of the same weights that were evaluated alike."""
        return self.measured_by, self.weights.sha256

    @property
    def filename(self) -> str:
        return f"{self.experiment}.{self.profile}.{self.source}.seed{self.seed}.{self.key[:12]}.json"


class Count(_Part):
    """Parameters and operations of one experiment's full-size network (`repro complexity`)."""

    schema_version: Literal[1] = SCHEMA
    experiment: str
    spec_hash: str
    params: int  #: trainable, exact
    macs: int  #: multiply-accumulates of convolutions, matrix products and linear layers
    paper_flops: int  #: operations in the paper's convention; it prints this number divided by 2**30 as "G"
    input_shape: list[int]
    rois: dict[str, int] = {}  #: RoIs through each head
    counter: str  #: name and version
    uncounted: list[str] = []  #: operators that neither convention counts

    @property
    def filename(self) -> str:
        return f"{self.experiment}.{self.spec_hash[:12]}.json"


class Store:
    """A directory of records. Writing never changes an existing record; reading names the file that is damaged."""

    def __init__(self, directory: Path):
        self.directory = directory

    def add(self, record: Record) -> Path:
        """Write `record`. The same measurement again replaces nothing: the first record of a key stands."""
        path = self.directory / record.filename
        if not path.exists():
            write_atomically(path, _sealed((record.model_dump_json(indent=1) + "\n").encode()))
        return path

    def all(self) -> list[Record]:
        """Every record, ordered by file name.

        Raises:
            ReproError: a file is not a whole, valid record, or not as it was written; it is named and left as it is.
        """
        return list(self.files().values())

    def files(self) -> dict[str, Record]:
        """As `all`, by the name of the file."""
        return {path.name: read(path) for path in self._files(self.directory)}

    @staticmethod
    def _files(directory: Path) -> list[Path]:
        if not directory.exists() and not directory.parent.is_file():
            return []
        try:
            return sorted(directory / name for name in os.listdir(directory) if name.endswith(".json"))
        except OSError as error:
            raise ReproError(f"records cannot be listed: {directory}: {error.strerror}. Check --results.") from None

    def add_count(self, count: Count) -> Path:
        """Write a complexity count. Counting is deterministic, so a count of the same specification is replaced."""
        path = self.directory / "complexity" / count.filename
        write_atomically(path, (count.model_dump_json(indent=1) + "\n").encode())
        return path

    def counts(self) -> dict[str, Count]:
        """Every complexity count by spec hash, in the order of the file names."""
        counts = (_read(path, Count) for path in self._files(self.directory / "complexity"))
        return {count.spec_hash: count for count in counts}


def read(path: Path) -> Record:
    """The record in one file.

    Raises:
        ReproError: as `Store.all`.
    """
    return _read(path, Record)


_Model = TypeVar("_Model", bound=_Part)
_REMEDY = "Delete it to have it measured again, or restore it from a backup; the other records are untouched."
#: The last key of a record's file: the sha256 of the file without it. Records from before it was thought of have none.
_SEAL = re.compile(rb',\s*"content_sha256":\s*"([0-9a-f]{64})"')


def _sealed(content: bytes) -> bytes:
    return content.removesuffix(b"\n}\n") + b',\n "content_sha256": "%s"\n}\n' % _sha256(content)


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _read(path: Path, model: type[_Model]) -> _Model:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReproError(f"record {path} cannot be read: {error.strerror}. {_REMEDY}") from None
    seal = _SEAL.search(content)
    if seal:
        content = content[: seal.start()] + content[seal.end() :]
    try:
        found = model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            reason = first["ctx"]["error"]
            raise ReproError(f"record {path} is damaged (not whole JSON: {reason}). {_REMEDY}") from None
        where = ".".join(map(str, first["loc"])) or "top level"
        raise ReproError(f"record {path} is not a valid record: {where}: {first['msg']}. {_REMEDY}") from None
    if seal and _sha256(content) != seal[1]:
        raise ReproError(f"record {path} was changed after it was written: its content_sha256 is another. {_REMEDY}")
    return found


def cache_key(**parts: object) -> str:
    """The sha256 under which a result is cached: of what can change the answer (`docs/records.md`)."""
    return digest(parts)

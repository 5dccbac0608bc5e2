"""The record of one measured experiment, and the count of one network: immutable, schema-versioned."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from repro.errors import ReproError
from repro.experiments import digest
from repro.files.schema import FiniteModel, Integer, Name, Number, Sha256, Text

SCHEMA: Literal[1] = 1


class Metric(FiniteModel):
    """One measured number, in full precision and in the unit that the paper prints."""

    name: Name  #: a column of the published tables: ap_box, ap50_box, ..., top1, jsd_att
    value: float
    unit: Text
    n: Number  #: items (images or videos) that the value was computed from
    standard_error: float | None = Field(default=None, ge=0)


class DataSet(FiniteModel):
    """What was evaluated. `required`: the paper's number of items (5000 on COCO); `expected`: the annotation file's."""

    name: Text
    annotations_sha256: Sha256
    ids_sha256: Sha256
    required: Number
    expected: Number
    evaluated: Number
    failed: list[Text] = []
    #: Of generated data: the sha256 of what was drawn, the same on every machine; and of the files, which depend on
    #: encoders. Left out where nothing was generated, and in records of before the content was checked.
    drawn_sha256: Sha256 | None = Field(default=None, exclude_if=lambda value: value is None)
    files_sha256: Sha256 | None = Field(default=None, exclude_if=lambda value: value is None)


class Checkpoint(FiniteModel):
    """Weights that others trained: which file, from where, and what became of its keys (`checkpoints.yaml`)."""

    key: Sha256  #: cache key of the evaluation: weights, translation, network, data and numerics
    id: Text  #: of the registry's entry, or "file" where the user brought one of no entry
    match: Literal["exact", "near"]  #: the authors' weights of this very row, or others of the same network
    format: Text
    url: Text | None  #: where it was fetched from; None for a file given by hand
    sha256: Sha256  #: of the file
    verified: bool  #: its hash begins as its publisher says
    size: Number  #: bytes
    conventions: Text  #: name of the framework's conventions that it was evaluated with
    missing: list[Text]  #: keys of the network that the file does not have
    unexpected: list[Text]  #: keys of the file that the network has no use for, each for a known reason
    reshaped: list[Text]  #: keys whose tensors were cut, permuted or rolled, and how
    reported: dict[Name, float] = {}  #: by their publisher, by column of the tables


class Weights(FiniteModel):
    """The evaluated weights: `origin` says how they came to be."""

    sha256: Sha256
    origin: Text
    initial_sha256: Sha256 | None = None
    converter: Text | None = None  #: name and version of what translated them from another framework
    checkpoint: Checkpoint | None = None


def refuse_other_source(source: str, weights: Weights) -> None:
    """Refuse weights that do not come from where they are said to.

    Raises:
        ValueError: they do not.
    """
    if (source == "checkpoint") != (weights.checkpoint is not None):
        raise ValueError("weights.checkpoint belongs to source checkpoint, and to no other")


class Segment(FiniteModel):
    """Iterations that were trained without an interruption, from `start` to the next segment's `start`."""

    start: Number  #: iterations completed before
    world_size: Number
    precision: Text
    accelerator: Text | None = None


class Training(FiniteModel):
    """The recipe as it was executed here."""

    key: Sha256
    iterations: Number
    recipe_iterations: Number  #: what the whole recipe takes at this batch size on the paper's training set
    effective_batch: Number
    learning_rate: float
    world_size: Number  #: processes that it ended with
    final_loss: float
    resumed: Number = 0
    batch_per_process: Number | None = None
    normalisation: Text | None = None  #: what batch norm took its statistics over, in words
    segments: list[Segment] = []


class Complexity(FiniteModel):
    """Parameters and operations of the evaluated network, from its `Count`."""

    params: Number
    macs: Number
    input_shape: list[Number]


class Cost(FiniteModel):
    train_seconds: float
    evaluate_seconds: float
    peak_memory_bytes: Number
    images_per_second: float


class Submitted(FiniteModel):
    """What COCO's evaluation server was sent: the metrics are its answer."""

    key: Sha256  #: of the predictions: weights, network, images and numerics
    files: dict[Literal["bbox", "segm"], Sha256]  #: sha256 of the archives, by task


class OwnFile(FiniteModel):
    """A source file of an experiment of the user's own."""

    name: Text
    sha256: Sha256
    lines: list[Text] | None  #: tabs and the like are escaped; None of one that is too large to be kept


class OwnSource(FiniteModel):
    """Where an experiment of the user's own was defined: a file, or an entry point, and what it imports from beside."""

    name: Text  #: of the file, or of the entry point
    sha256: Sha256  #: of all of it; part of the specification's hash
    files: list[OwnFile]


class OwnExperiment(FiniteModel):
    """What an experiment is that is not the paper's."""

    derived_from: Name  #: the paper's experiment
    overrides: dict[Text, Text] = {}  #: by setting: `recipe.learning_rate`
    source: OwnSource | None = None  #: None of an experiment of the paper with overrides


class Record(FiniteModel):
    """Everything about one measurement of one experiment."""

    schema_version: Literal[1] = SCHEMA
    experiment: Name
    profile: Literal["full", "mini"]
    source: Literal["trained", "checkpoint"]
    engine: Name
    seed: Number
    spec_hash: Sha256
    command: Text
    created: Text  #: ISO 8601, UTC
    deviations: list[Text]  #: from the paper's protocol, in words
    departures: list[Text] = []  #: those of them that were asked for: another recipe than the paper's
    #: Choice by point, of those readings of the protocol that are not the default ones. Left out where there are none.
    readings: dict[Name, Name] = Field(default={}, exclude_if=lambda value: not value)
    #: None of the paper's experiments. It is left out then, as in older records.
    own: OwnExperiment | None = Field(default=None, exclude_if=lambda value: value is None)
    metrics: list[Metric]
    evaluator: Text  #: name and version
    predictions_sha256: Sha256  #: of their content; see `predictions_file_sha256`
    #: Of the file that they are packed in, which depends on versions of Python and zlib. Left out in records of earlier
    #: versions, whose `predictions_sha256` is this one, and where the predictions are in no packed file.
    predictions_file_sha256: Sha256 | None = Field(default=None, exclude_if=lambda value: value is None)
    weights: Weights
    dataset: DataSet
    training: Training | None
    numerics: dict[Name, Text | Integer | bool]
    environment: dict[Name, Text | bool | None]
    cost: Cost
    complexity: Complexity | None = None
    #: None where the metrics were computed here. It is left out then, as in older records.
    submitted: Submitted | None = Field(default=None, exclude_if=lambda value: value is None)
    #: What counted as agreement when it was measured (`Tolerances.in_force`), by rule and metric; None: not known.
    tolerances: dict[Name, dict[Name, float]] | None = Field(default=None, exclude_if=lambda value: value is None)
    #: sha256 of the statements that were to be answered when it was measured (`repro.paper.hypotheses`); mini only.
    hypotheses: Sha256 | None = Field(default=None, exclude_if=lambda value: value is None)
    key: Sha256 = Field(description="cache key: sha256 of what can change the answer, and nothing else")

    @model_validator(mode="after")
    def _weights_of_source(self) -> Record:
        refuse_other_source(self.source, self.weights)
        return self

    def metric(self, name: str) -> Metric | None:
        """The metric of that name, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def require(self, name: str) -> Metric:
        """The metric of that name.

        Raises:
            ReproError: the record lacks it.
        """
        metric = self.metric(name)
        if metric is None:
            raise ReproError(f"record {self.filename} has no {name}; it has {', '.join(m.name for m in self.metrics)}")
        return metric

    def predicts_as(self, other: Record) -> bool:
        """Whether its predictions are those of another record of the same weights and items, as far as can be told.

        Where one of the two is of an earlier version, equal files tell it; of unequal ones, the metrics do.
        """
        if (self.predictions_file_sha256 is None) == (other.predictions_file_sha256 is None):
            return self.predictions_sha256 == other.predictions_sha256
        files = (record.predictions_file_sha256 or record.predictions_sha256 for record in (self, other))
        return len(set(files)) == 1 or self.metrics == other.metrics

    @property
    def answered_by(self) -> str:
        """Where the numbers come from, in a word or two: "trained", "checkpoint" or "evaluation server"."""
        return "evaluation server" if self.submitted else self.source

    @property
    def measured_by(self) -> str | None:
        """The cache key of what was evaluated: of the training, or of the weights that others trained."""
        if self.training:
            return self.training.key
        return self.weights.checkpoint.key if self.weights.checkpoint else None

    @property
    def network(self) -> tuple[str | None, str]:
        """The same in two records of the same weights that were evaluated alike."""
        return self.measured_by, self.weights.sha256

    @property
    def filename(self) -> str:
        return f"{self.experiment}.{self.profile}.{self.source}.seed{self.seed}.{self.key[:12]}.json"


class Count(FiniteModel):
    """Parameters and operations of one experiment's full-size network (`repro complexity`)."""

    schema_version: Literal[1] = SCHEMA
    experiment: Name
    spec_hash: Sha256
    params: Number  #: trainable, exact
    macs: Number  #: multiply-accumulates of convolutions, matrix products and linear layers
    paper_flops: Number  #: operations in the paper's convention; it prints this number divided by 2**30 as "G"
    input_shape: list[Number]
    rois: dict[Name, Number] = {}  #: RoIs through each head
    counter: Text  #: name and version
    uncounted: list[Text] = []  #: operators that neither convention counts

    @property
    def filename(self) -> str:
        return f"{self.experiment}.{self.spec_hash[:12]}.json"


def cache_key(**parts: object) -> str:
    """The sha256 under which a result is cached: of what can change the answer (`docs/records.md`)."""
    return digest(parts)

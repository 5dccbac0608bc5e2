"""What was sent to COCO's evaluation server: a record but for the answer, beside the files to upload."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from repro.errors import ReproError
from repro.files.places import is_there
from repro.files.regular_files import sha256
from repro.files.schema import FiniteModel, Integer, Name, Number, Sha256, Text
from repro.files.seals import read_sealed, seal
from repro.paths import write_atomically
from repro.records.record import Cost, DataSet, Record, Training, Weights, cache_key, refuse_other_source

EVALUATION_SERVER = "COCO evaluation server"
TEST_DEV = "coco-test-dev2017"
#: The server's answer to each of the two submissions: AP, AP50, AP75.
METRICS = {"bbox": ("ap_box", "ap50_box", "ap75_box"), "segm": ("ap_mask", "ap50_mask", "ap75_mask")}

SUBMISSION_FILE = "submission.json"


class Archive(FiniteModel):
    """A file to upload."""

    #: From the submission's directory, and in it: `bbox/detections_....zip`.
    path: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$", max_length=300)
    sha256: Sha256
    detections: Number


class Submission(FiniteModel):
    """What was predicted for the server, by what: a record but for the answer. Stands beside the files to upload."""

    schema_version: Literal[1] = 1
    archives: dict[Literal["bbox", "segm"], Archive] = Field(min_length=1)
    key: Sha256  #: cache key of the predictions: weights, translation, network, images and numerics
    experiment: Name
    source: Literal["trained", "checkpoint"]
    engine: Name
    seed: Number
    spec_hash: Sha256
    deviations: list[Text]
    departures: list[Text]
    readings: dict[Name, Name] = Field(default={}, exclude_if=lambda value: not value)  #: as records have them
    predictions_sha256: Sha256  #: of every detection in full precision
    predictions_file_sha256: Sha256 | None = Field(default=None, exclude_if=lambda value: value is None)  #: as records
    weights: Weights
    dataset: DataSet
    training: Training | None
    numerics: dict[Name, Text | Integer | bool]
    environment: dict[Name, Text | bool | None]
    cost: Cost

    @model_validator(mode="after")
    def _weights_of_source(self) -> Submission:
        refuse_other_source(self.source, self.weights)
        if (self.source == "trained") != (self.training is not None):
            raise ValueError("training belongs to source trained, and to no other")
        return self

    def save(self, directory: Path) -> None:
        """Write it beside its archives."""
        write_atomically(directory / SUBMISSION_FILE, seal(self))

    def check_archives(self, directory: Path) -> None:
        """Whether the archives in `directory` are still the ones that were written.

        Raises:
            ReproError: one is missing, or its sha256 is another.
        """
        for archive in self.archives.values():
            path = directory / archive.path
            if (actual := sha256(path)) != archive.sha256:
                raise ReproError(
                    f"{path} is not the file that `repro submit` wrote: its sha256 is {actual}, not {archive.sha256}. "
                    f"Restore it, or delete {directory / SUBMISSION_FILE} and submit again."
                )


def load_submission(directory: Path) -> Submission | None:
    """The submission in `directory`; None where there is none.

    Raises:
        ReproError: its file is damaged, or was edited.
    """
    path = directory / SUBMISSION_FILE
    if not is_there(path):
        return None
    return read_sealed(path, Submission, "submission", "Run `repro submit` again.")


def link_answers(answers: Iterable[Record]) -> dict[str, str | None]:
    """Link each answer of the server to the one that it replaces: by its key, the key of that; None for a first one.

    A key is made from the answer and the key of the answer before it, so that times decide nothing. An answer whose
    key belongs to none is left out.
    """
    known = list(answers)
    links: dict[str, str | None] = {}
    for answer in known:
        for before in (None, *(other.key for other in known)):
            if answer.submitted and answer.key == make_answer_key(
                answer.submitted.key, {metric.name: metric.value for metric in answer.metrics}, before
            ):
                links[answer.key] = before
    return links


def make_answer_key(submission: str, metrics: Mapping[str, float], before: str | None) -> str:
    """The cache key of an answer to a submission; `before` is the key of the answer that it replaces."""
    values = {name: float(value) for name, value in metrics.items()}
    return cache_key(submission=submission, evaluator=EVALUATION_SERVER, metrics=values, after=before)

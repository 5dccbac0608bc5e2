"""What was sent to COCO's evaluation server: a record but for the answer, beside the files to upload."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from repro.errors import ReproError
from repro.files.regular_files import sha256
from repro.files.schema import FrozenModel
from repro.files.seals import read_sealed, seal
from repro.paths import write_atomically
from repro.records.record import Cost, DataSet, Training, Weights

EVALUATION_SERVER = "COCO evaluation server"
TEST_DEV = "coco-test-dev2017"
#: The server's answer to each of the two submissions: AP, AP50, AP75.
METRICS = {"bbox": ("ap_box", "ap50_box", "ap75_box"), "segm": ("ap_mask", "ap50_mask", "ap75_mask")}

SUBMISSION_FILE = "submission.json"


class Archive(FrozenModel):
    """A file to upload."""

    path: str  #: from the submission's directory
    sha256: str
    detections: int


class Submission(FrozenModel):
    """What was predicted for the server, by what: a record but for the answer. Stands beside the files to upload."""

    schema_version: Literal[1] = 1
    archives: dict[Literal["bbox", "segm"], Archive]
    key: str  #: cache key of the predictions: weights, translation, network, images and numerics
    experiment: str
    source: Literal["trained", "checkpoint"]
    engine: str
    seed: int
    spec_hash: str
    deviations: list[str]
    departures: list[str]
    readings: dict[str, str] = Field(default={}, exclude_if=lambda value: not value)  #: as records have them
    predictions_sha256: str  #: of every detection in full precision
    weights: Weights
    dataset: DataSet
    training: Training | None
    numerics: dict[str, str | int | bool]
    environment: dict[str, str | bool | None]
    cost: Cost

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
    if not path.exists():
        return None
    return read_sealed(path, Submission, "submission", "Run `repro submit` again.")

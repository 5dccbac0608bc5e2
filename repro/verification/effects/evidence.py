"""Evidence behind a record: which detections match, or which items are right, in one small file for each network.

It is written when a record is measured, or later from stored predictions. A bundle takes it, so that every paired test
can be repeated from a bundle alone, without predictions and without data.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from repro.errors import ReproError
from repro.evaluation.correctness import Correctness, load_correctness, save_correctness
from repro.evaluation.matches import Matches, load_matches, match, save_matches
from repro.files.places import is_there, list_directory
from repro.records import Record

if TYPE_CHECKING:
    from repro.data.coco import CocoDetection

#: The folder of a results directory.
EVIDENCE = "evidence"


def locate_evidence(results: Path, record: Record) -> Path:
    """Locate the file of a record's evidence, whether it is there or not."""
    name = f"{record.experiment}.{record.profile}.seed{record.seed}.{record.predictions_sha256[:12]}.npz"
    return results / EVIDENCE / name


def has_evidence(results: Path, record: Record) -> bool:
    """Whether a record's evidence is there, or what it is made from."""
    return is_there(locate_evidence(results, record)) or bool(_list_predictions(results, record))


def keep_evidence(results: Path, record: Record, dataset: str, open_data: Callable[[], CocoDetection]) -> Path | None:
    """Write a record's evidence from its predictions, unless it is there; None of a submission, which has none.

    Args:
        dataset: "coco", "imagenet" or "kinetics".
        open_data: opens what a detector was evaluated on; called for COCO alone.

    Raises:
        ReproError: the predictions or the annotations are missing, or others than the record's.
    """
    if record.submitted:
        return None
    if dataset == "coco":
        obtain_matches(results, record, open_data)
    else:
        obtain_correctness(results, record, dataset)
    return locate_evidence(results, record)


def obtain_matches(
    results: Path,
    record: Record,
    open_data: Callable[[], CocoDetection],
    say: Callable[[str], None] = lambda text: None,
) -> Matches:
    """Load the matches of a detector, or match its predictions with the annotations and keep that.

    Args:
        open_data: opens what the detector was evaluated on, where there is no evidence yet.
        say: called with a line if the predictions have to be matched, which takes a while.

    Raises:
        ReproError: the predictions or the annotations are missing, or others than the record's.
    """
    expected = (record.predictions_sha256, record.dataset.annotations_sha256, record.dataset.ids_sha256)
    path = locate_evidence(results, record)
    if is_there(path):
        matches = load_matches(path)
        if (matches.predictions_sha256, matches.annotations_sha256, matches.ids_sha256) == expected:
            return matches
    from repro.evaluation.coco import load_predictions

    predictions = find_predictions(results, record)
    say(f"matching the predictions of {record.experiment}, {record.profile} profile, seed {record.seed}")
    detections = load_predictions(predictions, record.predictions_sha256)
    dataset = open_data()
    if (dataset.annotations_sha256, dataset.ids_sha256) != expected[1:]:
        raise ReproError(f"{dataset.annotations_path} is not what {record.filename} was evaluated on: it has changed")
    matches = match(detections, dataset, record.predictions_sha256)
    save_matches(matches, path)
    return matches


def obtain_correctness(results: Path, record: Record, dataset: str) -> Correctness:
    """Load which items a classifier got right, or find it out from its predictions and keep that.

    Args:
        dataset: "imagenet" or "kinetics".

    Raises:
        ReproError: the predictions are missing, or others than the record's.
    """
    path = locate_evidence(results, record)
    if is_there(path):
        loaded = load_correctness(path)
        if loaded.predictions_sha256 == record.predictions_sha256:
            return loaded
    predictions = find_predictions(results, record)
    right: dict[str, tuple[bool, bool]]
    if dataset == "imagenet":
        from repro.evaluation.topk import load_predictions

        ranked = load_predictions(predictions, record.predictions_sha256)
        right = {one.image_id: (one.is_correct(1), one.is_correct(5)) for one in ranked}
    else:
        from repro.evaluation.multiview import load_scores

        scores = load_scores(predictions, record.predictions_sha256)
        right = {video.video_id: (video.is_correct(1), video.is_correct(5)) for video in scores}
    ids = sorted(right)
    correctness = Correctness(
        record.predictions_sha256, np.array(ids, dtype=np.str_), np.array([right[i] for i in ids]).reshape(-1, 2)
    )
    save_correctness(correctness, path)
    return correctness


def find_predictions(results: Path, record: Record) -> Path:
    """Find the file in which a run keeps its predictions.

    Raises:
        ReproError: they are not in `results`.
    """
    paths = _list_predictions(results, record)
    if not paths:
        raise ReproError(
            f"the predictions of {record.filename} are not in {results / 'runs' / _name_run(record)}, and its evidence "
            f"{locate_evidence(results, record).name} is not in {results / EVIDENCE}"
        )
    return paths[0]


def _list_predictions(results: Path, record: Record) -> list[Path]:
    runs = (run for run in list_directory(results / "runs") if fnmatch(run.name, _name_run(record)))
    return [path for run in runs for path in list_directory(run) if path.name.startswith("predictions.")]


def _name_run(record: Record) -> str:
    """The name of the directory of its run, as a pattern."""
    return f"{record.experiment}.{record.profile}.*.{(record.measured_by or 'unknown')[:12]}"

"""Predictions of a split for COCO's evaluation server, by weights that were trained here or by others."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import torch

from repro import paper
from repro.checkpoints import CONVERTER, LIMIT
from repro.checkpoints.choice import Choice
from repro.data import layout, sources
from repro.data.coco import CocoDetection, Detections
from repro.detection import engines
from repro.engine import devices, instructions
from repro.engine.memory import (
    explain_memory_errors,
    measure_peak_memory,
    reset_peak_memory,
    suggest_for_evaluation,
)
from repro.errors import UNREADABLE, ReproError
from repro.evaluation import coco as evaluation
from repro.evaluation import is_attention
from repro.evaluation import submission as archives
from repro.evaluation.predictor import Predictor, ProgressReport
from repro.experiments import Detector, Experiment, get, is_published, readings
from repro.files.locks import hold_directory_lock
from repro.files.places import is_there
from repro.files.regular_files import read_regular, sha256
from repro.measuring.networks import EvaluatedNetwork, load_public_network
from repro.planning import keys
from repro.planning.arithmetic import check_arithmetic
from repro.records import Cost, DataSet, Record, cache_key
from repro.records.environment import describe_environment
from repro.records.submission import Archive, Submission, load_submission
from repro.settings import Settings
from repro.tasks.detection import DetectorEvaluation

#: That the server evaluates; val2017 to try out an upload, as often as one likes.
SPLITS = ("test-dev2017", "val2017")


def submit(
    name: str, settings: Settings, split: str, *, output: Path | None = None, progress: ProgressReport
) -> tuple[Path, Submission]:
    """Write the archives to upload, one for boxes and one for masks, and what they are of: (directory, contents).

    What an interrupted call has predicted is not predicted again, and of a finished one nothing is done again.

    Args:
        settings: those that the experiment was run with, where it was trained here.
        split: one of `SPLITS`.
        output: directory for the files; default: one in `settings.results`.

    Raises:
        ReproError: the experiment was not trained, its weights are lost or others; the data set is not the official
            one; or something cannot be read or written.
    """
    if settings.devices not in (None, 1):
        raise ReproError(f"--devices {settings.devices}: a submission is predicted by one process")
    experiment = get(name)
    if not is_published(name):
        raise ReproError(f"{name} is no experiment of the paper: submissions to COCO's server are of those alone")
    if experiment.dataset != "coco":
        raise ReproError(f"{name} is no detector: COCO's server evaluates the experiments on COCO alone (`repro list`)")
    readings.refuse_without_effect([name], settings.profile, settings.readings)
    experiment = readings.apply(experiment, settings.readings)
    choice = keys.weights_to_evaluate(experiment, settings)
    origin = choice or _find_training(experiment, settings)
    data = _open_split(experiment.detector, settings, split)
    key = cache_key(
        stage="submission",
        weights=origin.identity if isinstance(origin, Choice) else origin.weights.sha256,
        converter=CONVERTER if isinstance(origin, Choice) else None,
        spec=experiment.spec_hash,
        images=data.annotations_sha256,
        precision=settings.precision,
        engine=settings.engine if isinstance(origin, Choice) else origin.engine,
    )
    directory = settings.results / "submissions" / f"{name}.{split}.{key[:12]}"
    output = output or directory
    with hold_directory_lock(directory):
        written = load_submission(output)
        if written and written.key == key:
            written.check_archives(output)
            return output, written
        reset_peak_memory()
        fabric = devices.set_up_device(settings)
        check_arithmetic(experiment, settings, fabric.device.type)
        if isinstance(origin, Choice):
            network = load_public_network(experiment, origin, key, settings, progress)
        else:
            network = _load_trained_network(experiment, settings, origin)
        batch = settings.evaluation_batch or 1
        predictor = Predictor(DetectorEvaluation(network.model, data, batch, compares=True), directory, fabric)
        with explain_memory_errors("prediction", suggest_for_evaluation(settings.evaluation_batch)):
            detections = predictor.predict(network.weights.sha256, progress).results
        sizes = {image_id: data.get_original_size(image_id) for image_id in data.image_ids}
        kept = directory / "predictions.json.gz"
        predictions_sha256 = evaluation.save_predictions(detections, kept)
        submission = Submission(
            archives=_write_archives(detections, data, output, archives.name_file(split, name), sizes),
            key=key,
            experiment=name,
            source="checkpoint" if choice else "trained",
            engine=network.engine,
            seed=0 if choice else settings.seed,  # weights that others trained have none
            spec_hash=experiment.spec_hash,
            deviations=list(network.deviations),
            departures=list(network.departures),
            readings=dict(experiment.readings),
            predictions_sha256=predictions_sha256,
            predictions_file_sha256=sha256(kept),
            weights=network.weights,
            dataset=DataSet(
                name=f"coco-{split}",
                annotations_sha256=data.annotations_sha256,
                ids_sha256=data.ids_sha256,
                required=paper.DATASETS[f"coco-{split}"].size,
                expected=len(data),
                evaluated=len(detections),
            ),
            training=network.training,
            numerics=devices.describe_numerics(settings, batch, accelerator=fabric.device.type),
            environment=describe_environment(devices.describe_hardware(fabric), instructions.describe_processor()),
            cost=Cost(
                train_seconds=network.train_seconds,
                evaluate_seconds=predictor.seconds,
                peak_memory_bytes=measure_peak_memory(fabric.device),
                images_per_second=len(data) / predictor.seconds,
            ),
        )
        submission.save(output)
        predictor.clean()
    return output, submission


def _open_split(network: Detector, settings: Settings, split: str) -> CocoDetection:
    """The official split, whole: the server takes what is missing for images on which nothing was found."""
    root = sources.find_root(settings.data_root, "coco")
    data = CocoDetection(root, split, network.num_classes, network.short_side, network.long_side)
    size = paper.DATASETS[f"coco-{split}"].size
    official = (
        layout.is_val2017(data.category_ids, len(data), data.objects)
        if layout.is_labelled(split)
        else layout.is_test_dev2017(data.category_ids, len(data))
    )
    if not official or len(data) != size:
        raise ReproError(
            f"{data.annotations_path} is not COCO's {split}: it lists {len(data)} images with "
            f"{len(data.category_ids)} categories, and the server evaluates {size} images with the official 80"
        )
    return data


def _write_archives(
    detections: list[Detections], data: CocoDetection, output: Path, stem: str, sizes: dict[int, tuple[int, int]]
) -> dict[archives.Task, Archive]:
    """Both archives have the name that the server wants, so each has a directory."""
    written = {}
    for task in archives.TASKS:
        path = Path(task) / f"{stem}.zip"
        sha256 = archives.write(detections, task, output / path, data.category_ids, sizes)
        number = archives.check(output / path, task, sizes, data.category_ids)
        written[task] = Archive(path=path.as_posix(), sha256=sha256, detections=number)
    return written


def _find_training(experiment: Experiment, settings: Settings) -> Record:
    """The record of the training whose weights are to be submitted."""
    key = keys.training_key(experiment, settings)
    for record in settings.store.all():
        if record.training and record.training.key == key and not is_attention(record.evaluator):
            return record
    raise ReproError(
        f"{experiment.name} was not trained with these options and seed {settings.seed}: no record in "
        f"{settings.store.directory} is of such a training. Train it first with `repro run {experiment.name} --profile "
        "full` and the same options, or submit public weights with --source checkpoint."
    )


def _load_trained_network(experiment: Experiment, settings: Settings, record: Record) -> EvaluatedNetwork:
    path = keys.training_directory(experiment, settings) / "weights.pt"
    if not is_there(path):
        raise ReproError(
            f"the weights of record {record.filename} are not there: {path}. Restore them, or delete the record to "
            "have it trained again."
        )
    model = engines.build(record.engine, experiment.detector)
    try:
        content = read_regular(path, LIMIT, "weights")
        if hashlib.sha256(content).hexdigest() != record.weights.sha256:
            raise ReproError(f"{path} is damaged: its sha256 is not the one in record {record.filename}")
        model.load_state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    except UNREADABLE as error:
        raise ReproError(f"{path} cannot be read: {error}") from None
    return EvaluatedNetwork(
        model, record.weights, record.engine, record.deviations, record.departures, record.training,
        record.cost.train_seconds,
    )  # fmt: skip

"""One experiment from its data set to its record: train or fetch, predict, evaluate. Each is kept, none done twice."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric

from repro import deviations, mini, paper, plan
from repro.checkpoints import prepare
from repro.checkpoints.choice import Choice
from repro.data import miniature
from repro.data.coco import CocoDetection
from repro.data.layout import is_val2017
from repro.detection.torchvision import MaskRCNN
from repro.engine.loop import peak_memory, reset_peak_memory
from repro.errors import ReproError
from repro.evaluation import COCO_EVALUATOR
from repro.evaluation import coco as evaluation
from repro.experiments import Experiment
from repro.locks import locked
from repro.predict import Predictor, ProgressReport
from repro.provenance import environment
from repro.records import Complexity, Cost, DataSet, Metric, Record, Training, Weights, cache_key
from repro.settings import Settings
from repro.train import train


@dataclass(frozen=True)
class _Network:
    """What is to be evaluated, and what the record says of how it came to be."""

    model: MaskRCNN
    weights: Weights
    deviations: list[str]
    departures: list[str]
    training: Training | None = None
    seconds: float = 0.0
    peak_memory_bytes: int = 0


def measure(name: str, settings: Settings, *, command: str, progress: ProgressReport) -> Record:
    """The record of an experiment: an existing one of the same cache key, or a new measurement.

    Raises:
        ReproError: bad or missing input, a training that diverged, an output directory that cannot be written.
    """
    experiment = plan.at_profile(name, settings.profile)
    weights = plan.chosen(experiment, settings)
    key = plan.evaluation_key(experiment, settings, weights) if weights else plan.training_key(experiment, settings)
    kind = "checkpoint" if weights else f"seed{settings.seed}"
    directory = settings.results / "runs" / f"{name}.{settings.profile}.{kind}.{key[:12]}"
    torch.set_num_threads(settings.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # cuDNN's default is True
    with locked(directory):
        if record := plan.find(settings.store.all(), key):
            return record
        reset_peak_memory()
        root = _data(settings)
        fabric = Fabric(accelerator=_accelerator(settings), devices=1, precision=settings.precision)
        validation = _split(experiment, root, "val2017")
        if weights:
            network = _fetched(experiment, weights, settings, key, progress)
        else:
            network = _trained(experiment, settings, root, key, directory, fabric, progress)
        predictor = Predictor(network.model, validation, directory, fabric)
        detections = predictor.predict(network.weights.sha256, progress)
        predictions = evaluation.save_predictions(detections, directory / "predictions.json.gz")
        metrics = evaluation.evaluate(detections, validation)
        n = len(validation)
        record = Record(
            experiment=name,
            profile=settings.profile,
            source="trained" if network.training else "checkpoint",
            engine="torchvision",
            seed=settings.seed,
            spec_hash=experiment.spec_hash,
            command=command,
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            deviations=network.deviations,
            departures=network.departures,
            metrics=[Metric(name=metric, value=value, unit="%", n=n) for metric, value in metrics.items()],
            evaluator=COCO_EVALUATOR,
            predictions_sha256=predictions,
            weights=network.weights,
            dataset=DataSet(
                name=_name(validation, settings),
                annotations_sha256=validation.annotations_sha256,
                ids_sha256=validation.ids_sha256,
                required=paper.DATASETS["coco-val2017"].size if settings.profile == "full" else n,
                expected=n,
                evaluated=len(detections),
            ),
            training=network.training,
            numerics=_numerics(settings),
            environment=environment(_hardware(fabric)),
            cost=Cost(
                train_seconds=network.seconds,
                evaluate_seconds=predictor.seconds(),
                peak_memory_bytes=max(network.peak_memory_bytes, peak_memory(fabric.device)),
                images_per_second=n / predictor.seconds(),
            ),
            complexity=_complexity(experiment, settings),
            key=cache_key(predictions=predictions, evaluator=COCO_EVALUATOR, training=key),
        )
        settings.store.add(record)
        predictor.clean()
    return record


def _trained(
    experiment: Experiment,
    settings: Settings,
    root: Path,
    key: str,
    directory: Path,
    fabric: Fabric,
    progress: ProgressReport,
) -> _Network:
    data = _split(experiment, root, "train2017")
    trained = train(experiment, settings, data, key, directory, fabric, progress)
    departures = deviations.asked_for(experiment, settings)
    return _Network(
        model=trained.model,
        weights=trained.weights,
        deviations=deviations.inherent(experiment, settings, fabric.world_size) + departures,
        departures=departures,
        training=trained.training,
        seconds=trained.seconds,
        peak_memory_bytes=trained.peak_memory_bytes,
    )


def _fetched(
    experiment: Experiment, weights: Choice, settings: Settings, key: str, progress: ProgressReport
) -> _Network:
    prepared = prepare.prepare(experiment, weights, key, progress)
    departures = deviations.asked_for_numerics(settings)
    return _Network(
        model=prepared.model,
        weights=prepared.weights,
        deviations=deviations.of_weights(weights, prepared.weights.checkpoint) + departures,
        departures=departures,
    )


def _data(settings: Settings) -> Path:
    if settings.profile == "full":
        return settings.data_root
    root = settings.results / "data" / f"mini-{mini.DATASET_KEY[:12]}"
    miniature.generate(root, mini.MINI_DATA_SEED)
    return root


def _split(experiment: Experiment, root: Path, split: str) -> CocoDetection:
    network = experiment.network
    return CocoDetection(
        root, split, network.num_classes, network.short_side, network.long_side, flip=experiment.recipe.flip
    )


def _accelerator(settings: Settings) -> str:
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ReproError("--device cuda: PyTorch finds no CUDA device here. Use --device cpu, or install a driver.")
    if settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return settings.device


def _numerics(settings: Settings) -> dict[str, str | int | bool]:
    return {
        "precision": settings.precision,
        "threads": settings.threads,
        "tf32": False,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "evaluation_batch": 1,
    }


def _hardware(fabric: Fabric) -> str:
    if fabric.device.type == "cuda":
        return f"{torch.cuda.get_device_name(fabric.device)}, CUDA {torch.version.cuda}"
    return "cpu"


def _name(validation: CocoDetection, settings: Settings) -> str:
    """What the evaluated data are, as records and tables name it."""
    if settings.profile == "mini":
        return "mini-val2017"
    return (
        "coco-val2017" if is_val2017(validation.category_ids, len(validation), validation.objects) else "not COCO 2017"
    )


def _complexity(experiment: Experiment, settings: Settings) -> Complexity | None:
    """Of the evaluated network, if it has been counted."""
    count = settings.store.counts().get(experiment.spec_hash)
    return count and Complexity(params=count.params, macs=count.macs, input_shape=count.input_shape)

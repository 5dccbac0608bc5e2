"""One experiment from its data set to its record: train, predict, evaluate. Each step is kept and never done twice."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock
from lightning_fabric import Fabric

from repro import mini, paper, plan
from repro.checkpoints import initial
from repro.data import miniature
from repro.data.coco import CocoDetection, Detections
from repro.data.layout import TRAINING_IMAGES, is_val2017
from repro.detection.torchvision import MaskRCNN
from repro.engine.loop import fit, peak_memory, reset_peak_memory
from repro.engine.schedule import iterations_per_epoch, length
from repro.errors import ReproError
from repro.evaluation import COCO_EVALUATOR
from repro.evaluation import coco as evaluation
from repro.experiments import Experiment, Recipe
from repro.models.resnet import ResNet, load_initial
from repro.paths import sha256, unwritable, write_atomically
from repro.plan import Settings
from repro.provenance import environment
from repro.records import Complexity, Cost, DataSet, Metric, Record, Training, Weights, cache_key

#: Called with the stage ("pre-training", "training", "evaluation"), how much of it is done and how much there is.
ProgressReport = Callable[[str, int, int], None]

#: Images whose detections are written together: what a kill during evaluation loses at most.
SHARD = 100


def measure(name: str, settings: Settings, *, command: str, progress: ProgressReport) -> Record:
    """The record of an experiment: an existing one of the same cache key, or a new measurement.

    Raises:
        ReproError: bad or missing input, a training that diverged, an output directory that cannot be written.
    """
    experiment = plan.at_profile(name, settings.profile)
    key = plan.training_key(experiment, settings)
    directory = settings.results / "runs" / f"{name}.{settings.profile}.seed{settings.seed}.{key[:12]}"
    torch.set_num_threads(settings.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # cuDNN's default is True
    with _locked(directory):
        if record := plan.find(settings.store.all(), key):
            return record
        reset_peak_memory()
        root = _data(settings)
        validation = _split(experiment, root, "val2017")
        training = _split(experiment, root, "train2017")
        fabric = Fabric(accelerator=_accelerator(settings), devices=1, precision=settings.precision)
        model = _network(experiment, settings.seed)
        recipe = _recipe(experiment, settings)
        images = TRAINING_IMAGES if settings.profile == "full" else len(training)
        per_epoch = iterations_per_epoch(images, recipe.batch_size)
        origin, initial_sha256 = _initialise(model.backbone, experiment, settings, progress)
        fitted = fit(
            model,
            recipe,
            training,
            identity=key,
            directory=directory,
            seed=settings.seed,
            fabric=fabric,
            micro_batch=settings.micro_batch,
            workers=_workers(fabric),
            progress=lambda at: progress("training", at.iteration, at.total),
        )
        predictor = _Predictor(model, validation, directory, fabric)
        detections = predictor.predict(fitted.sha256, progress)
        predictions = evaluation.save_predictions(detections, directory / "predictions.json.gz")
        metrics = evaluation.evaluate(detections, validation)
        n = len(validation)
        record = Record(
            experiment=name,
            profile=settings.profile,
            source="trained",
            engine="torchvision",
            seed=settings.seed,
            spec_hash=experiment.spec_hash,
            command=command,
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            deviations=inherent_deviations(experiment, settings, fabric) + departures(experiment, settings),
            departures=departures(experiment, settings),
            metrics=[Metric(name=metric, value=value, unit="%", n=n) for metric, value in metrics.items()],
            evaluator=COCO_EVALUATOR,
            predictions_sha256=predictions,
            weights=Weights(sha256=fitted.sha256, origin=origin, initial_sha256=initial_sha256),
            dataset=DataSet(
                name=_name(validation, settings),
                annotations_sha256=validation.annotations_sha256,
                ids_sha256=validation.ids_sha256,
                required=paper.DATASETS["coco-val2017"].size if settings.profile == "full" else n,
                expected=n,
                evaluated=len(detections),
            ),
            training=Training(
                key=key,
                iterations=fitted.iterations,
                recipe_iterations=length(replace(recipe, iterations=None), per_epoch),
                effective_batch=fitted.effective_batch,
                learning_rate=recipe.learning_rate,
                world_size=fitted.world_size,
                final_loss=fitted.final_loss,
                resumed=fitted.resumed,
            ),
            numerics=_numerics(settings),
            environment=environment(_hardware(fabric)),
            cost=Cost(
                train_seconds=fitted.seconds,
                evaluate_seconds=predictor.seconds(),
                peak_memory_bytes=max(fitted.peak_memory_bytes, peak_memory(fabric.device)),
                images_per_second=n / predictor.seconds(),
            ),
            complexity=_complexity(experiment, settings),
            key=cache_key(predictions=predictions, evaluator=COCO_EVALUATOR, training=key),
        )
        settings.store.add(record)
        predictor.clean()
    return record


def inherent_deviations(experiment: Experiment, settings: Settings, fabric: Fabric) -> list[str]:
    """Where every measurement of this kind departs from the paper's protocol, or from what the paper says of it."""
    if settings.profile == "mini":
        return [
            "mini profile: generated data and a scaled-down network, not comparable with any published number",
            f"{experiment.recipe.optimizer}, {experiment.recipe.schedule} schedule, batch of "
            f"{experiment.recipe.batch_size}, batch norm over the batch of one process",
        ]
    batch = settings.batch_size or experiment.recipe.batch_size
    return [
        "learning rate drops after epochs 8 and 11, as in the authors' configurations; the paper says 'at the 9th "
        "and 11th epochs'",
        "gradient norm clipped at 35, as in the authors' configurations; the paper does not mention it",
        f"{fabric.world_size} process instead of 8 GPUs with synchronised batch norm: its statistics are over "
        f"{settings.micro_batch or batch} images",
        "images are not grouped by aspect ratio in a batch, as the authors' framework does to save padding",
    ]


def departures(experiment: Experiment, settings: Settings) -> list[str]:
    """What was asked for that makes it another recipe than the paper's; no verdict follows from such a run."""
    found = []
    batch = settings.batch_size or experiment.recipe.batch_size
    if settings.initial == "random":
        found.append("random initial weights instead of ImageNet's")
    elif plan.start(experiment, settings) != experiment.recipe.initial_weights:
        found.append(f"initial weights from a file given by hand instead of {experiment.recipe.initial_weights}")
    if batch != experiment.recipe.batch_size:
        found.append(
            f"effective batch of {batch} instead of {experiment.recipe.batch_size}, learning rate in proportion"
        )
    if settings.iterations is not None:
        found.append(f"trained for {settings.iterations} iterations instead of {experiment.recipe.epochs} epochs")
    if settings.micro_batch is not None:
        found.append(f"batch norm over {settings.micro_batch} images, gradients accumulated to the batch")
    if settings.precision != "32-true":
        found.append(f"precision {settings.precision} instead of float32")
    return found


class _Predictor:
    """Detections of all images of a split, kept in shards so that a kill loses at most the images of one."""

    def __init__(self, model: MaskRCNN, data: CocoDetection, directory: Path, fabric: Fabric):
        self.model, self.data, self.fabric = model, data, fabric
        self.directory = directory / "shards"

    def predict(self, weights: str, progress: ProgressReport) -> list[Detections]:
        """One `Detections` an image, in the order of the split. `weights` is the sha256 of what the model holds."""
        self.model.eval()
        self.fabric.to_device(self.model)
        return [
            found
            for start in range(0, len(self.data), SHARD)
            for found in self._shard(start, min(start + SHARD, len(self.data)), weights, progress)
        ]

    def _shard(self, start: int, stop: int, weights: str, progress: ProgressReport) -> list[Detections]:
        path = self.directory / f"{start:06d}.json.gz"
        done = path.with_suffix("").with_suffix(".done")  # written after the shard: what it is of, and how long it took
        with suppress(OSError, ValueError, KeyError, ReproError):  # not there, or damaged: predicted again
            written = json.loads(done.read_bytes())
            if (written["weights"], written["stop"]) == (weights, stop):
                return evaluation.load_predictions(path, written["sha256"])
        begin = time.monotonic()
        detections = []
        for index in range(start, stop):
            detections += self._one(index)
            progress("evaluation", index + 1, len(self.data))
        sha256 = evaluation.save_predictions(detections, path)
        state = {"weights": weights, "stop": stop, "sha256": sha256, "seconds": time.monotonic() - begin}
        write_atomically(done, json.dumps(state).encode())
        return detections

    def _one(self, index: int) -> list[Detections]:
        sample = self.data.sample(index)
        sample.image = sample.image.to(self.fabric.device)
        with torch.inference_mode(), self.fabric.autocast():
            return self.model([sample])

    def seconds(self) -> float:
        """How long predicting took, interruptions left out."""
        return sum(json.loads(done.read_bytes())["seconds"] for done in self.directory.glob("*.done"))

    def clean(self) -> None:
        """Drop the shards, once the whole is recorded."""
        shutil.rmtree(self.directory, ignore_errors=True)


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


def _network(experiment: Experiment, seed: int) -> MaskRCNN:
    """Freshly initialised as a function of the seed; the global generator is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskRCNN(experiment.network)


def _initialise(
    backbone: ResNet, experiment: Experiment, settings: Settings, progress: ProgressReport
) -> tuple[str, str | None]:
    """Load the initial weights into the backbone; what they are, in words, and their sha256."""
    if settings.initial == "random":
        return "trained here from random weights", None
    if settings.profile == "mini":
        path = _pretrained(settings, progress)
        origin = "trained here from the mini profile's shared pre-training"
    else:
        wanted = experiment.recipe.initial_weights
        path = Path(settings.initial) if settings.initial else initial.fetch(wanted)
        origin = f"trained here from {path.name if settings.initial else wanted}"
    load_initial(backbone, initial.load(path))
    return origin, sha256(path)


def _pretrained(settings: Settings, progress: ProgressReport) -> Path:
    """The backbone weights that all mini experiments start from, trained by whoever needs them first."""
    spec = mini.PRETRAINING
    key = cache_key(stage="pre-training", version=plan.TRAINING_VERSION, spec=spec.spec_hash, data=mini.DATASET_KEY)
    directory = settings.results / "runs" / f"{spec.name}.{key[:12]}"
    with _locked(directory):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = miniature.pretraining_network()
        fitted = fit(
            model,
            spec.recipe,
            miniature.PretrainingData(),
            identity=key,
            directory=directory,
            seed=0,
            fabric=Fabric(accelerator=_accelerator(settings), devices=1),  # float32 whatever the experiments use
            progress=lambda at: progress("pre-training", at.iteration, at.total),
        )
    return fitted.weights


def _recipe(experiment: Experiment, settings: Settings) -> Recipe:
    """The experiment's recipe as the settings shorten or scale it."""
    recipe = experiment.recipe
    batch = settings.batch_size or recipe.batch_size
    return replace(
        recipe,
        iterations=settings.iterations or recipe.iterations,
        batch_size=batch,
        learning_rate=recipe.learning_rate * batch / recipe.batch_size,
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


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """At most one process works in a run's directory; the others wait for it."""
    lock = FileLock(directory / ".lock")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise unwritable(directory, error) from error
    try:
        yield
    finally:
        lock.release()


def _workers(fabric: Fabric) -> int:
    """Processes that load images ahead: a GPU would wait for one; on the CPU they would take its cores."""
    return min(8, os.cpu_count() or 1) if fabric.device.type == "cuda" else 0


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

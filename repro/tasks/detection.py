"""Mask R-CNN on COCO (Section 5.1, Tables 1 to 3)."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import closing
from functools import cached_property, partial
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from repro import paper
from repro.data.coco import CocoDetection, Detections, DetectionSample
from repro.data.layout import is_val2017
from repro.data.miniature import coco as miniature
from repro.detection import engines
from repro.detection.detector import DetectorModule
from repro.detection.roi import Instances
from repro.detection.torchvision import DIVISOR
from repro.engine.devices import count_loading_processes
from repro.engine.overlap import finish_behind, group_batches, read_ahead, restore_order
from repro.engine.sampler import TrainingData
from repro.evaluation import COCO_EVALUATOR
from repro.evaluation import coco as evaluation
from repro.evaluation.predictor import Failed
from repro.experiments import Detector, Experiment, mini
from repro.files.notices import tell
from repro.models.resnet import load_initial
from repro.records import Checkpoint, DataSet, Metric
from repro.settings import Settings
from repro.tasks.task import Task

#: Generated images that are predicted together.
_GENERATED_BATCH = 8
#: What is found in an image.
_FOUND = ("boxes", "scores", "labels", "masks")
#: Threads that paste and encode masks, where other processes read the images.
_FINISHING_THREADS = 2


class DetectorEvaluation:
    """A detector on the images of a split, at most `batch` at a time of those that are padded to the same size.

    With processes that read images ahead, threads paste and encode masks while the network is at the next images.

    Args:
        workers: processes that read; None: as fits the device, 0 in any case on a CPU.
        compares: whether the first batch is also predicted image by image, and users are told how far that is off.
    """

    shard = 100
    suffix = ".json.gz"

    model: DetectorModule

    def __init__(
        self,
        model: nn.Module,
        data: CocoDetection,
        batch: int = 1,
        workers: int | None = None,
        *,
        compares: bool = False,
    ) -> None:
        assert isinstance(model, DetectorModule)  # as every network that is evaluated on COCO
        self.model = model
        self.data = data
        self.batch = batch
        self.workers = workers
        self.compares = compares

    def __len__(self) -> int:
        return len(self.data)

    def predict(self, parts: Sequence[range], fabric: Fabric) -> Generator[Detections | Failed, None, None]:
        """One result an item, in order.

        Raises:
            ReproError: an image cannot be read. COCO's are all there, so none is counted as failed.
        """
        workers = count_loading_processes(fabric, self.workers)
        batches = group_batches(parts, self.batch, self._compute_padded_size)
        found = self._find(batches, fabric, workers)

        def finish(one: tuple[Instances, DetectionSample]) -> Detections:
            with torch.inference_mode(), fabric.autocast():  # which are each thread's own
                return self.model.to_original(*one)

        return restore_order(finish_behind(finish, found, min(workers, _FINISHING_THREADS)), batches, parts)

    def _compute_padded_size(self, index: int) -> tuple[int, ...]:
        """(height, width) of an image as input of the network; of its own where images are predicted one by one."""
        if self.batch == 1:
            return (index,)
        return tuple(-(-side // DIVISOR) * DIVISOR for side in self.data.compute_input_size(index))

    def _find(
        self, batches: Sequence[Sequence[int]], fabric: Fabric, workers: int
    ) -> Generator[tuple[Instances, DetectionSample], None, None]:
        read = partial(_read_images, self.data)  # without the network, which not every way of starting can send
        with closing(read_ahead(read, batches, workers)) as loaded:
            for batch in loaded:
                samples = [fabric.to_device(sample) for sample in batch]
                with torch.inference_mode(), fabric.autocast():
                    instances = self.model.find_instances(samples)
                    if self.compares and len(samples) > 1 and fabric.is_global_zero:
                        alone = [self.model.find_instances([sample]) for sample in samples]
                        tell(f"{_compare_alone(instances, alone)} (--evaluation-batch)")
                        self.compares = False
                yield from zip(instances, samples, strict=True)

    def save(self, results: list[Detections], path: Path) -> str:
        return evaluation.save_predictions(results, path)

    def load(self, path: Path, sha256: str) -> list[Detections]:
        return evaluation.load_predictions(path, sha256)


def _read_images(data: CocoDetection, batch: Sequence[int]) -> list[DetectionSample]:
    return [data.sample(index) for index in batch]


def _compare_alone(together: Sequence[Instances], alone: Sequence[list[Instances]]) -> str:
    """Say in words how what was found in images together differs from what is found in each alone."""
    pairs = [(one, other) for one, (other,) in zip(together, alone, strict=True)]
    others = [pair for pair in pairs if not all(torch.equal(*(getattr(one, name) for one in pair)) for name in _FOUND)]
    if not others:
        return f"what is found in {len(pairs)} images together has the bits of what is found in each alone"
    said = f"of {len(pairs)} images that are predicted together, {len(others)} have other bits than alone"
    alike = [pair for pair in others if len(pair[0].scores) == len(pair[1].scores)]
    if len(alike) < len(others):
        said += f", {len(others) - len(alike)} of them another number of objects"
    if alike:
        scores, boxes = (
            torch.cat([(getattr(one, name) - getattr(other, name)).abs().flatten() for one, other in alike]).max()
            for name in ("scores", "boxes")
        )
        said += f"; the n-th best differ by {float(scores):.1e} in their score and {float(boxes):.1e} pixels at most"
    return said


class Detection(Task[Detections, DetectorModule, CocoDetection]):
    """A detector on COCO 2017, or on the generated set of the mini profile."""

    evaluator = COCO_EVALUATOR

    def __init__(self, experiment: Experiment, settings: Settings) -> None:
        super().__init__(experiment, settings)
        self.evaluation_batch = settings.evaluation_batch or 1
        if settings.profile == "mini":  # the generated images have one size
            self.evaluation_batch = _GENERATED_BATCH

    def write_generated(self, directory: Path) -> None:
        miniature.generate(directory, mini.coco.MINI_DATA_SEED)

    @cached_property
    def training_data(self) -> CocoDetection:
        return self._load_split("train2017")

    @cached_property
    def validation_data(self) -> CocoDetection:
        return self._load_split("val2017")

    def _load_split(self, split: str) -> CocoDetection:
        network = self.experiment.detector
        with self.explaining_generated_data():
            return CocoDetection(
                self.root, split, network.num_classes, network.short_side, network.long_side,
                flip=self.experiment.recipe.flip, inclusive=network.pixels == "inclusive",
                keep=self.settings.profile == "mini",
            )  # fmt: skip

    def build_network(self) -> DetectorModule:
        return engines.build(self.settings.engine, self.experiment.detector)

    def build_pretraining_network(self, spec: Experiment) -> nn.Module:
        if isinstance(spec.network, Detector):
            return engines.build(self.settings.engine, spec.network)
        return super().build_pretraining_network(spec)

    def load_pretraining_data(self, spec: Experiment) -> TrainingData:
        if isinstance(spec.network, Detector):
            return self._load_split("trainlit2017")
        return miniature.PretrainingScenes()

    def start_from(self, model: nn.Module, tensors: Mapping[str, Tensor], spec: Experiment) -> None:
        """Copy a backbone's weights, or those of a whole detector without context blocks."""
        whole = spec.recipe.initial_weights == "shared detector"
        load_initial(model if whole else model.get_submodule("backbone"), tensors)

    def choose_training_memory_format(self, fabric: Fabric) -> torch.memory_format:
        """Channels last where it was measured to be faster, ResNets in bf16 on a GPU; an evaluation has them first."""
        settings = self.settings.engine, self.settings.precision, fabric.device.type
        measured = settings == ("torchvision", "bf16-mixed", "cuda") and self.experiment.detector.backbone.groups == 1
        return torch.channels_last if measured else torch.contiguous_format

    def build_evaluation(self, model: nn.Module, checkpoint: Checkpoint | None = None) -> DetectorEvaluation:
        return DetectorEvaluation(
            model, self.validation_data, self.evaluation_batch, self.settings.workers,
            compares=self.settings.profile == "full",
        )  # fmt: skip

    def compute_metrics(self, results: Sequence[Detections], failed: Collection[str]) -> list[Metric]:
        data = self.validation_data
        values = evaluation.evaluate(results, data)
        return [Metric(name=name, value=value, unit="%", n=len(data)) for name, value in values.items()]

    def describe_dataset(self, evaluated: int, failed: Sequence[str]) -> DataSet:
        data = self.validation_data
        full = self.settings.profile == "full"
        official = is_val2017(data.category_ids, len(data), data.objects)
        return DataSet(
            name="mini-val2017" if not full else "coco-val2017" if official else "not COCO 2017",
            annotations_sha256=data.annotations_sha256,
            ids_sha256=data.ids_sha256,
            required=paper.DATASETS["coco-val2017"].size if full else len(data),
            expected=len(data),
            evaluated=evaluated,
            drawn_sha256=self.content.drawn if self.content else None,
            files_sha256=self.content.files if self.content else None,
        )

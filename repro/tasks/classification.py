"""Image classifiers on ImageNet, single crop (Section 5.2, Table 4)."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import closing
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from repro.data import gpu_decoding
from repro.data.classification import Augmentation, ImageBatch, collate, normalise, recolor
from repro.data.gpu_decoding import EncodedBatch, EncodedImages
from repro.data.imagenet import ImageNet
from repro.data.pictures import UnreadableImage
from repro.data.sources import Split
from repro.engine.devices import count_loading_processes
from repro.engine.overlap import cut_batches, read_ahead
from repro.evaluation import TOPK_EVALUATOR, topk
from repro.evaluation.predictor import Failed
from repro.evaluation.topk import Prediction
from repro.experiments import Classifier, Experiment, mini, preprocessing
from repro.models.resnet import ResNetLayers, load_initial
from repro.records import Metric
from repro.tasks.accuracy import Accuracy, build_accuracy_metrics
from repro.tasks.task import TrainingData


class ImageClassifier(ResNetLayers):
    """A classifier that can be trained. Its state dict, and what it does in evaluation mode, are a `ResNet`'s."""

    def __init__(self, network: Classifier, inputs: preprocessing.Preprocessing) -> None:
        super().__init__(network.backbone, network.num_classes, network.fc_std)
        self.inputs = inputs

    def forward(self, x: ImageBatch | Tensor) -> dict[str, Tensor] | Tensor:
        """The cross entropy of a batch; or the logits (B, K) of normalised images (B, 3, H, W)."""
        if isinstance(x, Tensor):
            return self.logits(x)
        images = x.images if x.colors is None else recolor(x.images, x.colors)
        logits = self.logits(normalise(images, self.inputs))
        return {"loss_class": F.cross_entropy(logits.float(), x.labels)}


class Labelled(NamedTuple):
    """An image that could be read."""

    image_id: str
    label: int  #: 0..K-1


class ClassifierEvaluation:
    """A classifier on the images of a split, in batches that do not depend on how many processes share the work."""

    shard = 1000
    suffix = ".json.gz"
    batch = 50

    def __init__(self, model: nn.Module, data: ImageNet, workers: int | None = None) -> None:
        self.model = model
        self.data = data
        self.workers = workers

    def __len__(self) -> int:
        return len(self.data)

    def predict(self, parts: Sequence[range], fabric: Fabric) -> Generator[Prediction | Failed, None, None]:
        with closing(self.score(parts, fabric)) as scored:
            for batch, logits in scored:
                images = [item for item in batch if isinstance(item, Labelled)]
                labels, ids = [image.label for image in images], [image.image_id for image in images]
                predictions = iter(topk.rank_predictions(logits, labels, ids))
                yield from (item if isinstance(item, Failed) else next(predictions) for item in batch)

    def score(
        self, parts: Sequence[range], fabric: Fabric
    ) -> Generator[tuple[list[Labelled | Failed], Tensor], None, None]:
        """Yield batches of the items, in order, and the logits (B, K) of those that could be read."""
        workers = count_loading_processes(fabric, self.workers)
        read = partial(_read_images, self.data)  # without the network, which not every way of starting can send
        with closing(read_ahead(read, cut_batches(parts, self.batch), workers)) as batches:
            for batch, images in batches:
                yield batch, torch.empty(0, 1) if images is None else self._compute_logits(images, fabric)

    def _compute_logits(self, images: Tensor, fabric: Fabric) -> Tensor:
        images = normalise(fabric.to_device(images), self.data.preprocessing)
        if fabric.device.type == "cuda":
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), fabric.autocast():
            return self.model(images)

    def save(self, results: list[Prediction], path: Path) -> str:
        return topk.save_predictions(results, path)

    def load(self, path: Path, sha256: str) -> list[Prediction]:
        return topk.load_predictions(path, sha256)


def _read_images(data: ImageNet, batch: range) -> tuple[list[Labelled | Failed], Tensor | None]:
    """The images that can be read, uint8 (B, 3, S, S), and all items in order: of others, the reason.

    They are stacked here, because each tensor that comes from another process is an open file, of which most users may
    have 1024.
    """
    items: list[Labelled | Failed] = []
    images = []
    for index in batch:
        try:
            sample = data.sample(index)
        except UnreadableImage as error:
            items.append(Failed(error.image_id, str(error)))
            continue
        items.append(Labelled(sample.image_id, sample.label))
        images.append(sample.image)
    return items, torch.stack(images) if images else None


#: Of `Augmentation`, by the recipe's `colours`.
_COLOURS: dict[str, Any] = {
    "factors": {},
    "pixels": {"jitter": 0.0, "lighting": 0.0, "shift": 20, "rotation": 10.0},
    "none": {"jitter": 0.0, "lighting": 0.0},
}


class Classification(Accuracy[Prediction, ImageClassifier, ImageNet]):
    """A classifier on ILSVRC2012, or on the generated set of the mini profile."""

    evaluator = TOPK_EVALUATOR
    evaluation_batch = ClassifierEvaluation.batch

    def write_generated(self, directory: Path) -> None:
        from repro.data.miniature import imagenet as miniature

        miniature.generate(directory)

    def load_split(self, split: Split) -> ImageNet:
        if self.settings.profile == "full":
            recipe = self.experiment.recipe
            augmentation = Augmentation(flip=recipe.flip, **_COLOURS[recipe.colours])
            return ImageNet(self.root, split, self.inputs, augmentation)
        return ImageNet(
            self.root, split, self.inputs, Augmentation(**mini.imagenet.AUGMENTATION),
            wnids=mini.imagenet.CLASSES, keep=True,
        )  # fmt: skip

    @property
    def inputs(self) -> preprocessing.Preprocessing:
        return preprocessing.TRAINED_HERE if self.settings.profile == "full" else mini.imagenet.PREPROCESSING

    def build_network(self) -> ImageClassifier:
        return ImageClassifier(self.experiment.classifier, self.inputs)

    def load_pretraining_data(self, spec: Experiment) -> TrainingData:
        from repro.data.miniature import imagenet as miniature

        return miniature.PretrainingPictures()

    def choose_memory_format(self, fabric: Fabric) -> torch.memory_format:
        return torch.channels_last if fabric.device.type == "cuda" else torch.contiguous_format

    @cached_property
    def training_input(self) -> TrainingData:
        return EncodedImages(self.training_data) if self.settings.decode_on == "gpu" else self.training_data

    def check_inputs(self, fabric: Fabric) -> list[str]:
        if not isinstance(self.training_input, EncodedImages):
            return []
        found = gpu_decoding.compare_with_processor(self.training_input, fabric.device)
        return [f"training images decoded by nvJPEG and resized on the GPU: {found}"]

    def collate(self, samples: Sequence[Any]) -> ImageBatch | EncodedBatch:
        return gpu_decoding.collate_encoded(samples) if self.settings.decode_on == "gpu" else collate(samples)

    def start_from(self, model: nn.Module, tensors: Mapping[str, Tensor], spec: Experiment) -> None:
        load_initial(model, tensors)

    def _build_evaluation(self, model: nn.Module) -> ClassifierEvaluation:
        return ClassifierEvaluation(model, self.validation_data, self.settings.workers)

    def compute_metrics(self, results: Sequence[Prediction], failed: Collection[str]) -> list[Metric]:
        return build_accuracy_metrics(topk.evaluate(results, self.validation_data, failed), len(results))

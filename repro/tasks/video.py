"""Clip classifiers on Kinetics-400, many views of each video (Section 5.3, Table 5)."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from repro.data.clips import ClipAugmentation, ClipBatch, ClipSample, collate, normalise
from repro.data.kinetics import Kinetics
from repro.data.sources import Split
from repro.data.video import UnreadableVideo
from repro.engine.devices import count_loading_processes
from repro.engine.overlap import read_ahead
from repro.evaluation import MULTIVIEW_EVALUATOR, multiview
from repro.evaluation.multiview import Scores
from repro.evaluation.predictor import Failed
from repro.experiments import Classifier, Experiment, mini, preprocessing
from repro.models.resnet import ResNetLayers, load_initial
from repro.models.resnet3d import inflate
from repro.records import Metric
from repro.tasks.accuracy import Accuracy, build_accuracy_metrics
from repro.tasks.task import TrainingData

#: Probability with which a feature is left out in training, before the last layer, as in [6].
DROPOUT = 0.5


class ClipClassifier(ResNetLayers):
    """A 3-D classifier that can be trained. Its state dict, and what it does in evaluation mode, are a `ResNet`'s."""

    def __init__(self, network: Classifier, inputs: preprocessing.Preprocessing, dropout: float = DROPOUT) -> None:
        super().__init__(network.backbone, network.num_classes, network.fc_std)
        self.inputs, self.dropout = inputs, dropout

    def forward(self, x: ClipBatch | Tensor) -> dict[str, Tensor] | Tensor:
        """The cross entropy of a batch, a clip of each video; or the logits (B, K) of clips.

        Clips are normalised, (B, 3, T, H, W).
        """
        if isinstance(x, Tensor):
            return self.logits(x)
        clips = normalise(x.clips[:, 0], self.inputs).contiguous(memory_format=torch.channels_last_3d)
        pooled = self.avgpool(self.features(clips)["c5"]).flatten(1)
        logits = self.fc(F.dropout(pooled, self.dropout))
        return {"loss_class": F.cross_entropy(logits.float(), x.labels)}


class MultiViewEvaluation:
    """A classifier on all views of the videos of a split, one video at a time."""

    shard = 50
    batch = 1
    suffix = ".scores.gz"
    views = 10  #: how many pass through the network together

    def __init__(self, model: nn.Module, data: Kinetics, workers: int | None = None) -> None:
        self.model = model
        self.data = data
        self.workers = workers

    def __len__(self) -> int:
        return len(self.data)

    def predict(self, parts: Sequence[range], fabric: Fabric) -> Generator[Scores | Failed, None, None]:
        items = [index for part in parts for index in part]
        read = partial(_read_video, self.data)  # without the network, which not every way of starting can send
        with closing(read_ahead(read, items, count_loading_processes(fabric, self.workers))) as videos:
            for item in videos:
                yield item if isinstance(item, Failed) else self._score(item, fabric)

    def _score(self, sample: ClipSample, fabric: Fabric) -> Scores:
        parts = []
        for views in sample.clips.split(self.views):
            inputs = normalise(fabric.to_device(views), self.data.preprocessing)
            inputs = inputs.contiguous(memory_format=torch.channels_last_3d)
            with torch.inference_mode(), fabric.autocast():
                parts.append(self._compute_logits(inputs).float())
        (scores,) = multiview.compute_scores(torch.cat(parts)[None], [sample.label], [sample.video_id])
        return scores

    def _compute_logits(self, inputs: Tensor) -> Tensor:
        """(B, K); or (B, W, K) of windows, which compiled networks compute uncompiled."""
        window = self.data.preprocessing.window
        if window is None:
            return self.model(inputs)
        assert isinstance(self.model, ResNetLayers)  # as every network that is evaluated on clips
        return self.model.window_logits(inputs, window).flatten(2).transpose(1, 2)

    def save(self, results: list[Scores], path: Path) -> str:
        return multiview.save_scores(results, path)

    def load(self, path: Path, sha256: str) -> list[Scores]:
        return multiview.load_scores(path, sha256)


def _read_video(data: Kinetics, index: int) -> ClipSample | Failed:
    """A video; where it cannot be read, the reason."""
    try:
        return data.sample(index)
    except UnreadableVideo as error:
        return Failed(error.video_id, str(error))


class VideoClassification(Accuracy[Scores, ClipClassifier, Kinetics]):
    """A classifier on Kinetics-400, or on the generated set of the mini profile."""

    evaluator = MULTIVIEW_EVALUATOR
    evaluation_batch = MultiViewEvaluation.views

    def write_generated(self, directory: Path) -> None:
        from repro.data.miniature import kinetics as miniature

        miniature.generate(directory)

    def load_split(self, split: Split) -> Kinetics:
        if self.settings.profile == "full":
            flip, frames = self.experiment.recipe.flip, self.experiment.classifier.clip_frames
            return Kinetics(self.root, split, self.inputs, ClipAugmentation(flip=flip, clip_frames=frames))
        return Kinetics(
            self.root, split, self.inputs, ClipAugmentation(**mini.kinetics.AUGMENTATION),
            labels=mini.kinetics.CLASSES, keep=True,
        )  # fmt: skip

    @property
    def inputs(self) -> preprocessing.Preprocessing:
        if self.settings.profile == "mini":
            return mini.kinetics.PREPROCESSING
        return replace(preprocessing.CLIPS_TRAINED_HERE, clip_frames=self.experiment.classifier.clip_frames)

    def build_network(self) -> ClipClassifier:
        dropout = DROPOUT if self.settings.profile == "full" else mini.kinetics.DROPOUT
        return ClipClassifier(self.experiment.classifier, self.inputs, dropout)

    def choose_memory_format(self, fabric: Fabric) -> torch.memory_format:
        return torch.channels_last_3d  # a quarter faster, on a CPU too

    def build_pretraining_network(self, spec: Experiment) -> nn.Module:
        if spec.dataset == "kinetics":
            return ClipClassifier(spec.classifier, self.inputs, mini.kinetics.DROPOUT)
        return super().build_pretraining_network(spec)

    def load_pretraining_data(self, spec: Experiment) -> TrainingData:
        from repro.data.miniature import kinetics as miniature

        return self.training_data if spec.dataset == "kinetics" else miniature.PretrainingFrames()

    def collate(self, samples: Sequence[ClipSample]) -> ClipBatch:
        return collate(samples)

    def start_from(self, model: nn.Module, tensors: Mapping[str, Tensor], spec: Experiment) -> None:
        assert isinstance(model, ResNetLayers)
        whole = spec.recipe.initial_weights == "shared network"
        load_initial(model, tensors if whole else inflate(tensors, model, spec.recipe.inflation))

    def _build_evaluation(self, model: nn.Module) -> MultiViewEvaluation:
        return MultiViewEvaluation(model, self.validation_data, self.settings.workers)

    def compute_metrics(self, results: Sequence[Scores], failed: Collection[str]) -> list[Metric]:
        return build_accuracy_metrics(multiview.evaluate(results, self.validation_data, failed), len(results))

"""Predictions for pictures and videos that a user names, by the code that evaluates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from repro.data.coco import Detections, compute_resized_size
from repro.data.pictures import UnreadableImage
from repro.evaluation import coco, topk
from repro.evaluation.predictor import Failed
from repro.inference.attention_maps import AttentionMap, record_attention
from repro.inference.categories import Category, list_categories
from repro.inference.items import ClassPictures, ScenePictures, Videos
from repro.inference.networks import ReadyNetwork
from repro.tasks.accuracy import Accuracy
from repro.tasks.classification import Labelled

#: Classes that are named of a picture or a video.
NAMED = 5


@dataclass(frozen=True)
class Found:
    """What a detector found in one picture, best first."""

    path: Path
    size: tuple[int, int]  #: (height, width) of the picture as it is shown, pixels
    resized: tuple[int, int]  #: the same as the network saw it, without padding
    detections: Detections
    categories: Sequence[Category]  #: of the labels
    attention: dict[str, AttentionMap] = field(default_factory=dict)  #: by block

    def list_results(self) -> list[dict[str, Any]]:
        """List the detections in COCO's results format, each with the name of its file and of its category."""
        identifiers = [int(category.id) for category in self.categories]
        rows = coco.list_results(self.detections, identifiers, self.size)
        return [
            {
                **row,
                "image_id": int(row["image_id"]),
                "segmentation": {
                    "size": list(row["segmentation"]["size"]),
                    "counts": coco.decode_counts(row["segmentation"]),
                },
                "file_name": self.path.name,
                "category_name": self.categories[label].name,
            }
            for row, label in zip(rows, self.detections.labels.tolist(), strict=True)
        ]


@dataclass(frozen=True)
class Ranked:
    """The likeliest classes of one picture or video, the likeliest first."""

    path: Path
    classes: tuple[tuple[Category, float], ...]  #: with the softmax, of a video the mean over its views

    def as_dict(self) -> dict[str, Any]:
        """The fields for JSON."""
        ranked = [{"id": category.id, "name": category.name, "score": score} for category, score in self.classes]
        return {"file_name": self.path.name, "classes": ranked}


def detect(network: ReadyNetwork, paths: Sequence[Path], *, attention: bool = False) -> Iterator[Found | Failed]:
    """Find the objects in pictures, one picture at a time, as a full-size evaluation does.

    Args:
        attention: record the maps of the context blocks, too.

    Raises:
        ReproError: the network computes what is not finite.
    """
    experiment = network.task.experiment
    pictures = ScenePictures(paths, experiment.detector)
    network.task.evaluation_batch = 1
    evaluation = _build_evaluation(network, pictures)
    evaluation.workers = 0  # each picture has its own pass, and its own maps
    categories = list_categories(experiment)
    for index, path in enumerate(paths):
        with record_attention(network.model if attention else nn.Module()) as maps:
            try:
                (found,) = evaluation.predict([range(index, index + 1)], network.fabric)
            except UnreadableImage as error:
                yield Failed(path.name, str(error))
                continue
        size = pictures.sizes[index]
        resized = compute_resized_size(*size, experiment.detector.short_side, experiment.detector.long_side)
        yield Found(path, size, resized, found, categories, dict(maps))


def classify(network: ReadyNetwork, paths: Sequence[Path]) -> Iterator[Ranked | Failed]:
    """Rank the classes of pictures, in batches, or of videos, over all views of each.

    Raises:
        ReproError: the network computes what is not finite.
    """
    task = network.task
    assert isinstance(task, Accuracy)  # as every classifier's
    categories = list_categories(task.experiment)
    if task.experiment.dataset == "kinetics":
        videos = _build_evaluation(network, Videos(paths, task.inputs))
        for path, result in zip(paths, videos.predict([range(len(paths))], network.fabric), strict=True):
            yield result if isinstance(result, Failed) else _rank(path, result.mean, categories)
        return
    pictures = _build_evaluation(network, ClassPictures(paths, task.inputs))
    remaining = iter(paths)
    for batch, logits in pictures.score([range(len(paths))], network.fabric):
        readable = [item for item in batch if isinstance(item, Labelled)]
        ids = [item.image_id for item in readable]
        ranked = iter(topk.rank_predictions(logits, [item.label for item in readable], ids))
        shares = iter(logits.float().softmax(dim=1).cpu().numpy())
        for item in batch:
            path = next(remaining)
            if isinstance(item, Failed):
                yield item
                continue
            share = next(shares)
            best = next(ranked).classes[:NAMED]
            yield Ranked(path, tuple((categories[label], float(share[label])) for label in best))


def _build_evaluation(network: ReadyNetwork, items: Any) -> Any:
    """Build the task's own evaluation, with these items in the place of its validation split."""
    network.task.validation_data = items
    return network.task.build_evaluation(network.model, network.checkpoint)


def _rank(path: Path, scores: np.ndarray, categories: Sequence[Category]) -> Ranked:
    """Rank a video's classes; of equally likely ones the lower comes first."""
    best = np.argsort(-scores, kind="stable")[:NAMED].tolist()
    return Ranked(path, tuple((categories[label], float(scores[label])) for label in best))

"""Top-1 and top-5 accuracy of images, and the file of a classifier's predictions."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as checked
from torch import Tensor

from repro.data.imagenet import ImageNet
from repro.errors import ReproError
from repro.evaluation import predictions as files

KEPT = 5  #: number of classes that are kept for each image


@checked(config=ConfigDict(strict=True, allow_inf_nan=False))
class Prediction:
    """A classifier's likeliest classes of one image, and the true one: enough to evaluate again and for paired tests.

    At most five classes, the likeliest first; fewer where the classifier has fewer.
    """

    image_id: str
    label: Annotated[int, Field(ge=0)]  #: the true class
    classes: list[Annotated[int, Field(ge=0)]]
    logits: list[float]  #: of `classes`, each exactly a float32

    def is_correct(self, k: int) -> bool:
        """Whether the true class is among the first `k`, at most `KEPT`."""
        return self.label in self.classes[:k]


def rank_predictions(logits: Tensor, labels: Sequence[int], image_ids: Sequence[str]) -> list[Prediction]:
    """Rank the classes of a batch of images. Equal logits are ordered by class, on every device.

    Args:
        logits: (B, K), on any device and of any precision; compared as float32.
        labels: (B,).
        image_ids: B.

    Raises:
        ReproError: a logit is not finite; the image is named.
    """
    logits = logits.detach().float()
    broken = (~logits.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if broken:
        raise ReproError(f"a logit for image {image_ids[broken[0]]} is not finite; did the training diverge?")
    values, classes = torch.sort(logits, dim=1, descending=True, stable=True)
    rows = zip(image_ids, labels, classes[:, :KEPT].tolist(), values[:, :KEPT].tolist(), strict=True)
    return [Prediction(image_id, int(label), best, scores) for image_id, label, best, scores in rows]


def evaluate(predictions: Iterable[Prediction], dataset: ImageNet, failed: Collection[str] = ()) -> dict[str, float]:
    """Compute `top1` and `top5` in percent of the images in `predictions`.

    Args:
        predictions: a prediction for every image of `dataset` but those in `failed`.
        failed: ids of images that could not be read; they count neither as right nor as wrong.

    Raises:
        ReproError: the images are not exactly `dataset.ids`, each once; a label is not the data set's; there is none.
    """
    predictions = list(predictions)
    files.check_ids(
        [*(prediction.image_id for prediction in predictions), *failed], dataset.ids, "images", dataset.place
    )
    truth = dict(zip(dataset.ids, dataset.labels.tolist(), strict=True))
    for prediction in predictions:
        if prediction.label != truth[prediction.image_id]:
            raise ReproError(
                f"the prediction for image {prediction.image_id} was made for class {prediction.label} as the "
                f"truth; in {dataset.place} it is {truth[prediction.image_id]}: predictions and data set do not "
                "belong together"
            )
    if not predictions:
        raise ReproError(f"none of the {len(dataset)} images in {dataset.place} could be read")
    right = {k: sum(prediction.is_correct(k) for prediction in predictions) for k in (1, KEPT)}
    return {f"top{k}": 100 * number / len(predictions) for k, number in right.items()}


def compute_standard_error(percent: float, n: int) -> float:
    """Compute the binomial standard error, sqrt(p (1 - p) / n), of an accuracy over `n` images, in percent points.

    >>> compute_standard_error(percent=50.0, n=10_000)
    0.5
    """
    share = percent / 100
    return 100 * math.sqrt(share * (1 - share) / n)


def save_predictions(predictions: Iterable[Prediction], path: Path) -> str:
    """Write predictions to `path` (.json.gz) and return the sha256 of their content.

    Equal predictions give equal bytes, whatever their order: images ascending by id, logits in full.

    Raises:
        ReproError: the file cannot be written.
    """
    images = sorted(predictions, key=lambda image: image.image_id)
    document = [[image.image_id, image.label, image.classes, image.logits] for image in images]
    return files.write(document, path)


def load_predictions(path: Path, sha256: str | None = None) -> list[Prediction]:
    """Read what `save_predictions` wrote.

    Args:
        sha256: where it is known, to refuse a file that is whole but another.

    Raises:
        ReproError: the file is missing, cut short, changed, or not a predictions file.
    """
    rows = files.read(path, _ROWS, sha256)
    for image_id, _, classes, logits in rows:
        if len(classes) != len(logits) or len(set(classes)) != len(classes) or np.any(np.diff(logits) > 0):
            raise ReproError(
                f"{path}: the classes of image {image_id} are not in the order of their logits. {files.REMEDY}"
            )
    return [Prediction(*row) for row in rows]


_Row = tuple[str, Annotated[int, Field(ge=0)], list[Annotated[int, Field(ge=0)]], list[float]]
_ROWS = TypeAdapter(list[_Row], config=ConfigDict(strict=True, allow_inf_nan=False))

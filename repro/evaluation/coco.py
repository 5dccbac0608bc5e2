"""COCO's average precision of boxes and masks, and the file of a detector's predictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval.core import mask as mask_api
from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from repro.data.coco import CocoDetection, Detections
from repro.errors import ReproError
from repro.evaluation import predictions

_METRICS = ("ap", "ap50", "ap75")  # the first three of the twelve COCO statistics
_IOU_TYPES = {"box": "bbox", "mask": "segm"}


def evaluate(detections: Iterable[Detections], dataset: CocoDetection) -> dict[str, float]:
    """Compute COCO's AP, AP50 and AP75 of boxes and masks, in percent: `ap_box`, `ap50_box`, `ap75_box`, `ap_mask`, ...

    AP is the mean over IoU 0.50:0.05:0.95 and all classes that occur, with at most 100 detections per image and class;
    crowds are ignored as the COCO metric does. No detections at all give 0.0.

    Raises:
        ReproError: the images are not exactly `dataset.image_ids`, each once; a box, score, label or mask is
            malformed (the image is named); or the data set has no object to find.
    """
    metrics: dict[str, float] = {}
    for kind, evaluator in compare(detections, dataset).items():
        evaluator.accumulate()
        evaluator.summarize()
        metrics |= {f"{metric}_{kind}": 100 * float(evaluator.stats[i]) for i, metric in enumerate(_METRICS)}
    return metrics


def compare(detections: Iterable[Detections], dataset: CocoDetection) -> dict[str, COCOeval_faster]:
    """Match detections with objects: the evaluators of "box" and of "mask", with the IoU of every pair in `ious`.

    Raises:
        ReproError: as `evaluate` does.
    """
    detections = list(detections)
    predictions.check_ids(
        (image.image_id for image in detections), dataset.image_ids, "images", dataset.annotations_path
    )
    results = [
        result
        for image in detections
        for result in list_results(image, dataset.category_ids, dataset.get_original_size(image.image_id))
    ]
    truth = COCO(dataset.build_ground_truth())
    if all(annotation["iscrowd"] for annotation in truth.dataset["annotations"]):
        raise ReproError(f"{dataset.annotations_path} has no objects but crowds: there is nothing to evaluate against")
    loaded = truth.loadRes(results)
    evaluators = {kind: COCOeval_faster(truth, loaded, iou_type) for kind, iou_type in _IOU_TYPES.items()}
    for evaluator in evaluators.values():
        try:
            evaluator.evaluate()
        except ValueError as error:
            raise _explain_malformed_mask(detections, error) from None
    return evaluators


def list_results(image: Detections, category_ids: Sequence[int], size: tuple[int, int]) -> list[dict]:
    """List an image's detections in COCO's results format, boxes as (x, y, width, height); unrounded.

    Args:
        category_ids: in the order of the labels.
        size: (height, width) of the image, pixels.

    Raises:
        ReproError: a box, score, label or mask is malformed; the image is named.
    """
    where = f"predictions for image {image.image_id}"
    _check_finite(image)
    n = len(image.scores)
    if len(image.boxes) != n or len(image.labels) != n or len(image.masks) != n:
        raise ReproError(
            f"{where}: {len(image.boxes)} boxes, {n} scores, {len(image.labels)} labels, {len(image.masks)} masks"
        )
    classes = len(category_ids)
    wrong = [int(label) for label in image.labels if not 0 <= label < classes]
    if wrong:
        raise ReproError(f"{where}: label {wrong[0]} is not one of the {classes} classes, 0 to {classes - 1}")
    for mask in image.masks:
        if list(mask["size"]) != list(size):
            raise ReproError(f"{where}: a mask has {list(mask['size'])} pixels (height, width), the image {list(size)}")
    boxes = np.asarray(image.boxes, dtype=np.float64).reshape(-1, 4)
    boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    if (boxes[:, 2:] < 0).any():
        raise ReproError(f"{where}: a box ends before it begins")
    rows = zip(
        boxes.tolist(), np.asarray(image.scores, dtype=np.float64).tolist(), image.labels, image.masks, strict=True
    )
    return [
        {
            "image_id": image.image_id,
            "category_id": category_ids[label],
            "bbox": box,
            "score": score,
            "segmentation": mask,
        }
        for box, score, label, mask in rows
    ]


def _check_finite(image: Detections) -> None:
    for name, values in (("box", image.boxes), ("score", image.scores)):
        if not np.isfinite(values).all():
            raise ReproError(
                f"predictions for image {image.image_id}: a {name} is not finite; did the training diverge?"
            )


def _explain_malformed_mask(detections: list[Detections], error: ValueError) -> ReproError:
    for image in detections:
        try:
            mask_api.decode(image.masks)
        except ValueError as cause:
            return ReproError(f"predictions for image {image.image_id}: a mask is malformed: {cause}")
    return ReproError(f"the predictions cannot be evaluated: {error}")


def save_predictions(detections: Iterable[Detections], path: Path) -> str:
    """Write predictions to `path` (.json.gz) and return the sha256 of their content.

    Equal predictions give equal bytes, whatever their order: images ascending by id, float32 values in full.

    Raises:
        ReproError: a value is not finite, or the file cannot be written.
    """
    images = sorted(detections, key=lambda image: image.image_id)
    for image in images:
        _check_finite(image)
    document = [
        {
            "image_id": int(image.image_id),
            "boxes": np.asarray(image.boxes, dtype=np.float32).reshape(-1, 4).tolist(),
            "scores": np.asarray(image.scores, dtype=np.float32).tolist(),
            "labels": np.asarray(image.labels, dtype=np.int64).tolist(),
            "masks": [
                {"size": [int(side) for side in mask["size"]], "counts": decode_counts(mask)} for mask in image.masks
            ],
        }
        for image in images
    ]
    return predictions.write(document, path)


def decode_counts(mask: dict) -> str:
    """Decode a mask's run lengths to text, as JSON holds them."""
    counts = mask["counts"]
    return counts.decode() if isinstance(counts, bytes) else counts


@dataclass(config=ConfigDict(strict=True, allow_inf_nan=False))
class _StoredMask:
    size: tuple[int, int]
    counts: str


@dataclass(config=ConfigDict(strict=True, allow_inf_nan=False))
class _StoredDetections:
    image_id: int
    boxes: list[tuple[float, float, float, float]]
    scores: list[float]
    labels: list[Annotated[int, Field(ge=0)]]
    masks: list[_StoredMask]


def load_predictions(path: Path, sha256: str | None = None) -> list[Detections]:
    """Read what `save_predictions` wrote.

    Args:
        sha256: where it is known, to refuse a file that is whole but another.

    Raises:
        ReproError: the file is missing, cut short, changed, or not a predictions file.
    """
    images = predictions.read(path, TypeAdapter(list[_StoredDetections]), sha256)
    return [
        Detections(
            image_id=image.image_id,
            boxes=np.array(image.boxes, dtype=np.float32).reshape(-1, 4),
            scores=np.array(image.scores, dtype=np.float32),
            labels=np.array(image.labels, dtype=np.int64),
            masks=[{"size": list(mask.size), "counts": mask.counts} for mask in image.masks],
        )
        for image in images
    ]

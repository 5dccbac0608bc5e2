"""Which detections match an object, image by image: all that computing AP on a sample of the images needs.

Reading a file of matches takes a hundredth of the time of making it: no mask is decoded and no overlap computed again.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from repro.errors import ReproError
from repro.evaluation.array_files import REMEDY, open_arrays
from repro.files.regular_files import sha256
from repro.paths import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable

    from repro.data.coco import CocoDetection, Detections

KINDS = ("box", "mask")
#: COCO's ten IoU thresholds, 0.50 to 0.95, as its evaluator computes them.
THRESHOLDS = np.linspace(0.5, 0.95, 10)
_DETECTIONS = 100  #: number of detections of an image and class that count, as in COCO's metric
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Matches:
    """The detections of one network on I images of K classes, matched with the objects.

    Detections stand class by class and in a class by descending score, equal scores in the order of the evaluator: that
    of the images, in an image that of the predictions. Those of class k are at `starts[k]` to `starts[k + 1]`.
    Bit i of a match belongs to `THRESHOLDS[i]`. A detection that is neither true nor ignored is false.
    """

    predictions_sha256: str
    annotations_sha256: str
    ids_sha256: str  #: of the images' ids
    image_ids: np.ndarray  #: int64 (I,), ascending
    category_ids: np.ndarray  #: int64 (K,), ascending
    objects: np.ndarray  #: uint16 (K, I): objects of a class in an image, without crowds
    starts: np.ndarray  #: int64 (K + 1,)
    images: np.ndarray  #: int32 (D,): positions in `image_ids`
    scores: np.ndarray  #: float32 (D,)
    true: dict[str, np.ndarray]  #: by kind ("box", "mask"), uint16 (D,): matches an object
    ignored: dict[str, np.ndarray]  #: by kind, uint16 (D,): matches no object but a crowd


def match(detections: Iterable[Detections], dataset: CocoDetection, predictions_sha256: str) -> Matches:
    """Match detections with the objects of all sizes, as COCO's metric does, by the IoUs of its evaluator.

    Args:
        predictions_sha256: of the file that `detections` come from.

    Raises:
        ReproError: as `evaluation.coco.evaluate` does.
    """
    from repro.evaluation.coco import compare

    by_image = sorted(detections, key=lambda image: image.image_id)
    evaluators = compare(by_image, dataset)
    label_of = {category_id: label for label, category_id in enumerate(dataset.category_ids)}
    position_of = {image.image_id: position for position, image in enumerate(by_image)}
    objects = np.zeros((len(label_of), len(position_of)), dtype=np.uint16)
    crowds: dict[tuple[int, int], list[bool]] = {}
    for annotation in dataset.build_ground_truth()["annotations"]:
        image_id, category_id, is_crowd = (annotation[key] for key in ("image_id", "category_id", "iscrowd"))
        crowds.setdefault((image_id, category_id), []).append(bool(is_crowd))
        objects[label_of[category_id], position_of[image_id]] += not is_crowd

    rows = []
    for position, image in enumerate(by_image):
        for label in np.unique(image.labels):
            where = image.image_id, dataset.category_ids[label]
            scores = image.scores[image.labels == label]
            scores = scores[np.argsort(-scores, kind="stable")][:_DETECTIONS].astype(np.float32)
            matched = {}
            for kind, evaluator in evaluators.items():
                ious = np.asarray(evaluator.ious[where], dtype=np.float64).reshape(len(scores), -1)
                matched[kind] = _match_class(ious, np.array(crowds.get(where, ()), dtype=bool))
            rows.append((np.full(len(scores), label), np.full(len(scores), position), scores, matched))

    labels = _join([row[0] for row in rows], np.int64)
    images = _join([row[1] for row in rows], np.int32)
    scores = _join([row[2] for row in rows], np.float32)
    order = np.lexsort((-scores, labels))  # stable: what is equal stays in the order of the images
    return Matches(
        predictions_sha256=predictions_sha256,
        annotations_sha256=dataset.annotations_sha256,
        ids_sha256=dataset.ids_sha256,
        image_ids=np.array([image.image_id for image in by_image], dtype=np.int64),
        category_ids=np.array(dataset.category_ids, dtype=np.int64),
        objects=objects,
        starts=np.searchsorted(labels[order], np.arange(len(label_of) + 1)),
        images=images[order],
        scores=scores[order],
        true={kind: _join([row[3][kind][0] for row in rows], np.uint16)[order] for kind in KINDS},
        ignored={kind: _join([row[3][kind][1] for row in rows], np.uint16)[order] for kind in KINDS},
    )


def _join(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)


def _match_class(ious: np.ndarray, crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match an image's n detections of a class, in the order of their scores: bits (true, ignored), each uint16 (n,).

    At each threshold a detection takes the object left that it overlaps most, of equal ones the last; failing that, it
    is ignored if a crowd holds enough of it, and a crowd can hold many.

    Args:
        ious: (n, m) with the m objects, or (n, 0) where there are none.
        crowd: bool (m,).
    """
    true, ignored = np.zeros((2, len(ious)), dtype=np.uint16)
    if not len(crowd):
        return true, ignored
    bits = 1 << np.arange(len(THRESHOLDS))
    with_objects, with_crowds = ious[:, ~crowd][:, ::-1], ious[:, crowd]
    in_crowd = with_crowds.max(axis=1, initial=-1)[:, None] >= THRESHOLDS
    free = np.ones((len(THRESHOLDS), with_objects.shape[1]), dtype=bool)
    levels = np.arange(len(THRESHOLDS))
    for n in np.flatnonzero(ious.max(axis=1) >= THRESHOLDS[0]):
        hit = np.zeros(len(THRESHOLDS), dtype=bool)
        if free.shape[1]:
            left = np.where(free, with_objects[n], -1)
            best = left.argmax(axis=1)
            hit = left[levels, best] >= THRESHOLDS
            free[levels[hit], best[hit]] = False
        true[n] = bits[hit].sum()
        ignored[n] = bits[in_crowd[n] & ~hit].sum()
    return true, ignored


_BITS = ("true", "ignored")
_TEXTS = ("predictions_sha256", "annotations_sha256", "ids_sha256")
_ARRAYS = {
    "image_ids": np.int64,
    "category_ids": np.int64,
    "objects": np.uint16,
    "starts": np.int64,
    "images": np.int32,
    "scores": np.float32,
    **{f"{what}_{kind}": np.uint16 for what in _BITS for kind in KINDS},
}


def save_matches(matches: Matches, path: Path) -> str:
    """Write `matches` to `path` (.npz, no pickle) and return the sha256 of the file. Equal matches give equal bytes.

    Raises:
        ReproError: the file cannot be written.
    """
    fields = vars(matches) | {f"{what}_{kind}": getattr(matches, what)[kind] for what in _BITS for kind in KINDS}
    content = io.BytesIO()
    np.savez_compressed(
        content,
        allow_pickle=False,
        format=np.array(_FORMAT),
        **{name: np.array(fields[name]) for name in _TEXTS},
        **{name: np.ascontiguousarray(fields[name], dtype) for name, dtype in _ARRAYS.items()},
    )
    write_atomically(path, content.getvalue())
    return sha256(path)


def load_matches(path: Path) -> Matches:
    """Read what `save_matches` wrote.

    Raises:
        ReproError: the file is missing, damaged, or of another version.
    """
    with open_arrays(path, _FORMAT) as file:
        texts = {name: str(file[name]) for name in _TEXTS}
        arrays = {name: file[name] for name in _ARRAYS}
    matches = Matches(
        predictions_sha256=texts["predictions_sha256"],
        annotations_sha256=texts["annotations_sha256"],
        ids_sha256=texts["ids_sha256"],
        image_ids=arrays["image_ids"],
        category_ids=arrays["category_ids"],
        objects=arrays["objects"],
        starts=arrays["starts"],
        images=arrays["images"],
        scores=arrays["scores"],
        true={kind: arrays[f"true_{kind}"] for kind in KINDS},
        ignored={kind: arrays[f"ignored_{kind}"] for kind in KINDS},
    )
    if not _is_consistent(matches):
        raise ReproError(f"{path} is damaged: its parts do not fit each other. {REMEDY}")
    return matches


def _is_consistent(matches: Matches) -> bool:
    classes, images, detections = len(matches.category_ids), len(matches.image_ids), len(matches.images)
    columns = (matches.scores, *matches.true.values(), *matches.ignored.values())
    return (
        matches.objects.shape == (classes, images)
        and matches.starts.shape == (classes + 1,)
        and matches.starts[0] == 0
        and matches.starts[-1] == detections
        and bool(np.all(np.diff(matches.starts) >= 0))
        and all(column.shape == (detections,) for column in columns)
        and bool(np.all((matches.images >= 0) & (matches.images < images)))
    )

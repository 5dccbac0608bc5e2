"""COCO's average precision of many samples of the same images at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from repro.evaluation.matches import THRESHOLDS, Matches

#: The rows of `compute_average_precision`, by the names that records have for them.
METRICS = ("ap", "ap50", "ap75")
_AT_75 = 5  #: index in `THRESHOLDS`
#: COCO's 101 recalls, as its evaluator computes them: not all are the nearest float of their decimal.
_RECALLS = np.linspace(0.0, 1.0, 101)
_BLOCK = 250  #: samples that are evaluated at a time: few enough for the processor's cache


def compute_average_precision(matches: Matches, kind: str, counts: np.ndarray, threads: int = 1) -> np.ndarray:
    """Compute AP, AP50 and AP75, in percent, of each of R samples of the images: float64 (3, R), NaN without an object.

    Equal to evaluating a data set in which image i stands `counts[i, r]` times, but for the order in which that puts
    detections of one image, class and score. Only true positives are visited: there precision has its maxima and
    recall its steps.

    Args:
        kind: "box" or "mask".
        counts: integers (I, R). A column of ones is the data set itself.
        threads: number of threads among which the samples are divided; the result does not depend on it.
    """
    objects = csr_array(matches.objects.astype(np.int32))
    classes = [_Class.select(matches, kind, label) for label in range(len(matches.category_ids))]

    def evaluate_block(begin: int) -> np.ndarray:
        block = np.ascontiguousarray(counts[:, begin : begin + _BLOCK], dtype=np.int32)
        present = np.asarray(objects @ block)
        total = np.zeros((len(THRESHOLDS), block.shape[1]))
        for detections, number in zip(classes, present, strict=True):
            detections.add(total, block, np.maximum(number, 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            total *= 100 / np.count_nonzero(present, axis=0)
        return np.stack([total.mean(axis=0), total[0], total[_AT_75]])

    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(evaluate_block, range(0, counts.shape[1], _BLOCK))), axis=1)


@dataclass(frozen=True)
class _Level:
    """The P true positives of one class at one threshold, by descending score."""

    threshold: int
    images: np.ndarray  #: (P,)
    stops: np.ndarray  #: (P,): where they are among those of any threshold
    ignored: np.ndarray  #: (Q,): images of the detections that are ignored at this threshold
    before: np.ndarray  #: (P,): how many of these come before each true positive


@dataclass(frozen=True)
class _Class:
    """The detections of one class, counted up to each of the S that are true at any threshold."""

    spans: csr_array  #: (S, I): detections of an image after the previous true one, up to and with this one
    levels: tuple[_Level, ...]

    @staticmethod
    def select(matches: Matches, kind: str, label: int) -> _Class:
        own = slice(matches.starts[label], matches.starts[label + 1])
        images, true, ignored = matches.images[own], matches.true[kind][own], matches.ignored[kind][own]
        stops = np.flatnonzero(true)
        counted = images[: stops[-1] + 1 if len(stops) else 0]
        rows = np.searchsorted(stops, np.arange(len(counted)))
        ones = np.ones(len(counted), dtype=np.int32)
        spans = csr_array((ones, (rows, counted)), shape=(len(stops), len(matches.image_ids)))
        return _Class(spans, tuple(_iterate_levels(images, true, ignored, stops)))

    def add(self, total: np.ndarray, counts: np.ndarray, objects: np.ndarray) -> None:
        """Add the class's precision, the mean over COCO's recalls, to `total` (10, B).

        Args:
            counts: int32 (I, B).
            objects: (B,), at least 1.
        """
        detections = np.cumsum(self.spans @ counts, axis=0, dtype=np.int32)
        for level in self.levels:
            true = np.cumsum(counts[level.images], axis=0, dtype=np.int32)
            among = detections[level.stops]
            if len(level.ignored):
                ignored = np.cumsum(counts[level.ignored], axis=0, dtype=np.int32)
                among -= np.concatenate([np.zeros_like(ignored[:1]), ignored])[level.before]
            precision = true / np.maximum(among, 1)
            np.maximum.accumulate(precision[::-1], axis=0, out=precision[::-1])
            reached = _count_reached(true / objects)
            reached[1:] -= reached[:-1].copy()
            total[level.threshold] += np.einsum("pb,pb->b", precision, reached) / len(_RECALLS)


def _iterate_levels(images: np.ndarray, true: np.ndarray, ignored: np.ndarray, stops: np.ndarray) -> Iterator[_Level]:
    for threshold in range(len(THRESHOLDS)):
        hits = np.flatnonzero(true >> threshold & 1)
        passed = np.flatnonzero(ignored >> threshold & 1)
        if len(hits):
            yield _Level(
                threshold, images[hits], np.searchsorted(stops, hits), images[passed], np.searchsorted(passed, hits)
            )


def _count_reached(recall: np.ndarray) -> np.ndarray:
    """Count COCO's recalls that are at most `recall`, as the evaluator's floating-point numbers have it."""
    nearest = (recall * (len(_RECALLS) - 1) + 0.5).astype(np.int32)
    return nearest + (_RECALLS[nearest] <= recall)

"""Top-1 and top-5 accuracy of videos over several views of each, and the file that the views' scores are kept in.

A view's scores are its softmax, or the mean of its windows' softmaxes, rounded to float16. A video's scores are the
mean of its views', computed from what is stored, so that an evaluation from the file gives the same numbers as one
right after the prediction.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from repro.data.kinetics import Kinetics
from repro.errors import ReproError
from repro.evaluation.predictions import REMEDY, check_ids, pack, unpack
from repro.files.schema import describe_violation

_FLOAT16 = np.dtype("<f2")


@dataclass(frozen=True)
class Scores:
    """A network's scores of one video, and the video's true class."""

    video_id: str
    label: int  #: the true class
    views: np.ndarray  #: float16 (V, K): the scores of each view; views of a clip side by side

    @property
    def mean(self) -> np.ndarray:
        """float64 (K,): the mean of the views."""
        return self.views.mean(axis=0, dtype=np.float64)

    def is_correct(self, k: int) -> bool:
        """Whether the true class is among the `k` likeliest. Of equally likely classes the lower comes first."""
        mean = self.mean
        own = mean[self.label]
        return np.count_nonzero(mean > own) + np.count_nonzero(mean[: self.label] == own) < k


def compute_scores(logits: Tensor, labels: Sequence[int], video_ids: Sequence[str]) -> list[Scores]:
    """Compute the scores of a batch of videos.

    Args:
        logits: (B, V, K), or (B, V, W, K) of the windows of each view, on any device and of any precision; the softmax
            is taken in float32.
        labels: (B,).
        video_ids: B.

    Raises:
        ReproError: a logit is not finite; the video is named.
    """
    logits = logits.detach().float()
    for video_id, finite in zip(video_ids, logits.isfinite().flatten(1).all(dim=1).tolist(), strict=True):
        if not finite:
            raise ReproError(f"a logit for video {video_id} is not finite; did the training diverge?")
    views = logits.softmax(dim=-1)
    if views.dim() == 4:
        views = views.mean(dim=2)
    stored = views.half().cpu().numpy()
    return [Scores(*video) for video in zip(video_ids, map(int, labels), stored, strict=True)]


def evaluate(scores: Iterable[Scores], dataset: Kinetics, failed: Collection[str] = ()) -> dict[str, float]:
    """Compute `top1` and `top5` in percent of the videos in `scores`.

    Args:
        scores: those of every video of `dataset` but those in `failed`.
        failed: ids of videos that could not be read; they count neither as right nor as wrong.

    Raises:
        ReproError: the videos are not exactly `dataset.ids`, each once; a label is not the data set's; there is none.
    """
    videos = list(scores)
    check_ids([*(video.video_id for video in videos), *failed], dataset.ids, "videos", dataset.place)
    truth = dict(zip(dataset.ids, dataset.labels.tolist(), strict=True))
    for video in videos:
        if video.label != truth[video.video_id]:
            raise ReproError(
                f"the scores of video {video.video_id} were made for class {video.label} as the truth; in "
                f"{dataset.place} it is {truth[video.video_id]}: scores and data set do not belong together"
            )
    if not videos:
        raise ReproError(f"none of the {len(dataset)} videos in {dataset.place} could be read")
    return {f"top{k}": 100 * sum(video.is_correct(k) for video in videos) / len(videos) for k in (1, 5)}


# -- file -------------------------------------------------------------------------------------------------------------


class _Header(BaseModel):
    """The first line of a file, as JSON; the scores follow, little-endian float16 (videos, views, classes)."""

    model_config = ConfigDict(strict=True, extra="forbid")

    views: Annotated[int, Field(ge=0)]
    classes: Annotated[int, Field(ge=0)]
    videos: list[tuple[str, Annotated[int, Field(ge=0)]]]  #: id, label

    @model_validator(mode="after")
    def _labels_are_classes(self) -> _Header:
        for video_id, label in self.videos:
            if label >= self.classes:
                raise ValueError(f"video {video_id} is of class {label} of {self.classes}")
        return self


def save_scores(scores: Iterable[Scores], path: Path) -> str:
    """Write scores to `path` (.scores.gz) and return the sha256 of their content.

    Equal scores give equal bytes, whatever their order: videos ascend by id.

    Raises:
        ReproError: the videos' numbers of views or of classes differ, or the file cannot be written.
    """
    videos = sorted(scores, key=lambda video: video.video_id)
    shapes = {video.views.shape for video in videos} or {(0, 0)}
    if len(shapes) > 1:
        raise ReproError(f"scores of different numbers of views and classes are not kept together: {sorted(shapes)}")
    views, classes = shapes.pop()
    header = _Header(views=views, classes=classes, videos=[(video.video_id, video.label) for video in videos])
    line = header.model_dump_json().encode() + b"\n"
    return pack(b"".join([line, *(video.views.astype(_FLOAT16).tobytes() for video in videos)]), path)


def load_scores(path: Path, sha256: str | None = None) -> list[Scores]:
    """Read what `save_scores` wrote.

    Args:
        sha256: where it is known, to refuse a file that is whole but another.

    Raises:
        ReproError: the file is missing, cut short, changed, or not a file of scores.
    """
    line, _, values = unpack(path, "scores", sha256).partition(b"\n")
    try:
        header = _Header.model_validate_json(line)
    except ValidationError as error:
        raise ReproError(
            f"{path} is not a file of scores: {describe_violation(error, 'first line')}. {REMEDY}"
        ) from None
    shape = (len(header.videos), header.views, header.classes)
    if len(values) != math.prod(shape) * _FLOAT16.itemsize:
        raise ReproError(f"{path} is not a file of scores: {len(values)} bytes are not float16 {shape}. {REMEDY}")
    views = np.frombuffer(values, _FLOAT16).reshape(shape)
    if not ((views >= 0) & (views <= 1)).all():
        raise ReproError(f"{path} is not a file of scores: not all are between 0 and 1. {REMEDY}")
    return [Scores(video_id, label, own) for (video_id, label), own in zip(header.videos, views, strict=True)]

"""Evaluations on each device, overlapped and in turn: the same bytes, and no number that is not finite."""

from __future__ import annotations

import pytest
import torch
from device_samples import RandomSamples, build_network, build_task

from repro.engine import distributed
from repro.engine.launch import Processes
from repro.errors import ReproError
from repro.evaluation import topk
from repro.evaluation.multiview import compute_scores
from repro.evaluation.predictor import Predictor
from repro.tasks.classification import ClassifierEvaluation
from repro.tasks.detection import DetectorEvaluation
from repro.tasks.video import MultiViewEvaluation

EVALUATIONS = {
    "coco-r50-gc-r16": DetectorEvaluation, "imagenet-r50-gc-r16": ClassifierEvaluation,
    "kinetics-r50-gc-r4": MultiViewEvaluation,
}  # fmt: skip


class Evaluated(RandomSamples):
    """Also what evaluations of classifiers ask their data for."""

    @property
    def preprocessing(self):
        return self.task.inputs


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", EVALUATIONS)
def test_overlapped_and_in_turn_are_the_same_bytes(name, precision, device, tmp_path):
    task = build_task(name, tmp_path)
    network = build_network(task).eval()
    if name.startswith("coco"):
        network.roi_heads.score_threshold, network.roi_heads.detections = 0.0, 5  # it finds something in every image
    fabric = distributed.build_fabric(Processes(1, 1), device, precision)
    hashes = {}
    for workers in (0, 2):
        evaluation = EVALUATIONS[name](network, Evaluated(task))
        evaluation.workers, evaluation.shard = workers, 3
        predicted = Predictor(evaluation, tmp_path / f"{workers}", fabric).predict("weights", lambda *_: None)
        assert len(predicted.results) == 4
        hashes[workers] = evaluation.save(predicted.results, tmp_path / f"{workers}{evaluation.suffix}")
    assert hashes[0] == hashes[2]


def test_what_is_not_finite_is_named(device):
    logits = torch.zeros(2, 3, device=device)
    logits[1, 2] = torch.nan
    with pytest.raises(ReproError, match="a logit for image b is not finite"):
        topk.rank_predictions(logits, [0, 1], ["a", "b"])
    with pytest.raises(ReproError, match="a logit for video b is not finite"):
        compute_scores(logits[:, None], [0, 1], ["a", "b"])

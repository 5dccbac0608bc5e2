"""A detector's evaluation with images read ahead and masks encoded behind the network: the bytes of one in turn."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from generated_scenes import write_scenes
from lightning_fabric import Fabric

from repro.data.coco import CocoDetection
from repro.data.pictures import UnreadableImage
from repro.detection import detector
from repro.detection.torchvision import MaskRCNN
from repro.evaluation.predictor import Predictor
from repro.experiments import GC, Backbone, Detector, Insertion
from repro.tasks.detection import DetectorEvaluation

#: As small as can be; it finds nothing in particular, but something in every picture.
NETWORK = Detector(
    Backbone(blocks=(1, 1, 1, 1), width=8, norm="sync", context=Insertion(replace(GC, ratio=4))),
    num_classes=6, fpn_channels=8, box_channels=16, mask_channels=4, short_side=64, long_side=192, proposals=(20, 20),
    score_threshold=0.0, detections=5,
)  # fmt: skip
IMAGES = 11


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MaskRCNN(NETWORK).eval()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("data") / "coco", IMAGES)


@pytest.fixture
def shards(monkeypatch):
    monkeypatch.setattr(DetectorEvaluation, "shard", 5)


def open_scenes(root):
    return CocoDetection(root, "val2017", 6, NETWORK.short_side, NETWORK.long_side)


def predict(model, root, directory, *, workers, batch, precision="32-true", progress=lambda *_: None):
    evaluation = DetectorEvaluation(model, open_scenes(root), batch, workers)
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    predicted = Predictor(evaluation, directory, fabric).predict("weights", progress)
    return evaluation.save(predicted.results, directory / "predictions.json.gz")


@pytest.mark.rounding
@pytest.mark.parametrize(("batch", "precision"), [(1, "32-true"), (3, "32-true"), (1, "bf16-mixed")])
def test_the_predictions_are_the_same_bytes(model, scenes, tmp_path, shards, monkeypatch, batch, precision):
    """Of whole evaluations, and of one that was interrupted; masks are encoded in other threads."""
    encoding, encode = set(), detector.encode
    monkeypatch.setattr(
        detector, "encode", lambda *given, **how: encoding.add(threading.current_thread().name) or encode(*given, **how)
    )
    alone = predict(model, scenes, tmp_path / "0", workers=0, batch=batch, precision=precision)
    assert encoding == {threading.main_thread().name}
    encoding.clear()
    assert predict(model, scenes, tmp_path / "2", workers=2, batch=batch, precision=precision) == alone
    assert threading.main_thread().name not in encoding

    def stop(stage, done, total, at=None):
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(model, scenes, tmp_path / "s", workers=2, batch=batch, precision=precision, progress=stop)
    assert [path.name for path in (tmp_path / "s" / "shards").glob("*.done")] == ["000000.done"]
    seen = []
    note = lambda stage, done, total, at=None: seen.append(done)  # noqa: E731
    again = predict(model, scenes, tmp_path / "s", workers=2, batch=batch, precision=precision, progress=note)
    assert again == alone
    assert seen == list(range(6, IMAGES + 1))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_named_and_what_was_predicted_before_it_stays(model, scenes, tmp_path, shards, workers):
    data = open_scenes(scenes)
    path = scenes / "val2017" / data._paths[data.image_ids[6]]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    seen = []
    note = lambda stage, done, total, at=None: seen.append(done)  # noqa: E731
    try:
        with pytest.raises(UnreadableImage, match=path.name):
            predict(model, scenes, tmp_path, workers=workers, batch=1, progress=note)
    finally:
        path.write_bytes(whole)
    assert seen == list(range(1, 7))
    assert (tmp_path / "shards" / "000000.done").exists()

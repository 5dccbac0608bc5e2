"""A detector's evaluation with images read ahead and masks encoded behind the network: the bytes of one in turn."""

from __future__ import annotations

import math
import re
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from generated_scenes import write_scenes
from lightning_fabric import Fabric
from typer.testing import CliRunner

from repro.cli import app
from repro.data.coco import CocoDetection, DetectionSample
from repro.data.pictures import UnreadableImage
from repro.detection import detector
from repro.detection.roi import Instances
from repro.detection.torchvision import MaskRCNN
from repro.engine.memory import suggest_for_evaluation
from repro.errors import ReproError
from repro.evaluation.predictor import Predictor
from repro.experiments import GC, Backbone, Detector, Insertion, get
from repro.settings import Settings
from repro.tasks.detection import Detection, DetectorEvaluation, _compare_alone

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


#: (height, width) as input of the network; padded to multiples of 32 there are three kinds.
SIZES = [(64, 96), (64, 70), (96, 64), (64, 90), (64, 96), (90, 64), (128, 128), (64, 80), (96, 64), (64, 96), (64, 65)]


class OfManySizes:
    """Noise in the sizes of `SIZES`."""

    def __len__(self):
        return len(SIZES)

    def compute_input_size(self, index):
        return SIZES[index]

    def sample(self, index):
        pixels = torch.randint(0, 256, (3, *SIZES[index]), generator=torch.Generator().manual_seed(index)).byte()
        none = torch.zeros(0)
        return DetectionSample(pixels, index, SIZES[index], none.reshape(0, 4), none.long(), none.reshape(0, 1, 1))


@pytest.mark.rounding
@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_one_padded_size_are_predicted_together(model, monkeypatch, tmp_path, shards, workers, capsys):
    """In batches of 2, within shards of 5, the same is found and in the same order as one by one, but for rounding."""
    together, find = [], MaskRCNN.find_instances

    def noting(network, samples):
        together.append([sample.image_id for sample in samples])
        return find(network, samples)

    monkeypatch.setattr(MaskRCNN, "find_instances", noting)
    found = {}
    for batch in (1, 2):
        together.clear()
        evaluation = DetectorEvaluation(model, OfManySizes(), batch, workers)
        fabric, seen = Fabric(accelerator="cpu", devices=1), []
        note = lambda stage, done, total, at=None, seen=seen: seen.append(done)  # noqa: E731
        predicted = Predictor(evaluation, tmp_path / f"{batch}", fabric).predict("weights", note)
        assert seen == list(range(1, len(SIZES) + 1))
        assert [one.image_id for one in predicted.results] == list(range(len(SIZES)))
        found[batch] = predicted.results
    for one, other in zip(found[1], found[2], strict=True):  # libraries may take another algorithm for two images
        np.testing.assert_allclose(other.boxes, one.boxes, atol=1e-3)
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-5)
        assert other.labels.tolist() == one.labels.tolist()
    assert together == [[0, 1], [2], [3, 4], [5, 8], [6], [7, 9], [10]]
    assert "together" not in capsys.readouterr().err


def test_users_are_told_whether_images_together_have_other_bits(model, monkeypatch, capsys):
    find = MaskRCNN.find_instances

    def find_alone(network, samples):
        return [find(network, [sample])[0] for sample in samples]

    monkeypatch.setattr(MaskRCNN, "find_instances", find_alone)
    fabric = Fabric(accelerator="cpu", devices=1)
    evaluation = DetectorEvaluation(model, OfManySizes(), 3, 0, compares=True)
    assert len(list(evaluation.predict([range(11)], fabric))) == 11
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "what is found in 3 images together has the bits of what is found in each alone (--evaluation-batch)"
    )

    def find_otherwise(network, samples):
        """As a device may round where there are more images; the second of them has an object less."""
        found = find_alone(network, samples)
        if len(samples) > 1:
            found[0].scores = found[0].scores * (1 + 1e-4)
            found[0].boxes = found[0].boxes + 0.25
            found[1] = Instances(*(getattr(found[1], name)[:-1] for name in ("boxes", "scores", "labels", "masks")))
        return found

    assert len(list(evaluation.predict([range(11)], fabric))) == 11
    assert capsys.readouterr().err == ""  # it was said
    monkeypatch.setattr(MaskRCNN, "find_instances", find_otherwise)
    evaluation = DetectorEvaluation(model, OfManySizes(), 3, 0, compares=True)
    assert len(list(evaluation.predict([range(11)], fabric))) == 11
    (line,) = capsys.readouterr().err.splitlines()
    words = (
        "of 3 images that are predicted together, 2 have other bits than alone, 1 of them another number of objects; "
    )
    assert words in line
    assert re.search(r"the n-th best differ by [1-9]\.\de-0\d in their score and 2\.5e-01 pixels at most", line)


def test_what_is_not_comparable_is_not_said():
    one, fewer, nan = (
        Instances(torch.zeros(n, 4), torch.full((n,), value), torch.zeros(n), torch.zeros(n, 28, 28))
        for n, value in ((2, 0.5), (1, 0.5), (2, math.nan))
    )
    said = _compare_alone([one, one], [[fewer], [one]])
    assert said.endswith("1 have other bits than alone, 1 of them another number of objects")
    assert "differ by nan in their score and 0.0e+00 pixels" in _compare_alone([one], [[nan]])


def test_what_was_predicted_in_other_batches_is_predicted_again(model, tmp_path, shards):
    """Rounding differs, and the record says one number of images."""
    fabric = Fabric(accelerator="cpu", devices=1)

    def stop(stage, done, total, at=None):
        if done == 7:
            raise KeyboardInterrupt

    def predict_with(batch, progress):
        Predictor(DetectorEvaluation(model, OfManySizes(), batch, 0), tmp_path, fabric).predict("weights", progress)

    with pytest.raises(KeyboardInterrupt):
        predict_with(2, stop)
    for batch, first in ((1, 1), (1, None), (2, 1)):
        seen = []
        predict_with(batch, lambda stage, done, total, at=None, seen=seen: seen.append(done))
        assert seen[:1] == ([first] if first else [])


def test_one_by_one_nothing_is_asked_of_the_sizes(model, monkeypatch):
    monkeypatch.delattr(OfManySizes, "compute_input_size")
    assert len(list(DetectorEvaluation(model, OfManySizes(), 1, 0).predict([range(3)], Fabric(accelerator="cpu")))) == 3


def test_the_size_of_an_input_is_known_without_its_file(scenes):
    data = open_scenes(scenes)
    for index in range(IMAGES):
        assert data.compute_input_size(index) == tuple(data.sample(index).image.shape[1:])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--profile", "mini", "--table", "2"], "predicts eight images together: as asked"),
        (["--profile", "full", "--table", "4"], "for evaluations of detectors"),
    ],
)
def test_a_batch_without_effect_is_refused(arguments, why, tmp_path):
    result = CliRunner().invoke(app, ["plan", "--evaluation-batch", "4", *arguments, "--results", str(tmp_path)])
    assert isinstance(result.exception, ReproError)
    assert why in str(result.exception)


def test_the_settings_reach_the_evaluation_and_the_record(tmp_path, model, monkeypatch):
    monkeypatch.setattr(Detection, "validation_data", OfManySizes())
    settings = Settings(results=tmp_path, profile="full", evaluation_batch=4)
    task = Detection(get("coco-r50-gc-r16"), settings)
    evaluation = task.build_evaluation(model)
    assert (evaluation.batch, evaluation.compares, task.evaluation_batch) == (4, True, 4)
    assert Detection(get("coco-r50-gc-r16"), replace(settings, evaluation_batch=None)).evaluation_batch == 1
    assert suggest_for_evaluation(4) == "Lower --evaluation-batch (now 4)."
    assert "as small as it gets" in suggest_for_evaluation(1)

"""Weights that were trained here, exported for the Hugging Face hub and taken back: the same network and numbers."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from pycocotools.coco import COCO
from safetensors.torch import load_file
from typer.testing import CliRunner

from repro import experiments
from repro.cli import app
from repro.data.miniature import coco as miniature
from repro.errors import ReproError
from repro.experiments import GC, Backbone, Detector, Insertion, get, mini
from repro.records import Store, read

NAME, OTHER = "coco-r50-gc-r16", "coco-r50-gc-r4"
#: As small as can be; it finds nothing in particular, but something in every picture.
NETWORK = Detector(
    Backbone(blocks=(1, 1, 1, 1), width=8, norm="sync", context=Insertion(replace(GC, ratio=4))),
    num_classes=6, fpn_channels=8, box_channels=16, mask_channels=4, short_side=64, long_side=192, proposals=(20, 20),
    score_threshold=0.0, detections=5,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Results with one short training of a small network at the full profile, its data, and what was exported."""
    root = tmp_path_factory.mktemp("trained")
    patch = pytest.MonkeyPatch()
    small = replace(mini.coco.SCENES, train_images=4, val_images=3, lit_images=1, classification_images=1)
    patch.setattr(miniature, "SCENES", small)
    miniature.generate(root / "coco", 0)
    patch.setitem(experiments.EXPERIMENTS, NAME, replace(get(NAME), network=NETWORK))
    other = replace(NETWORK, backbone=replace(NETWORK.backbone, context=Insertion(replace(GC, ratio=2))))
    patch.setitem(experiments.EXPERIMENTS, OTHER, replace(get(OTHER), network=other))
    short = ("--source", "trained", "--iterations", 1, "--batch-size", 2, "--init", "random", "--device", "cpu")
    call("run", NAME, *short, "--data-root", root / "coco", "--results", root / "results")
    call("export", "hub", NAME, root / "exported", "--results", root / "results", "--license", "cc-by-4.0")
    yield root
    patch.undo()


def call(*words):
    ended = CliRunner().invoke(app, list(map(str, words)))
    if ended.exception and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def test_the_weights_are_those_of_the_training(trained):
    exported = load_file(trained / "exported" / "model.safetensors")
    (path,) = (trained / "results" / "runs").glob("*/weights.pt")
    own = torch.load(path, weights_only=True)
    assert exported.keys() == own.keys()
    assert all(
        torch.equal(exported[name], tensor) and exported[name].dtype == tensor.dtype for name, tensor in own.items()
    )


def test_the_measured_record_of_what_is_taken_back_is_the_same(trained, tmp_path):
    call("run", NAME, "--weights", trained / "exported", "--data-root", trained / "coco", "--results", tmp_path,
         "--device", "cpu")  # fmt: skip
    (again,) = Store(tmp_path / "records").all()
    (first,) = Store(trained / "results" / "records").all()
    assert (again.predictions_sha256, again.metrics) == (first.predictions_sha256, first.metrics)
    assert again.weights.checkpoint.format == "gcnet-repro"
    assert again.deviations[0] == ("not the paper's training: file: trained elsewhere by gcnet-repro 0.1.0 (seed 0)")


def test_the_hub_reads_the_card(trained):
    card = ModelCard.load(trained / "exported" / "README.md")
    assert (card.data.license, card.data.pipeline_tag, card.data.model_name) == (
        "cc-by-4.0", "image-segmentation", NAME,
    )  # fmt: skip
    (record,) = Store(trained / "results" / "records").all()
    assert {one.metric_type: one.metric_value for one in card.data.eval_results} == {
        metric.name: metric.value for metric in record.metrics
    }
    assert "| AP box | 39.4 |" in card.text
    assert "not run" in card.text
    assert "2(b) after1x1" in card.text  # the same number stands there
    assert read(trained / "exported" / "record.json") == record
    assert (trained / "exported" / "tables" / "table3.tex").is_file()
    labels = json.loads((trained / "exported" / "config.json").read_text())["id2label"]
    assert len(labels) == NETWORK.num_classes


def test_predictions_of_the_store_and_of_the_export_are_the_same(trained, tmp_path):
    picture = trained / "coco" / "val2017"
    here = call("predict", NAME, picture, "--results", trained / "results", "--json", "--output", tmp_path)
    there = call("predict", NAME, picture, "--weights", trained / "exported", "--results", tmp_path, "--json")
    assert json.loads(here) == json.loads(there)
    truth = COCO(str(trained / "coco" / "annotations" / "instances_val2017.json"))
    assert len(truth.loadRes(json.loads(here)).getImgIds()) == 3
    drawn = sorted(path.name for path in tmp_path.glob("*.png"))
    assert len(drawn) == 6
    with (
        Image.open(tmp_path / drawn[1]) as image,
        Image.open(picture / drawn[1].removesuffix(".detections.png")) as own,
    ):
        assert np.allclose(np.divide(image.size, own.size), image.size[0] // own.size[0])
    text = call("predict", NAME, picture, "--results", trained / "results", "--threshold", 0, "--output", tmp_path)
    assert text.count("5 objects with a score of at least 0, of 5 detections") == 3
    assert all(f"  {tmp_path / name}\n" in text for name in drawn)


WRONG = {
    "another network": (lambda d: None, OTHER, r"its weights are of coco-r50-gc-r16 at profile full, not of coco"),
    "damaged": (
        lambda d: (d / "model.safetensors").write_bytes((d / "model.safetensors").read_bytes()[:-4] + b"\0\0\0\1"),
        NAME, r"model\.safetensors is not the file that config\.json beside it names",
    ),
    "no configuration": (lambda d: (d / "config.json").unlink(), NAME, r"is a directory, and has no config\.json"),
    "another program's": (
        lambda d: (d / "config.json").write_text('{"model_type": "bert", "architectures": []}'),
        NAME, r"config\.json is not as `repro export hub` writes it",
    ),
    "a key twice": (
        lambda d: (d / "config.json").write_text(
            (d / "config.json").read_text().replace('{', '{"gcnet_repro": {}, ', 1)
        ),
        NAME, r"config\.json: the key 'gcnet_repro' is there twice",
    ),
    "no weights": (lambda d: (d / "model.safetensors").unlink(), NAME, r"model\.safetensors cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_export_of_this_network_is_refused(wrong, trained, tmp_path):
    change, name, message = WRONG[wrong]
    shutil.copytree(trained / "exported", tmp_path / "exported")
    change(tmp_path / "exported")
    with pytest.raises(ReproError, match=message):
        call("predict", name, trained / "coco" / "val2017", "--weights", tmp_path / "exported")


def test_nothing_else_is_written_over(trained, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ReproError, match="holds other files, and no weights that were exported"):
        call("export", "hub", NAME, tmp_path, "--results", trained / "results")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_export_is_replaced(trained, tmp_path):
    shutil.copytree(trained / "exported", tmp_path / "exported")
    call("export", "hub", NAME, tmp_path / "exported", "--results", trained / "results")
    assert ModelCard.load(tmp_path / "exported" / "README.md").data.license == "mit"


def test_what_is_not_trained_here_says_how_it_would_be(trained, tmp_path):
    message = r"nothing was trained in .*`repro run coco-r50-gc-r16 --profile mini --results .*` trains it .*--weights"
    for words in (("predict", NAME, trained), ("export", "hub", NAME, tmp_path / "exported")):
        with pytest.raises(ReproError, match=message):
            call(*words, "--results", tmp_path)
    shutil.copytree(trained / "results" / "records", tmp_path / "kept" / "records")
    with pytest.raises(ReproError, match=r"the weights of record coco-r50-gc-r16\.full\..* are not here any more"):
        call("predict", NAME, trained, "--results", tmp_path / "kept")

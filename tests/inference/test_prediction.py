"""Predictions for named files are those of the evaluation, whose code reads a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import video_files
from faster_coco_eval.core import mask as rle
from generated_scenes import write_scenes
from PIL import Image
from pycocotools import mask as peer
from pycocotools.coco import COCO

from repro import tasks
from repro.data.coco import CocoDetection
from repro.data.imagenet import ImageNet
from repro.data.kinetics import Kinetics
from repro.engine.devices import set_up_device
from repro.errors import ReproError
from repro.evaluation.predictor import Failed
from repro.experiments import GC, Backbone, Detector, Insertion, get, mini
from repro.inference.attention_maps import record_attention
from repro.inference.categories import list_categories
from repro.inference.items import list_items, number_pictures
from repro.inference.networks import ReadyNetwork
from repro.inference.prediction import classify, detect
from repro.models.context import NonLocalBlock, build
from repro.settings import Settings
from repro.tasks.classification import ClassifierEvaluation
from repro.tasks.detection import DetectorEvaluation
from repro.tasks.video import MultiViewEvaluation

#: As small as can be; it finds nothing in particular, but something in every picture.
NETWORK = Detector(
    Backbone(blocks=(1, 2, 1, 1), width=8, norm="sync", context=Insertion(replace(GC, ratio=4))),
    num_classes=6, fpn_channels=8, box_channels=16, mask_channels=4, short_side=64, long_side=192, proposals=(20, 20),
    score_threshold=0.0, detections=5,
)  # fmt: skip


def prepare(experiment, tmp_path, profile="mini"):
    task = tasks.task_for(experiment, Settings(results=tmp_path, profile=profile, device="cpu"))
    torch.manual_seed(0)
    model = task.build_network().eval()
    for name, parameter in model.named_parameters():
        if "context_block" in name:  # whose last layer begins at zero
            torch.nn.init.normal_(parameter, std=0.5)
    return ReadyNetwork(task, model, None, "random", set_up_device(task.settings))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("data") / "coco", 4)


@pytest.fixture
def detector(tmp_path):
    experiment = replace(get("coco-r50-gc-r16"), network=NETWORK, profile="mini")
    return prepare(experiment, tmp_path)


def test_a_detector_finds_what_its_evaluation_finds(detector, scenes):
    data = CocoDetection(scenes, "val2017", 6, NETWORK.short_side, NETWORK.long_side)
    expected = list(DetectorEvaluation(detector.model, data).predict([range(4)], detector.fabric))
    found = list(detect(detector, list_items(detector.task.experiment, [scenes / "val2017"]), attention=True))
    assert [one.detections.image_id for one in found] == data.image_ids  # as the files are named
    assert sum(len(one.scores) for one in expected) > 8
    for one, theirs in zip(found, expected, strict=True):
        for field in ("boxes", "scores", "labels"):
            assert np.array_equal(getattr(one.detections, field), getattr(theirs, field))
        assert one.detections.masks == theirs.masks


def test_results_are_cocos(detector, scenes, tmp_path):
    """pycocotools loads them for the data set's own annotations, with the pixels of every mask."""
    found = list(detect(detector, list_items(detector.task.experiment, [scenes / "val2017"])))
    rows = [row for one in found for row in one.list_results()]
    truth = COCO(str(scenes / "annotations" / "instances_val2017.json"))
    loaded = truth.loadRes(rows)
    assert len(loaded.anns) == len(rows) == sum(len(one.detections.scores) for one in found)
    names = {category["id"]: category["name"] for category in truth.dataset["categories"]}
    first = found[0]
    for n, row in enumerate(row for row in rows if row["image_id"] == first.detections.image_id):
        box = first.detections.boxes[n]
        assert row["bbox"] == pytest.approx([box[0], box[1], box[2] - box[0], box[3] - box[1]])
        assert names[row["category_id"]] == row["category_name"]
        assert np.array_equal(peer.decode(row["segmentation"]), rle.decode([first.detections.masks[n]])[..., 0])


def test_pictures_of_any_name_and_format_are_numbered_in_order(detector, scenes, tmp_path):
    (stored,) = sorted((scenes / "val2017").iterdir())[:1]
    with Image.open(stored) as image:
        image.save(tmp_path / "cat.webp", lossless=True)
        image.save(tmp_path / "dog.bmp")
    found = list(detect(detector, list_items(detector.task.experiment, [tmp_path])))
    assert [one.list_results()[0]["image_id"] for one in found] == [1, 2]
    (same,) = detect(detector, [stored])
    assert all(np.array_equal(one.detections.boxes, same.detections.boxes) for one in found)
    assert number_pictures([Path("7.jpg"), Path("007.png")]) == [1, 2]  # two numbers of one value tell nothing apart


def test_the_map_of_a_block_is_the_softmax_of_its_own_logits(detector, scenes):
    inputs = {}
    name = "backbone.layer2.0.context_block"
    block = detector.model.get_submodule(name)
    handle = block.register_forward_hook(lambda module, given, z: inputs.setdefault(name, given[0].clone()))
    (one,) = detect(detector, sorted((scenes / "val2017").iterdir())[:1], attention=True)
    handle.remove()
    weight, bias = (tensor.detach().double().numpy() for tensor in (block.conv_mask.weight, block.conv_mask.bias))
    logits = np.einsum("c,chw->hw", weight[0, :, 0, 0], inputs[name][0].double().numpy()) + bias
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert list(one.attention) == [
        f"backbone.layer{stage}.{i}.context_block" for stage, i in ((2, 0), (2, 1), (3, 0), (4, 0))
    ]
    assert one.attention[name].weights.numpy() == pytest.approx(expected, rel=1e-4)
    assert expected.max() > 1.1 * expected.min()  # an even map would prove little


def test_the_map_of_a_non_local_block_is_the_mean_over_its_queries():
    torch.manual_seed(0)
    block = NonLocalBlock(get("coco-r50-1nl").network.backbone.context.block, 8)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.rand(1, 8, 7, 10)
    with record_attention(torch.nn.Sequential(block)) as maps:
        block(x)
    (found,) = maps.values()
    assert (tuple(found.weights.shape), found.queries, found.cover) == ((3, 5), 70, (6 / 7, 1.0))
    assert torch.allclose(found.weights.flatten(), block.attention(x)[0].mean(0), atol=1e-6)


def test_average_pooling_has_no_map():
    block = build(replace(GC, pooling="avg", fusion="scale", ratio=4), 8)
    with record_attention(torch.nn.Sequential(block)) as maps:
        block(torch.rand(1, 8, 4, 4))
    assert maps == {}


def test_a_classifier_ranks_what_its_evaluation_ranks(tmp_path):
    network = prepare(mini.get_at_profile("imagenet-r50-gc-r16", "mini"), tmp_path)
    generator = np.random.default_rng(0)
    for number, (name, size) in enumerate((("a", (40, 50)), ("b", (50, 40)), ("c", (33, 32)))):
        path = tmp_path / "data" / "val" / mini.imagenet.CLASSES[number] / f"{name}.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    data = ImageNet(tmp_path / "data", "val", network.task.inputs, wnids=mini.imagenet.CLASSES)
    expected = list(ClassifierEvaluation(network.model, data).predict([range(3)], network.fabric))
    paths = sorted((tmp_path / "data" / "val").glob("*/*.png"), key=lambda path: path.name)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    one, failed, *others = classify(network, [paths[0], tmp_path / "broken.png", *paths[1:]])
    assert isinstance(failed, Failed)
    assert "broken.png is corrupt" in failed.reason
    names = [category.name for category in list_categories(network.task.experiment)]
    for mine, theirs in zip([one, *others], expected, strict=True):
        assert [names.index(category.name) for category, _ in mine.classes] == theirs.classes
        scores = [score for _, score in mine.classes]
        ratios = np.exp(np.array(theirs.logits) - theirs.logits[0])
        assert np.array(scores) / scores[0] == pytest.approx(ratios, rel=1e-5)
        assert 0 < sum(scores) < 1  # shares of all classes, of which there are more


def test_a_classifier_of_videos_ranks_what_its_evaluation_ranks(tmp_path):
    network = prepare(mini.get_at_profile("kinetics-r50-baseline", "mini"), tmp_path)
    for number in range(2):
        video_files.write(
            tmp_path / "data" / "val" / mini.kinetics.CLASSES[number] / f"v{number}.mp4", frames=30 + 8 * number
        )
    data = Kinetics(tmp_path / "data", "val", network.task.inputs, labels=mini.kinetics.CLASSES)
    expected = list(MultiViewEvaluation(network.model, data).predict([range(2)], network.fabric))
    found = list(classify(network, [data.get_path(index) for index in range(2)]))
    for mine, theirs in zip(found, expected, strict=True):
        assert [score for _, score in mine.classes] == sorted(theirs.mean.tolist(), reverse=True)[:5]
        assert mini.kinetics.CLASSES.index(mine.classes[0][0].name) == theirs.mean.argmax()


def test_categories_are_the_data_sets_own():
    coco = list_categories(get("coco-r50-gc-r16"))
    assert [(one.id, one.name) for one in (coco[0], coco[11], coco[79])] == [
        (1, "person"), (13, "stop sign"), (90, "toothbrush"),
    ]  # fmt: skip
    assert len(coco) == 80
    imagenet = list_categories(get("imagenet-r50-baseline"))
    assert (len(imagenet), imagenet[0].id, imagenet[0].name) == (1000, "n01440764", "tench")
    kinetics = list_categories(get("kinetics-r50-baseline"))
    assert (len(kinetics), kinetics[0].name, kinetics[399].name) == (400, "abseiling", "zumba")
    other = replace(get("coco-r50-gc-r16"), network=replace(get("coco-r50-gc-r16").network, num_classes=3))
    assert [one.name for one in list_categories(other)] == ["class 0", "class 1", "class 2"]


def test_files_of_the_other_kind_are_refused(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(ReproError, match=r"coco-r50-gc-r16 takes photographs, and .*a\.mp4 is a video"):
        list_items(get("coco-r50-gc-r16"), [tmp_path / "a.mp4"])
    with pytest.raises(ReproError, match=r"kinetics-r50-5nl takes videos, and .*a\.jpg is a photograph"):
        list_items(get("kinetics-r50-5nl"), [tmp_path / "a.jpg"])
    assert list_items(get("kinetics-r50-5nl"), [tmp_path]) == [tmp_path / "a.mp4"]

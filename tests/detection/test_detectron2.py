"""The engine on Detectron2's parts: equal to the other engine and to stock Detectron2, and of use to its own tools."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch import nn
from typer.testing import CliRunner

pytest.importorskip(
    "detectron2", reason="Detectron2 is not installed: `nox -s tests-detectron2` installs it and runs these tests"
)

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyConfig, get_cfg, instantiate
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import SimpleTrainer, hooks
from detectron2.evaluation import inference_on_dataset
from detectron2.modeling import build_backbone, build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from repro import experiments
from repro.checkpoints import initial_weights
from repro.cli.export import app
from repro.conversion import convert
from repro.data.coco import CocoDetection, Detections, DetectionSample
from repro.detection import detectron2, torchvision
from repro.detection.detectron2.backbone import add_gcnet_config
from repro.detection.detectron2.export import format_source
from repro.detection.detectron2.names import to_own
from repro.detection.sampling import Matcher
from repro.engine.loop import fit
from repro.engine.schedule import compute_learning_rate
from repro.errors import ReproError
from repro.experiments import EXPERIMENTS, GC, Detector, Insertion, Recipe
from repro.experiments.conventions import AUTHORS, CONTINUOUS, DETECTRON2, MMDETECTION_2, TORCHVISION

pytestmark = pytest.mark.rounding

VARIANTS = {
    "mask-rcnn": {},
    "mask-rcnn-gc-dcn": {"context": Insertion(replace(GC, ratio=4)), "dcn": ("c3", "c4", "c5")},
    "cascade": {},
    "cascade-gc-dcn": {"context": Insertion(replace(GC, ratio=4)), "dcn": ("c3", "c4", "c5")},
}

_WEIGHTS: dict[Detector, dict[str, torch.Tensor]] = {}  #: kept from one test to the next


@pytest.fixture(params=VARIANTS)
def variant(request, spec) -> Detector:
    backbone = replace(spec.backbone, norm="sync", frozen=("c1", "c2"), **VARIANTS[request.param])
    return replace(spec, backbone=backbone, cascade=request.param.startswith("cascade"))


@pytest.fixture
def samples(make_sample) -> list[DetectionSample]:
    """Of different sizes, one with an object that no anchor fits, one without any; the first was larger once."""
    return [
        make_sample((128, 160), ((8, 8, 40, 40), (50, 30, 90, 80), (5, 60, 150, 120)), (0, 2, 1), (200, 251), seed=1),
        make_sample((100, 121), ((5, 5, 60, 60), (70, 4, 73, 95)), (1, 0), seed=2),
        make_sample((64, 64), (), (), seed=3),
    ]


@pytest.fixture
def weights(variant, samples) -> dict[str, torch.Tensor]:
    """Such that outputs differ from place to place, with norm statistics that fit the images."""
    if variant not in _WEIGHTS:
        torch.manual_seed(0)
        model = torchvision.MaskRCNN(variant)
        for layer in (*model.rpn.head.modules(), *model.roi_heads.modules()):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_normal_(layer.weight)
        for name, parameter in model.named_parameters():
            if ".channel_add_conv.3" in name:
                nn.init.normal_(parameter, std=0.2)  # a fresh context block changes nothing
        with torch.no_grad():
            for _ in range(20):
                model(samples)
        _WEIGHTS[variant] = model.state_dict()
    return _WEIGHTS[variant]


def both(spec: Detector, weights: dict, conventions=AUTHORS) -> tuple[nn.Module, nn.Module]:
    engines = torchvision.MaskRCNN(spec, conventions), detectron2.Detectron2MaskRCNN(spec, conventions)
    for engine in engines:
        engine.load_state_dict(weights)
        engine.generator.manual_seed(7)
    return engines


def same(found: list[Detections], expected: list[Detections], at_least: int) -> None:
    assert sum(len(image.boxes) for image in expected) >= at_least
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.image_id == theirs.image_id
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=0.05, rtol=0)
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4, rtol=0)
        for one, other in zip(ours.masks, theirs.masks, strict=True):
            assert (coco_mask.decode(one) != coco_mask.decode(other)).mean() < 1e-3


def test_weights_of_one_run_in_the_other(variant, weights, tmp_path):
    torch.save(weights, tmp_path / "weights.pt")
    second = detectron2.Detectron2MaskRCNN(variant)
    assert second.load_state_dict(torch.load(tmp_path / "weights.pt")) == ([], [])
    torch.save(second.state_dict(), tmp_path / "back.pt")
    back = torch.load(tmp_path / "back.pt")
    assert {*back} == {*weights}
    assert all(torch.equal(back[name], value) for name, value in weights.items())
    assert torchvision.MaskRCNN(variant).load_state_dict(back) == ([], [])


def test_what_weights_lack_has_this_projects_name(spec):
    weights = torchvision.MaskRCNN(spec).state_dict()
    weights["fpn.unknown"] = weights.pop("fpn.inner_blocks.2.0.bias")
    missing, unexpected = detectron2.Detectron2MaskRCNN(spec).load_state_dict(weights, strict=False)
    assert (missing, unexpected) == (["fpn.inner_blocks.2.0.bias"], ["fpn.unknown"])


def test_both_engines_detect_the_same(variant, weights, samples):
    for conventions in (AUTHORS, CONTINUOUS, MMDETECTION_2, TORCHVISION):
        one, other = both(variant, weights, conventions)
        same(other.eval()(samples), one.eval()(samples), at_least=3 * variant.detections)


@pytest.mark.parametrize("cascade", [False, True])
def test_both_engines_match_boxes_with_the_same_objects(spec, cascade):
    """Overlaps in steps of a tenth, so that there are ties, objects without a good box and boxes claimed by several."""
    spec = replace(spec, cascade=cascade)
    one, other = torchvision.MaskRCNN(spec), detectron2.Detectron2MaskRCNN(spec)
    heads = getattr(other.rcnn.roi_heads, "stages", [other.rcnn.roi_heads])
    theirs = [other.rcnn.proposal_generator.anchor_matcher, *(stage.proposal_matcher for stage in heads)]
    ours = [one.rpn.matcher, *(stage.matcher for stage in one.roi_heads.stage_heads)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        iou = torch.randint(0, 11, (4, 12), generator=generator) / 10
        iou *= torch.tensor([1.0, 0.2, 0.7, 1.0])[:, None]
        for matcher, expected in zip(theirs, ours, strict=True):
            matches, labels = matcher(iou)
            index = expected(iou)
            foreground, ignored = index >= 0, index == Matcher.BETWEEN_THRESHOLDS
            assert torch.equal(labels == 1, foreground)
            assert torch.equal(labels == -1, ignored)
            assert torch.equal(matches[labels == 1], index[labels == 1])


def test_a_detection_thinner_than_a_hundredth_of_a_pixel_is_dropped(spec):
    predictor = detectron2.Detectron2MaskRCNN(spec).rcnn.roi_heads.box_predictor
    boxes = torch.tensor([[10.0, 10.0, 30.0, 30.0], [59.995, 10.0, 60.0, 30.0]])
    logits = torch.tensor([[0.0, 5.0, 0.0, 0.0]] * 2)
    proposals = [Instances((50, 60), proposal_boxes=Boxes(boxes))]
    (found,), _ = predictor.inference((logits, torch.zeros(2, 4 * spec.num_classes)), proposals)
    assert found.pred_boxes.tensor.tolist() == [[10, 10, 30, 30]]
    assert found.pred_classes.tolist() == [1]


@pytest.mark.parametrize("sampling", [{}, {"rpn_samples": 4096, "roi_samples": 512}], ids=["drawn", "exhaustive"])
def test_both_engines_are_trained_alike(variant, weights, samples, sampling):
    """The same seed samples the same anchors and RoIs in both."""
    one, other = both(replace(variant, **sampling), weights)
    losses, expected = other(samples), one(samples)
    assert list(losses) == list(expected)
    for name, term in expected.items():
        assert term > 0
        assert losses[name].item() == pytest.approx(term.item(), rel=1e-5, abs=1e-6), name
    sum(losses.values()).backward()
    sum(expected.values()).backward()
    gradients = {to_own(name.removeprefix("rcnn.")): value for name, value in other.named_parameters()}
    for name, parameter in one.named_parameters():
        assert gradients[name].requires_grad == parameter.requires_grad, name
        if parameter.requires_grad:
            scale = parameter.grad.abs().max().item()
            torch.testing.assert_close(gradients[name].grad, parameter.grad, rtol=1e-3, atol=1e-4 * scale + 1e-6)


def test_the_loop_ends_in_the_same_weights(variant, weights, samples, tmp_path):
    class Data:
        def __len__(self) -> int:
            return len(samples)

        def sample(self, index: int, **_) -> DetectionSample:
            return samples[index]

    recipe = Recipe(epochs=2, batch_size=3, learning_rate=0.01, schedule="cosine", initial_weights="random")
    ends = []
    for engine in both(variant, weights):
        name = type(engine).__module__.rsplit(".", 1)[1]
        fit(engine, recipe, Data(), identity=name, directory=tmp_path / name, seed=0)
        ends.append(engine.state_dict())
    for name, value in ends[0].items():
        if value.is_floating_point():
            torch.testing.assert_close(ends[1][name], value, rtol=1e-3, atol=1e-4)
    assert not torch.equal(ends[0]["fpn.inner_blocks.0.0.weight"], weights["fpn.inner_blocks.0.0.weight"])


def test_images_without_objects(variant, make_sample):
    model = detectron2.Detectron2MaskRCNN(variant)
    losses = model([make_sample((64, 64), (), (), seed=seed) for seed in (1, 2)])
    total = sum(losses.values())
    total.backward()
    assert total.isfinite()
    assert all(term == 0 for name, term in losses.items() if "box" in name or "mask" in name)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_a_diverged_network_has_losses_that_show_it(spec, samples):
    model = detectron2.Detectron2MaskRCNN(spec)
    nn.init.constant_(model.rcnn.proposal_generator.rpn_head.anchor_deltas.bias, float("nan"))
    assert not sum(model(samples).values()).isfinite()


@pytest.mark.parametrize("cascade", [False, True])
def test_losses_in_bfloat16_are_close(spec, samples, cascade):
    torch.manual_seed(0)
    model = detectron2.Detectron2MaskRCNN(replace(spec, cascade=cascade))
    model.generator.manual_seed(7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(samples)
    model.generator.manual_seed(7)
    exact = model(samples)
    assert {term.dtype for term in rough.values()} == {torch.float32}
    assert sum(rough.values()).item() == pytest.approx(sum(exact.values()).item(), rel=0.1)


def test_initial_weights_are_the_authors(spec):
    torch.manual_seed(0)
    weights = detectron2.Detectron2MaskRCNN(replace(spec, num_classes=30)).state_dict()
    for name, std in (
        ("roi_heads.box_predictor.cls_score", 0.01),
        ("roi_heads.box_predictor.bbox_pred", 0.001),
        ("rpn.head.bbox_pred", 0.01),
        ("roi_heads.box_head.fc6", (2 / (8 * 49 + 16)) ** 0.5),
        ("fpn.inner_blocks.0.0", (2 / (16 + 8)) ** 0.5),
        ("fpn.inner_blocks.3.0", (2 / (128 + 8)) ** 0.5),
        ("roi_heads.mask_predictor.mask_fcn_logits", (2 / 31) ** 0.5),
    ):
        assert weights[f"{name}.weight"].std().item() == pytest.approx(std, rel=0.2), name
        assert not weights[f"{name}.bias"].any()


def test_full_size_on_a_photograph(coco_tiny):
    network = experiments.get("coco-r50-gc-r16").network
    network = replace(network, backbone=replace(network.backbone, norm="bn", frozen=()))
    data = CocoDetection(coco_tiny, "val2017", network.num_classes, network.short_side, network.long_side)
    sample = data.sample(0)
    torch.manual_seed(0)
    first = torchvision.MaskRCNN(network)
    for layer in first.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the statistics of the one image that follows
    with torch.no_grad():
        first.backbone.features(first.batch([sample]).tensors)
    for layer in (first.rpn.head.cls_logits, first.rpn.head.bbox_pred):
        nn.init.normal_(layer.weight, std=0.05)
    nn.init.xavier_normal_(first.roi_heads.box_predictor.cls_score.weight, gain=0.45)  # scores of 0.5 and more
    one, other = both(network, first.state_dict())
    same(other.eval()([sample]), one.eval()([sample]), at_least=100)


def stock(**options) -> nn.Module:
    """Detectron2's own Mask R-CNN with R50 and FPN, narrower and with random weights."""
    cfg = get_cfg()
    configs = Path(__import__("detectron2").__file__).parent / "model_zoo" / "configs"
    cfg.merge_from_file(str(configs / "COCO-InstanceSegmentation" / "mask_rcnn_R_50_FPN_1x.yaml"))
    small = {
        "MODEL.DEVICE": "cpu", "MODEL.WEIGHTS": "", "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 32, "MODEL.RESNETS.WIDTH_PER_GROUP": 8, "MODEL.FPN.OUT_CHANNELS": 16,
        "MODEL.ROI_BOX_HEAD.FC_DIM": 64, "MODEL.ROI_MASK_HEAD.CONV_DIM": 16, "MODEL.ROI_HEADS.NUM_CLASSES": 7,
    }  # fmt: skip
    for key, value in (small | options).items():
        cfg.merge_from_list([key, value])
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight.std() < 0.02:
            nn.init.xavier_normal_(layer.weight)
        if hasattr(layer, "running_var"):
            nn.init.uniform_(layer.weight, 0.3, 0.8)
            nn.init.normal_(layer.bias, std=0.1)
            nn.init.uniform_(layer.running_var, 50, 200) if layer is model.backbone.bottom_up.stem.conv1.norm else None
    return model


@pytest.mark.parametrize(
    "build", [torchvision.MaskRCNN, detectron2.Detectron2MaskRCNN], ids=["torchvision", "detectron2"]
)
def test_stock_detectron2_detects_the_same(build, make_sample):
    theirs = stock()
    network = Detector(
        replace(experiments.get("coco-r50-baseline").network.backbone, width=8, norm="bn", frozen=()),
        num_classes=7, fpn_channels=16, box_channels=64, mask_channels=16,
    )  # fmt: skip
    converted = convert(theirs.state_dict(), "detectron2", network)
    ours = build(converted.network, converted.conventions).eval()
    missing, unexpected = ours.load_state_dict(converted.tensors, strict=False)
    assert {*missing} <= {*converted.missing}
    assert not unexpected
    assert converted.conventions == DETECTRON2
    sample = make_sample((256, 320), original=(301, 377), seed=4)
    with torch.no_grad():
        (output,) = theirs([{"image": sample.image.flip(0), "height": 301, "width": 377}])
    fields = output["instances"]
    (found,) = ours([sample])
    expected = Detections(
        image_id=4,
        boxes=fields.pred_boxes.tensor.numpy(),
        scores=fields.scores.numpy(),
        labels=fields.pred_classes.numpy(),
        masks=[coco_mask.encode(np.asfortranarray(mask)) for mask in fields.pred_masks.numpy().astype(np.uint8)],
    )
    same([found], [expected], at_least=50)


def test_every_coco_experiment_can_be_exported(tmp_path):
    names = [name for name, experiment in EXPERIMENTS.items() if experiment.dataset == "coco"]
    assert len(names) == 33
    for name in names:
        experiment = experiments.get(name)
        (tmp_path / "config.py").write_text(format_source(experiment))
        configuration = LazyConfig.load(str(tmp_path / "config.py"))
        with torch.device("meta"):
            model = instantiate(configuration.model)
        assert model.backbone.bottom_up.spec == experiment.network.backbone
        assert len(getattr(model.roi_heads, "stages", [0])) == (3 if experiment.network.cascade else 1)
        assert configuration.train.init_checkpoint == f"repro://{experiment.recipe.initial_weights}"


def test_exported_from_the_command_line(tmp_path):
    def export(*arguments: str):
        return CliRunner().invoke(app, ["detectron2", *arguments])

    path = tmp_path / "gc.py"
    assert str(path) in export("coco-r50-gc-r16", "--output", str(path)).stdout
    assert path.read_text() == export("coco-r50-gc-r16").stdout
    for arguments, said in (
        (("imagenet-r50-gc-r16",), "only the experiments on COCO"),
        (("coco-r50-gc-r16", "--output", str(tmp_path / "gc.txt")), r"ends in \.py"),
    ):
        error = export(*arguments).exception
        assert isinstance(error, ReproError)
        assert re.search(said, str(error))


def test_exported_schedule_is_the_recipes(tmp_path):
    experiment = experiments.get("coco-r50-gc-r16")
    (tmp_path / "config.py").write_text(format_source(experiment))
    configuration = LazyConfig.load(str(tmp_path / "config.py"))
    multiplier, total = instantiate(configuration.lr_multiplier), configuration.train.max_iter
    assert total == 12 * 7330
    for iteration in (0, 1, 250, 499, 500, 501, 58639, 58640, 80629, 80630, total - 1):
        rate = configuration.optimizer.lr * multiplier(iteration / total)
        assert rate == pytest.approx(compute_learning_rate(experiment.recipe, iteration, 7330), rel=1e-6), iteration


@pytest.fixture
def mini(tmp_path, make_sample) -> Callable[[], str]:
    """The name under which Detectron2 knows a generated data set of four images."""
    from PIL import Image

    images, annotations = [], []
    for number in range(1, 5):
        sample = make_sample((96, 128), seed=number)
        Image.fromarray(sample.image.permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 96, "width": 128})
        for box, label in zip(sample.boxes.tolist(), sample.labels.tolist(), strict=True):
            x1, y1, x2, y2 = box
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "iscrowd": 0,
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1),
                "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]],
            })  # fmt: skip
    categories = [{"id": number, "name": str(number)} for number in (1, 2, 3)]
    (tmp_path / "instances.json").write_text(
        json.dumps({"info": {}, "images": images, "annotations": annotations, "categories": categories})
    )
    register_coco_instances("repro_mini", {}, str(tmp_path / "instances.json"), str(tmp_path))
    yield "repro_mini"
    DatasetCatalog.remove("repro_mini")
    MetadataCatalog.remove("repro_mini")


def test_detectron2s_own_tools_train_an_exported_file(variant, mini, tmp_path):
    """What its tools/lazyconfig_train_net.py does with the file, on a CPU and on few images."""
    experiment = experiments.get("coco-r50-gc-r16")
    network = replace(variant, short_side=96, long_side=128, score_threshold=0.0)
    (tmp_path / "config.py").write_text(format_source(replace(experiment, network=network)))
    configuration = LazyConfig.apply_overrides(
        LazyConfig.load(str(tmp_path / "config.py")),
        [
            f"dataloader.{key}={value}"
            for key, value in {
                "train.dataset.names": mini, "test.dataset.names": mini, "evaluator.dataset_name": mini,
                "train.total_batch_size": 2, "train.num_workers": 0, "test.num_workers": 0,
                "evaluator.output_dir": tmp_path / "evaluation",
            }.items()
        ],
    )  # fmt: skip
    torch.manual_seed(0)
    model = instantiate(configuration.model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    configuration.optimizer.params.model = model
    optimizer = instantiate(configuration.optimizer)
    trainer = SimpleTrainer(model, instantiate(configuration.dataloader.train), optimizer)
    trainer.register_hooks([hooks.LRScheduler(scheduler=instantiate(configuration.lr_multiplier))])
    trainer.train(0, 3)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.startswith("roi_heads.") for name in moved)
    assert any(name.startswith("backbone.bottom_up.layer4.") for name in moved)
    assert not any(name.startswith(("backbone.bottom_up.conv1.", "backbone.bottom_up.layer1.")) for name in moved)
    results = inference_on_dataset(
        model, instantiate(configuration.dataloader.test), instantiate(configuration.dataloader.evaluator)
    )
    assert 0 <= results["bbox"]["AP"] <= 100
    assert 0 <= results["segm"]["AP"] <= 100
    weights = {to_own(name): value for name, value in model.state_dict().items()}
    assert torchvision.MaskRCNN(network).load_state_dict(weights) == ([], [])


def test_an_exported_network_loses_what_the_engine_loses(variant, samples, tmp_path):
    engine = detectron2.Detectron2MaskRCNN(variant)
    (tmp_path / "config.py").write_text(format_source(replace(experiments.get("coco-r50-gc-r16"), network=variant)))
    exported = instantiate(LazyConfig.load(str(tmp_path / "config.py")).model)
    exported.load_state_dict(engine.rcnn.state_dict())
    torch.manual_seed(7)  # what Detectron2's own tools seed
    engine.generator.manual_seed(7)
    with EventStorage():
        losses = exported([engine._to_input(sample, with_objects=True) for sample in samples])
    torch.testing.assert_close(sum(losses.values()), sum(engine(samples).values()))


def test_initial_weights_by_path(spec, tmp_path, monkeypatch):
    backbone = torchvision.MaskRCNN(spec).backbone.state_dict()
    torch.save(backbone | {"fc.weight": torch.zeros(2, 2)}, tmp_path / "resnet-1234.pth")
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(initial_weights, "fetch", lambda weights: tmp_path / f"{weights}.pth")
    digits = hashlib.sha256((tmp_path / "resnet-1234.pth").read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(initial_weights, "get_sha256_prefix", lambda weights: digits)
    model = detectron2.Detectron2MaskRCNN(spec)
    DetectionCheckpointer(model.rcnn).load("repro://resnet-1234")
    assert all(torch.equal(value, backbone[name]) for name, value in model.backbone.state_dict().items())


def test_backbones_are_in_detectron2s_registry():
    cfg = get_cfg()
    add_gcnet_config(cfg)
    cfg.merge_from_list(["MODEL.BACKBONE.NAME", "build_gcnet_fpn_backbone", "MODEL.GCNET.EXPERIMENT", "coco-r50-gc-r4"])
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    with torch.device("meta"):
        pyramid = build_backbone(cfg)
        levels = pyramid(torch.empty(1, 3, 64, 96))
    assert {name: tuple(level.shape[2:]) for name, level in levels.items()} == {
        "p2": (16, 24), "p3": (8, 12), "p4": (4, 6), "p5": (2, 3), "p6": (1, 2)
    }  # fmt: skip
    assert {name: shape.stride for name, shape in pyramid.output_shape().items()} == {
        "p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64
    }  # fmt: skip
    assert "layer4.2.context_block.conv_mask.weight" in pyramid.bottom_up.state_dict()

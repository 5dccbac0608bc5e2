"""Image classifiers: torchvision's and timm's own networks, and mmpretrain's as published (`classifiers_peer`)."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
import torchvision
from classifiers_peer import Tensors, se_resnet50
from torch import Tensor, nn

from repro import conversion
from repro.checkpoints import registry
from repro.conversion import build, convert, recognise
from repro.errors import ReproError
from repro.experiments import SE, Backbone, Classifier, Insertion, get, preprocessing
from repro.models.conventions import CAFFE

pytestmark = pytest.mark.rounding

BASELINE = get("imagenet-r50-baseline").network
SE_NETWORK = registry.load().get("timm/seresnet50.ra2_in1k").adapt_network(get("imagenet-r50-avg-scale").network)
LEGACY = replace(SE_NETWORK, backbone=replace(SE_NETWORK.backbone, stride_in="1x1"))
NETWORKS = {"resnet50": BASELINE, "seresnet50": SE_NETWORK, "legacy_seresnet50": LEGACY}


def images(size: tuple[int, int] = (75, 64)) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


def randomised(model: nn.Module) -> nn.Module:
    """In evaluation mode, and nothing in it is zero or one that training would have changed."""
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.4, 0.9),
                (module.bias, -0.3, 0.3),
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 1.5),
            ):
                tensor.data.uniform_(low, high, generator=generator)
        elif getattr(module, "bias", None) is not None:
            module.bias.data.normal_(0, 0.2, generator=generator)
    return model.eval()


@torch.no_grad()
def largest_difference(converted, theirs: Tensor, x: Tensor) -> float:
    """In units of the spread of the logits."""
    ours = build(converted)(x)
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.05
    return float((ours - theirs).abs().max() / theirs.std())


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("resnet50", Backbone()),
        ("resnet101", Backbone(blocks=(3, 4, 23, 3))),
        ("resnext50_32x4d", Backbone(groups=32, width_per_group=4)),
    ],
)
def test_torchvisions_own_networks_give_the_same_logits(name: str, backbone: Backbone) -> None:
    model = randomised(torchvision.models.get_model(name, weights=None))
    converted = convert(model.state_dict(), "torchvision", Classifier(backbone))
    assert (converted.missing, converted.unexpected, converted.reshaped) == ((), (), ())
    with torch.no_grad():
        assert torch.equal(build(converted)(images()), model(images()))


@pytest.mark.parametrize("name", NETWORKS)
def test_timms_own_networks_give_the_same_logits(name: str) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    model = randomised(timm.create_model(name, pretrained=False))
    tensors = model.state_dict()
    if any(".se." in key or key.startswith("layer0.") for key in tensors):
        assert recognise(tensors) == "timm"
    else:  # its keys are torchvision's
        with pytest.raises(ReproError, match="say which with --weights torchvision=FILE"):
            recognise(tensors)
    converted = convert(tensors, "timm", NETWORKS[name])
    assert (converted.missing, converted.unexpected, converted.reshaped) == ((), (), ())
    for size in ((75, 64), (224, 224)):
        x = images(size)[:1]
        with torch.no_grad():
            theirs = model(x)
        assert largest_difference(converted, theirs, x) < 1e-5


@pytest.mark.parametrize("se", [False, True])
def test_mmpretrains_networks_give_the_same_logits(se: bool) -> None:
    tensors = Tensors(3)
    theirs = se_resnet50(tensors, images(), se)
    # As published: "25.56M" and "28.09M".
    parameters = sum(
        v.numel() for k, v in tensors.items() if not k.endswith(("running_mean", "running_var", "tracked"))
    )
    assert parameters == (28_088_024 if se else 25_557_032)
    assert recognise(tensors) == "mmpretrain"
    converted = convert(tensors, "mmpretrain", SE_NETWORK if se else BASELINE)
    assert (converted.missing, converted.unexpected, converted.reshaped) == ((), (), ())
    assert largest_difference(converted, theirs, images()) < 1e-5


def test_files_older_than_the_counter_of_batches_are_complete_without_it() -> None:
    model = randomised(torchvision.models.resnet50())
    tensors = {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    converted = convert(tensors, "torchvision", BASELINE)
    assert len(converted.missing) == 53
    with torch.no_grad():
        assert torch.equal(build(converted)(images()), model(images()))


def legacy_keys(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """mmpretrain's names -> those of the port of the SENet authors' Caffe model."""
    renamed = {}
    for key, value in tensors.items():
        key = key.removeprefix("backbone.").replace("head.fc", "last_linear")
        key = key.replace("se_layer.conv1.conv", "se_module.fc1").replace("se_layer.conv2.conv", "se_module.fc2")
        renamed[f"layer0.{key}" if key.startswith(("conv1", "bn1")) else key] = value
    return renamed


@pytest.fixture(scope="module")
def mmpretrain_se() -> dict[str, Tensor]:
    tensors = Tensors(4)
    se_resnet50(tensors, images((32, 32)))
    return dict(tensors)


def test_weights_from_caffe_get_an_unpadded_stem_and_early_strides(mmpretrain_se: dict[str, Tensor]) -> None:
    converted = convert(legacy_keys(mmpretrain_se), "timm", LEGACY)
    assert converted.conventions == CAFFE
    model = build(converted)
    x = images((64, 64))
    stem = model.relu(model.bn1(model.conv1(x)))
    windows = stem.unfold(2, 3, 2).unfold(3, 3, 2).amax((4, 5))  # those that lie inside
    assert torch.equal(model.maxpool(stem)[:, :, :-1, :-1], windows)
    assert model.maxpool(stem).shape == (2, 64, 16, 16)
    with pytest.raises(ReproError, match="stride_in '1x1', not '3x3'"):
        convert(legacy_keys(mmpretrain_se), "timm", SE_NETWORK)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"layer_norm": True}, "layer_norm False, not True"),
        ({"fusion": "add"}, "fusion 'scale', not 'add'"),
        ({"pooling": "att"}, "pooling 'avg', not 'att'"),
        ({"relu": False}, "relu True, not False"),
    ],
)
def test_se_weights_are_refused_by_networks_of_other_blocks(changes, says, mmpretrain_se) -> None:
    context = Insertion(replace(SE, **changes), SE_NETWORK.backbone.context.sites)
    network = replace(BASELINE, backbone=replace(BASELINE.backbone, context=context))
    with pytest.raises(ReproError, match=says):
        convert(mmpretrain_se, "mmpretrain", network)


def test_se_weights_are_refused_where_blocks_are_lacking(mmpretrain_se: dict[str, Tensor]) -> None:
    with pytest.raises(ReproError, match=r"SE blocks where the network has no context blocks.*layer1\.0\.se_layer"):
        convert(mmpretrain_se, "mmpretrain", BASELINE)
    c3_to_c5 = Insertion(SE)
    with pytest.raises(ReproError, match=r"SE blocks where the network has no context blocks.*layer1\.0\.se_layer"):
        convert(mmpretrain_se, "mmpretrain", replace(BASELINE, backbone=replace(BASELINE.backbone, context=c3_to_c5)))
    after_add = Insertion(SE, SE_NETWORK.backbone.context.sites, "afterAdd")
    with pytest.raises(ReproError, match="position 'after1x1', not 'afterAdd'"):
        convert(mmpretrain_se, "mmpretrain", replace(BASELINE, backbone=replace(BASELINE.backbone, context=after_add)))


@pytest.fixture(scope="module")
def resnet50() -> dict[str, Tensor]:
    return torchvision.models.resnet50().state_dict()


def test_files_of_other_networks_are_refused_with_the_first_key_and_the_cause(resnet50: dict[str, Tensor]) -> None:
    def refused(changes: dict[str, Tensor | None], network: Classifier = BASELINE, format: str = "torchvision") -> str:
        tensors = {key: value for key, value in {**resnet50, **changes}.items() if value is not None}
        with pytest.raises(ReproError) as error:
            convert(tensors, format, network)
        return str(error.value)

    assert "lacks layer3.2.bn1.bias" in refused({"layer3.2.bn1.bias": None})
    assert "layer3.2.bn1.gamma is unknown" in refused({"layer3.2.bn1.gamma": torch.ones(1)})
    assert "tells other classes apart" in refused({"fc.weight": torch.ones(91, 2048), "fc.bias": torch.ones(91)})
    assert "(91, 2048) and should have (1000, 2048)" in refused({"fc.weight": torch.ones(91, 2048)})
    assert "has several convolutions" in refused({"conv1.weight": None, "conv1.0.weight": torch.ones(32, 3, 3, 3)})
    deeper = Classifier(Backbone(blocks=(3, 4, 23, 3)))
    assert "fewer layers" in refused({}, deeper)
    assert "widths or groups" in refused({}, Classifier(Backbone(groups=32, width_per_group=4)))
    assert "context blocks where the file has none" in refused({}, get("imagenet-r50-gc-r16").network)
    assert "context blocks where the file has none" in refused({}, SE_NETWORK, "timm")
    assert "dimensions 2, not 3" in refused({}, get("kinetics-r50-baseline").network)
    assert "stride_in '3x3', not '1x1'" in refused({}, Classifier(Backbone(stride_in="1x1")))


@pytest.mark.parametrize(
    ("format", "tensors", "says"),
    [
        ("timm", {"stem.conv1.conv.weight": 0, "stages.0.0.attn.conv_attn.weight": 0}, "after the 3x3 convolution"),
        ("cgnl", {}, "compact generalised non-local"),
        ("caffe2", {}, "channel order"),
        ("pyslowfast", {}, "not converted"),
        ("mmaction", {}, "not converted"),
    ],
)
def test_weights_without_a_converter_are_refused_with_the_reason(format, tensors, says) -> None:
    tensors = {key: torch.zeros(1) for key in tensors}
    with pytest.raises(ReproError, match=says):
        convert(tensors, format, get("imagenet-r50-1gc").network)


def test_every_format_of_the_registry_is_converted_or_refused_with_a_reason() -> None:
    known = {*conversion.FORMATS, *conversion.NOT_CONVERTED}
    assert {*get_args(registry.Format)} <= known


@pytest.mark.parametrize(("weights", "name"), [("IMAGENET1K_V1", "torchvision/resnet50-0676ba61")])
def test_inputs_are_those_of_torchvisions_preset(weights: str, name: str) -> None:
    preset = torchvision.models.ResNet50_Weights[weights].transforms()
    found = preprocessing.preprocessing_for("torchvision", name)
    assert (found.resize, found.crop, found.mean, found.std) == (
        preset.resize_size[0], preset.crop_size[0], tuple(preset.mean), tuple(preset.std)
    )  # fmt: skip
    assert (found.interpolation, found.maximum) == (preset.interpolation.value, 1)


@pytest.mark.parametrize(
    "name", [entry.id for entry in registry.load().entries if entry.format == "timm" and "gcres" not in entry.id]
)
def test_inputs_are_those_of_timms_configuration(name: str) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    config = timm.get_pretrained_cfg(name.removeprefix("timm/"))
    found = preprocessing.preprocessing_for("timm", name)
    # Its own size for tests is another for some; the registry's figures are those at 224 pixels.
    assert (found.crop, found.resize) == (224, int(224 / config.crop_pct))
    assert (found.interpolation, found.mean, found.std) == (config.interpolation, config.mean, config.std)


def test_every_converted_classifier_of_the_registry_has_its_inputs() -> None:
    classifiers = [entry for entry in registry.load().entries if entry.serves and not entry.obstacle]
    found = {
        entry.id: preprocessing.preprocessing_for(entry.format, entry.id)
        for entry in classifiers
        if any(serves.experiment.startswith(("imagenet", "kinetics")) for serves in entry.serves)
    }
    for name, inputs in found.items():
        assert (inputs.class_order == "wnid") == (not name.startswith(("mmaction2", "pytorchvideo"))), name
    with pytest.raises(ReproError, match="detectron2"):
        preprocessing.preprocessing_for("detectron2")

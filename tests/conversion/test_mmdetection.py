"""The authors' files and mmdetection's own, against the architecture as published (`mmdetection_peer`)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from mmdetection_peer import Peer
from torch import Tensor, nn
from torchvision.models.detection.rpn import concat_box_prediction_layers

from repro.conversion import build, convert, recognise
from repro.errors import ReproError
from repro.experiments import ALL_STAGES, EXPERIMENTS, GC, Backbone, Classifier, Detector, Insertion
from repro.experiments.conventions import MMDETECTION_1, MMDETECTION_2

pytestmark = pytest.mark.rounding

#: Everything small: the converter knows no sizes.
SMALL = {"blocks": (1, 2, 2, 1), "stem": 8, "classes": 3, "fpn": 8, "fc": 16, "mask": 4}
BACKBONE = Backbone(blocks=(1, 2, 2, 1), width=8, norm="sync")
NETWORK = Detector(BACKBONE, num_classes=3, fpn_channels=8, box_channels=16, mask_channels=4)


def with_context(ratio: int) -> Insertion:
    return Insertion(replace(GC, ratio=ratio), ALL_STAGES)


#: Every kind of network of Table 3(a): name, the file's and ours.
KINDS = {
    "baseline": ({}, NETWORK),
    "gc": ({"ratio": 1 / 16}, replace(NETWORK, backbone=replace(BACKBONE, context=with_context(16)))),
    "resnext": (
        {"groups": 4, "base_width": 16, "ratio": 1 / 4},
        replace(NETWORK, backbone=replace(BACKBONE, groups=4, width_per_group=16, context=with_context(4))),
    ),
    "cascade": ({"cascade": True}, replace(NETWORK, cascade=True)),
    "dcn-cascade": (
        {"groups": 4, "base_width": 16, "dcn": True, "cascade": True, "ratio": 1 / 4},
        replace(
            NETWORK,
            backbone=replace(BACKBONE, groups=4, width_per_group=16, dcn=("c3", "c4", "c5"), context=with_context(4)),
            cascade=True,
        ),
    ),
}
FORMATS = {1: "mmdetection1", 2: "mmdetection2"}


def peer(version: int, seed: int = 0, **options) -> Peer:
    """A detector with random weights and statistics: values of float32 in float64, in which it computes."""
    torch.manual_seed(seed)
    model = Peer(version, **SMALL | options)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.1)
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 2)
        elif isinstance(layer, nn.LayerNorm):
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return model.double().eval()


def read_boxes(stage: nn.Module, pooled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of the background and of the classes, and deltas of the classes, read as `RoIHeads.select` does."""
    logits, deltas = stage.box_predictor(stage.box_head(pooled))
    deltas = deltas.unflatten(1, (-1, 4))
    return logits[:, 0], logits[:, 1:], deltas[:, 1:] if deltas.shape[1] > 1 else deltas


def close(ours: Tensor, theirs: Tensor) -> None:
    # The region proposal network and the predictors of the detector answer in float32.
    scale = theirs.abs().max().item()
    assert scale > 1e-3
    assert torch.allclose(ours.double(), theirs, rtol=0, atol=(1e-6 if ours.dtype == torch.float32 else 1e-12) * scale)


@torch.no_grad()
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_every_part_computes_what_the_file_computed(kind: str, version: int) -> None:
    options, network = KINDS[kind]
    theirs = peer(version, **options)
    converted = convert(theirs.state_dict(), FORMATS[version], network)
    ours = build(converted).double()
    assert converted.network == network
    assert converted.format == FORMATS[version]

    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    stages = theirs.backbone(images)
    features = ours.backbone.features(images)
    for own, their in zip(features.values(), stages, strict=True):
        close(own, their)
    pyramid, levels = ours.fpn(features), theirs.neck(stages)
    for own, their in zip(pyramid.values(), levels, strict=True):
        close(own, their)
    objectness, deltas = concat_box_prediction_layers(*ours.rpn.head(list(pyramid.values())))
    expected = [theirs.rpn_head(level) for level in levels]
    close(objectness.flatten(), torch.cat([scores for scores, _ in expected], dim=1).flatten())
    close(deltas, torch.cat([boxes for _, boxes in expected], dim=1).flatten(0, 1))
    pooled = torch.randn(5, 8, 7, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    masked = torch.randn(5, 8, 14, 14, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    own_stages = list(ours.roi_heads.stages) if network.cascade else [ours.roi_heads]
    for stage, (box, mask) in zip(own_stages, theirs.heads(), strict=True):
        for own, their in zip(read_boxes(stage, pooled), box(pooled), strict=True):
            close(own, their)
        close(stage.mask_predictor(stage.mask_head(masked))[:, 1:], mask(masked))


@pytest.mark.parametrize(("version", "conventions"), [(1, MMDETECTION_1), (2, MMDETECTION_2)])
def test_the_conventions_are_those_of_the_version(version: int, conventions) -> None:
    assert convert(peer(version).state_dict(), FORMATS[version], NETWORK).conventions == conventions


def test_backbones_in_caffe_style_take_unscaled_bgr() -> None:
    network = replace(NETWORK, backbone=replace(BACKBONE, stride_in="1x1"))
    theirs = peer(2, style="caffe")
    converted = convert(theirs.state_dict(), "mmdetection2", network)
    assert converted.conventions.color == "BGR"
    assert (converted.conventions.mean, converted.conventions.std) == ((103.53, 116.28, 123.675), (1.0, 1.0, 1.0))
    assert converted.conventions.aligned
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        close(build(converted).double().backbone.features(images)["c5"], theirs.backbone(images)[-1])


def test_the_record_says_what_was_changed() -> None:
    assert convert(peer(1).state_dict(), "mmdetection1", NETWORK).reshaped == ()
    reshaped = convert(peer(2).state_dict(), "mmdetection2", NETWORK).reshaped
    assert sorted({key.split(":")[0] for key in reshaped}) == [
        f"roi_head.{head}.{kind}"
        for head in ("bbox_head.fc_cls", "bbox_head.fc_reg", "mask_head.conv_logits")
        for kind in ("bias", "weight")
    ]
    cascade = convert(peer(2, cascade=True).state_dict(), "mmdetection2", replace(NETWORK, cascade=True)).reshaped
    assert not [key for key in cascade if "fc_reg" in key]
    assert len(cascade) == 3 * 2 * 2


def test_files_without_counters_of_batches_are_complete() -> None:
    file = {key: value for key, value in peer(1).state_dict().items() if "num_batches_tracked" not in key}
    converted = convert(file, "mmdetection1", NETWORK)
    assert converted.missing
    assert all(key.endswith("num_batches_tracked") for key in converted.missing)
    assert {*converted.missing} | {*converted.tensors} == {*build(converted).state_dict()}


def test_frozen_networks_have_no_use_for_the_counters() -> None:
    network = replace(NETWORK, backbone=replace(BACKBONE, norm="frozen"))
    converted = convert(peer(1).state_dict(), "mmdetection1", network)
    assert converted.unexpected
    assert all(key.endswith("num_batches_tracked") for key in converted.unexpected)
    build(converted)


def test_later_files_of_version_1_name_the_offsets_as_version_2() -> None:
    options, network = KINDS["dcn-cascade"]
    file = peer(1, **options).state_dict()
    later = {key.replace("conv2_offset.", "conv2.conv_offset."): value for key, value in file.items()}
    assert later.keys() != file.keys()
    former, latter = (convert(tensors, "mmdetection1", network).tensors for tensors in (file, later))
    assert former.keys() == latter.keys()
    assert all(torch.equal(former[key], latter[key]) for key in former)


@pytest.mark.parametrize("version", [1, 2])
def test_files_are_recognised_by_their_keys(version: int) -> None:
    assert recognise(peer(version).state_dict()) == FORMATS[version]


def test_files_of_nobody_are_not_guessed_at() -> None:
    for tensors in ({}, {"weight": torch.zeros(1)}, peer(1).state_dict() | peer(2).state_dict()):
        with pytest.raises(ReproError, match="cannot be told from keys such as"):
            recognise(tensors)
    with pytest.raises(ReproError, match="mmdetection1"):
        convert({}, "mmdetection", NETWORK)
    with pytest.raises(ReproError, match="not those of a classifier"):
        convert({}, "mmdetection1", Classifier(BACKBONE))


def test_no_network_is_built_with_values_of_its_own() -> None:
    converted = convert(peer(1).state_dict(), "mmdetection1", NETWORK)
    tensors = {key: value for key, value in converted.tensors.items() if key != "rpn.head.cls_logits.bias"}
    with pytest.raises(ReproError, match=r"rpn\.head\.cls_logits\.bias"):
        build(replace(converted, tensors=tensors))


GC_NETWORK = KINDS["gc"][1]


@pytest.mark.parametrize(
    ("file", "network", "key", "cause"),
    [
        pytest.param(
            {"ratio": 1 / 4},
            GC_NETWORK,
            "backbone.layer2.0.context_block.channel_add_conv.0.weight has shape (16, 64, 1, 1) and should have (4, 64",
            "ratios of their context blocks differ",
            id="r4-for-r16",
        ),
        pytest.param(
            {},
            GC_NETWORK,
            "lacks backbone.layer2.0.context_block.conv_mask.weight",
            "the network has context blocks where the file has none",
            id="baseline-for-gc",
        ),
        pytest.param(
            {"ratio": 1 / 16},
            NETWORK,
            "backbone.layer2.0.context_block.conv_mask.weight is unknown",
            "the file has context blocks where the network has none",
            id="gc-for-baseline",
        ),
        pytest.param(
            {"norm_in_heads": True}, NETWORK, "bbox_head.shared_convs.0.conv.weight", "4conv1fc", id="4conv1fc"
        ),
        pytest.param({"cascade": True}, NETWORK, "bbox_head.0.", "the file is of a cascade", id="cascade-for-plain"),
        pytest.param(
            {}, replace(NETWORK, cascade=True), "bbox_head.0.", "the network is a cascade", id="plain-for-cascade"
        ),
        pytest.param(
            {"blocks": (1, 2, 4, 1)}, NETWORK, "backbone.layer3.2.conv1.weight", "has more layers", id="deeper-file"
        ),
        pytest.param(
            {"blocks": (1, 1, 1, 1)}, NETWORK, "backbone.layer2.1.conv1.weight", "has fewer layers", id="deeper-network"
        ),
        pytest.param(
            {"groups": 4, "base_width": 32},
            NETWORK,
            "backbone.layer1.0.conv1.weight",
            "widths or groups",
            id="resnext-for-resnet",
        ),
        pytest.param(
            {"dcn": True}, NETWORK, "backbone.layer2.0.conv2_offset.weight", "the file has deformable", id="dcn"
        ),
        pytest.param(
            {},
            replace(NETWORK, backbone=replace(BACKBONE, dcn=("c3", "c4", "c5"))),
            "backbone.layer2.0.conv2_offset.weight",
            "the network has deformable",
            id="plain-for-dcn",
        ),
        pytest.param({"classes": 5}, NETWORK, "bbox_head.fc_cls.weight has shape (6, 16)", "classes", id="classes"),
    ],
)
def test_files_of_other_networks_are_refused(file: dict, network: Detector, key: str, cause: str) -> None:
    with pytest.raises(ReproError) as error:
        convert(peer(1, **file).state_dict(), "mmdetection1", network)
    assert key in str(error.value)
    assert cause in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(("version", "cause"), [(2, "mmdetection 2 or later"), (1, "before 2.0")])
def test_files_of_the_other_version_are_refused(version: int, cause: str) -> None:
    with pytest.raises(ReproError, match=cause):
        convert(peer(version).state_dict(), FORMATS[3 - version], NETWORK)


@pytest.mark.parametrize("format", ["mmdetection1", "mmdetection2"])
def test_every_key_counts(format: str) -> None:
    file = peer(1 if format == "mmdetection1" else 2).state_dict()
    weights = [key for key in file if not key.endswith("num_batches_tracked")]
    for key in weights[::12]:
        with pytest.raises(ReproError, match=f"lacks {key.replace('.', '[.]')}"):
            convert({k: v for k, v in file.items() if k != key}, format, NETWORK)
    with pytest.raises(ReproError, match=r"ema_backbone\.conv1\.weight is unknown"):
        convert(file | {"ema_backbone.conv1.weight": torch.zeros(1)}, format, NETWORK)


@pytest.mark.parametrize("value", [torch.tensor(1.0), torch.zeros(0), torch.zeros(4, 16, dtype=torch.int64)])
def test_tensors_that_cannot_be_weights_are_refused(value: Tensor) -> None:
    for version, prefix in ((1, ""), (2, "roi_head.")):
        file = peer(version).state_dict() | {f"{prefix}bbox_head.fc_cls.weight": value}
        with pytest.raises(ReproError, match=r"fc_cls\.weight"):
            convert(file, FORMATS[version], NETWORK)


R50, R101 = (3, 4, 6, 3), (3, 4, 23, 3)
X101 = {"blocks": R101, "groups": 32, "base_width": 4}
#: Table 3(a): the authors' files by the names of the experiments, as their configurations describe them.
AUTHORS_FILES = {
    f"coco-{name}{suffix}": options | {"ratio": ratio}
    for name, options in {
        "r50": {"blocks": R50},
        "r101": {"blocks": R101},
        "x101": X101,
        "x101-cascade": X101 | {"cascade": True},
        "x101-dcn-cascade": X101 | {"cascade": True, "dcn": True},
    }.items()
    for suffix, ratio in (("-baseline", 0), ("-gc-r16", 1 / 16), ("-gc-r4", 1 / 4))
}


@pytest.mark.parametrize(
    ("name", "version"),
    [(name, 1) for name in AUTHORS_FILES] + [(name, 2) for name in AUTHORS_FILES if name.endswith("-gc-r4")],
)
def test_all_keys_of_the_full_networks_fit(name: str, version: int) -> None:
    with torch.device("meta"):
        file = Peer(version, **AUTHORS_FILES[name]).state_dict()
    network = EXPERIMENTS[name].network
    converted = convert(file, FORMATS[version], network)
    assert (converted.missing, converted.unexpected) == ((), ())
    heads = 3 if network.cascade else 1
    assert len(converted.reshaped) == (0 if version == 1 else 2 * heads * (2 if network.cascade else 3))
    assert len(converted.tensors) == len(file)

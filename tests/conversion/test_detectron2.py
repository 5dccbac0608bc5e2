"""Detectron2's zoo, against the architecture as published (`detectron2_peer`)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from detectron2_peer import Peer
from torch import Tensor, nn
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import FrozenBatchNorm2d

from repro.conversion import build, convert, recognise
from repro.errors import ReproError
from repro.experiments import EXPERIMENTS, GC, Backbone, Detector, Insertion
from repro.experiments.conventions import DETECTRON2

pytestmark = pytest.mark.rounding

SMALL = {"blocks": (1, 2, 2, 1), "stem": 8, "width_per_group": 8, "classes": 3, "channels": 8, "fc": 16, "mask": 4}
BACKBONE = Backbone(blocks=(1, 2, 2, 1), width=8, norm="sync")
NETWORK = Detector(BACKBONE, num_classes=3, fpn_channels=8, box_channels=16, mask_channels=4)
RESNEXT = replace(NETWORK, backbone=replace(BACKBONE, groups=4, width_per_group=16))


def peer(**options) -> Peer:
    """A detector with random weights and statistics: values of float32 in float64, in which it computes."""
    torch.manual_seed(0)
    model = Peer(**SMALL | options)
    for layer in model.modules():
        if isinstance(layer, FrozenBatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.1)
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    return model.double().eval()


def close(ours: Tensor, theirs: Tensor) -> None:
    scale = theirs.abs().max().item()
    assert scale > 1e-3
    assert torch.allclose(ours.double(), theirs, rtol=0, atol=(1e-6 if ours.dtype == torch.float32 else 1e-12) * scale)


@torch.no_grad()
@pytest.mark.parametrize(
    ("options", "network"),
    [
        pytest.param({}, NETWORK, id="msra"),
        pytest.param({"groups": 4, "width_per_group": 2, "stride_in_1x1": False}, RESNEXT, id="resnext"),
    ],
)
def test_every_part_computes_what_the_file_computed(options: dict, network: Detector) -> None:
    theirs = peer(**options)
    ours = build(convert(theirs.state_dict(), "detectron2", network)).double()
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    levels = theirs.backbone(images)
    pyramid = ours.fpn(ours.backbone.features(images))
    for own, their in zip(pyramid.values(), levels, strict=True):
        close(own, their)
    objectness, deltas = concat_box_prediction_layers(*ours.rpn.head(list(pyramid.values())))
    expected = [theirs.proposal_generator.rpn_head(level) for level in levels]
    close(objectness.flatten(), torch.cat([logits for logits, _ in expected], dim=1).flatten())
    close(deltas, torch.cat([boxes for _, boxes in expected], dim=1).flatten(0, 1))

    pooled = torch.randn(5, 8, 7, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    background, classes, boxes = theirs.roi_heads.box_predictor(theirs.roi_heads.box_head(pooled))
    logits, deltas = ours.roi_heads.box_predictor(ours.roi_heads.box_head(pooled))
    close(logits[:, 0], background)
    close(logits[:, 1:], classes)
    close(deltas.unflatten(1, (-1, 4))[:, 1:], boxes)
    masked = torch.randn(5, 8, 14, 14, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    masks = ours.roi_heads.mask_predictor(ours.roi_heads.mask_head(masked))
    close(masks[:, 1:], theirs.roi_heads.mask_head(masked))


def test_the_network_and_its_inputs_are_those_of_the_zoo() -> None:
    resnet = convert(peer().file(), "detectron2", NETWORK)
    assert resnet.network == replace(NETWORK, backbone=replace(BACKBONE, stride_in="1x1"))
    assert resnet.conventions == DETECTRON2
    resnext = convert(peer(groups=4, width_per_group=2, stride_in_1x1=False).state_dict(), "detectron2", RESNEXT)
    assert resnext.network == RESNEXT
    assert (resnext.conventions.color, resnext.conventions.std) == ("BGR", (57.375, 57.12, 58.395))


def test_what_the_record_says() -> None:
    file = peer().file()
    assert recognise(file) == "detectron2"
    converted = convert(file, "detectron2", NETWORK)
    assert {*converted.unexpected} == {key for key in file if key.startswith("pixel_") or "cell_anchors" in key}
    assert len(converted.unexpected) == 7
    assert all(key.endswith("num_batches_tracked") for key in converted.missing)
    assert sorted(key.split(":")[0] for key in converted.reshaped) == [
        f"roi_heads.{head}.{kind}"
        for head in ("box_predictor.bbox_pred", "box_predictor.cls_score", "mask_head.predictor")
        for kind in ("bias", "weight")
    ]


def test_other_normalisation_is_refused() -> None:
    file = peer().file() | {"pixel_std": torch.tensor([57.375, 57.12, 58.395]).view(3, 1, 1)}
    with pytest.raises(ReproError, match=r"pixel_std is \[57\.3"):
        convert(file, "detectron2", NETWORK)


def test_its_cascade_is_refused() -> None:
    file = {
        key.replace("box_head.", "box_head.0.").replace("box_predictor.", "box_predictor.0."): value
        for key, value in peer().state_dict().items()
    }
    for network in (NETWORK, replace(NETWORK, cascade=True)):
        with pytest.raises(ReproError, match="one mask head behind its three box heads"):
            convert(file, "detectron2", network)


def test_other_networks_are_refused() -> None:
    file = peer().state_dict()
    convolutions = {f"roi_heads.box_head.conv{i}.weight": torch.zeros(8, 8, 3, 3) for i in (1, 2, 3, 4)}
    no_pyramid = {key.replace("backbone.bottom_up.", "backbone."): value for key, value in file.items()}
    no_pyramid = {key: value for key, value in no_pyramid.items() if "fpn" not in key}
    for tensors, network, cause in (
        (file, replace(NETWORK, backbone=replace(BACKBONE, context=Insertion(GC))), "context blocks"),
        (file | convolutions, NETWORK, "4conv1fc"),
        (no_pyramid, NETWORK, "no feature pyramid"),
        ({key: value for key, value in file.items() if "mask_head" not in key}, NETWORK, "no mask head"),
        (peer(blocks=(1, 2, 3, 1)).state_dict(), NETWORK, "more layers"),
        (peer(classes=4).state_dict(), NETWORK, "other classes"),
    ):
        with pytest.raises(ReproError, match=cause):
            convert(tensors, "detectron2", network)


@pytest.mark.parametrize("name", ["coco-r50-baseline", "coco-r101-baseline"])
def test_all_keys_of_the_full_networks_fit(name: str) -> None:
    network = EXPERIMENTS[name].network
    with torch.device("meta"):
        file = Peer(network.backbone.blocks).state_dict()
    converted = convert(file, "detectron2", network)
    assert len(converted.tensors) == len(file)
    assert converted.unexpected == ()

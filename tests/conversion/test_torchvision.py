"""torchvision's detector itself, with random weights, against the network that its weights are converted to."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from pycocotools.mask import decode
from torch import Tensor, nn
from torchvision.models.detection import (
    MaskRCNN,
    MaskRCNN_ResNet50_FPN_Weights,
    maskrcnn_resnet50_fpn,
    maskrcnn_resnet50_fpn_v2,
)
from torchvision.models.detection._utils import overwrite_eps
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from repro.conversion import build, convert, recognise
from repro.data.coco import DetectionSample
from repro.errors import ReproError
from repro.experiments import EXPERIMENTS, GC, Detector, Insertion
from repro.experiments.conventions import TORCHVISION

pytestmark = pytest.mark.rounding

FORMAT = "torchvision-detection"
NETWORK = EXPERIMENTS["coco-r50-baseline"].network
NAMES = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
UNUSED = [12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91]  # category ids that COCO never gave to a class (91: hair brush)


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """What `maskrcnn_resnet50_fpn(weights=COCO_V1)` builds, with random weights."""
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3
    )
    model = MaskRCNN(backbone, num_classes=len(NAMES))
    overwrite_eps(model, 0.0)
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            nn.init.uniform_(module.weight, 0.3, 0.6)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.05, 1)
    heads = model.roi_heads
    heads.box_predictor.cls_score.weight.data.mul_(25)
    heads.box_predictor.cls_score.bias.data[UNUSED[:-1]] = -1e4  # as if training had never seen them
    heads.mask_predictor.mask_fcn_logits.weight.data.mul_(20)
    return model.eval()


@pytest.fixture(scope="module")
def ours(theirs: nn.Module) -> nn.Module:
    return build(convert(theirs.state_dict(), FORMAT, NETWORK))


def image() -> Tensor:
    return torch.randint(0, 256, (3, 192, 256), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def close(own: Tensor, their: Tensor, tolerance: float = 1e-5) -> None:
    scale = their.abs().max().item()
    assert scale > 1e-3
    assert (own - their).abs().max().item() <= tolerance * scale


@torch.no_grad()
def test_the_pyramid_is_the_same(ours: nn.Module, theirs: nn.Module) -> None:
    images = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(2))
    expected = theirs.backbone(images)
    pyramid = ours.fpn(ours.backbone.features(images))
    for own, their in zip(pyramid.values(), expected.values(), strict=True):
        close(own, their)
    for own, their in zip(ours.rpn.head(list(pyramid.values())), theirs.rpn.head(list(expected.values())), strict=True):
        for own_level, their_level in zip(own, their, strict=True):
            close(own_level, their_level)


@torch.no_grad()
def test_the_heads_keep_the_categories_that_exist(ours: nn.Module, theirs: nn.Module) -> None:
    pooled = torch.randn(3, 256, 7, 7, generator=torch.Generator().manual_seed(3))
    masked = torch.randn(3, 256, 14, 14, generator=torch.Generator().manual_seed(4))
    kept = [i for i in range(len(NAMES)) if i not in UNUSED]
    assert len(kept) == 81
    own, their = ours.roi_heads, theirs.roi_heads
    logits, deltas = own.box_predictor(own.box_head(pooled))
    expected_logits, expected_deltas = their.box_predictor(their.box_head(pooled))
    close(logits, expected_logits[:, kept])
    close(deltas.unflatten(1, (-1, 4)), expected_deltas.unflatten(1, (-1, 4))[:, kept])
    masks, expected_masks = (head.mask_predictor(head.mask_head(masked)) for head in (own, their))
    close(masks, expected_masks[:, kept])


@torch.no_grad()
def test_the_detections_of_an_image_are_the_same(theirs: nn.Module) -> None:
    # Of the size that the network takes, so that neither resizes it.
    network = replace(NETWORK, short_side=192, long_side=256)
    ours = build(convert(theirs.state_dict(), FORMAT, network))
    theirs.transform.min_size, theirs.transform.max_size = (192,), 256
    picture = image()
    expected = theirs([picture / 255])[0]
    nothing = torch.zeros(0)
    sample = DetectionSample(
        picture, 1, (192, 256), nothing.view(0, 4), nothing.long(), nothing.view(0, 192, 256).byte()
    )
    found = ours.predict([sample])[0]
    assert len(found.scores) == len(expected["scores"]) > 20
    ids = torch.tensor([i for i in range(1, len(NAMES)) if i not in UNUSED])
    close(torch.from_numpy(found.scores), expected["scores"])
    assert torch.equal(ids[torch.from_numpy(found.labels)], expected["labels"])
    close(torch.from_numpy(found.boxes), expected["boxes"])
    masks = torch.from_numpy(decode(found.masks)).permute(2, 0, 1)
    their_masks = expected["masks"][:, 0] >= 0.5
    assert 0.02 < their_masks.float().mean() < 0.98
    assert (masks != their_masks).float().mean() < 1e-4


def test_variances_too_small_for_an_epsilon_are_kept(theirs: nn.Module) -> None:
    file = dict(theirs.state_dict())
    key = "backbone.body.layer1.0.bn1.running_var"
    file[key] = file[key].clone()
    file[key][0] = 5.6e-45  # as in published files: a channel that is never active
    norm = build(convert(file, FORMAT, NETWORK)).backbone.layer1[0].bn1
    x = torch.randn(1, 64, 2, 2, generator=torch.Generator().manual_seed(5))
    x[:, 0] = file["backbone.body.layer1.0.bn1.running_mean"][0]
    expected = FrozenBatchNorm2d(64, eps=0.0)
    expected.load_state_dict({k.split(".bn1.")[1]: v for k, v in file.items() if "layer1.0.bn1." in k})
    assert norm(x).isfinite().all()
    close(norm(x)[:, 1:], expected(x)[:, 1:])


@pytest.mark.parametrize(
    ("variance", "problem"), [(-0.5, "bn1.running_var' has negative values"), (0.0, "bn1.weight' has values that are")]
)
def test_what_no_norm_layer_has_is_refused_after_converting(theirs: nn.Module, variance, problem) -> None:
    """A variance of 0 without an epsilon makes torchvision's detector give NaN."""
    file = dict(theirs.state_dict())
    file["backbone.body.layer1.0.bn1.running_var"] = torch.full((64,), variance)
    with pytest.raises(ReproError, match=rf"{FORMAT}, converted: the weight 'backbone\.layer1\.0\.{problem}"):
        build(convert(file, FORMAT, NETWORK))


def test_the_published_file_has_the_names_of_an_older_version(theirs: nn.Module) -> None:
    """torchvision upgrades them when it loads; the file itself, of 2019, names the convolutions themselves."""
    renamed = {}
    for key, value in theirs.state_dict().items():
        key = re.sub(r"^(backbone\.fpn\.\w+_blocks\.\d)\.0\.", r"\1.", key)
        key = key.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        key = re.sub(r"mask_head\.(\d)\.0\.", lambda match: f"mask_head.mask_fcn{int(match[1]) + 1}.", key)
        renamed[key] = value
    assert len({*renamed} - {*theirs.state_dict()}) == 16 + 2 + 8
    old, new = (convert(file, FORMAT, NETWORK) for file in (renamed, theirs.state_dict()))
    assert old.tensors.keys() == new.tensors.keys()
    assert all(torch.equal(old.tensors[key], new.tensors[key]) for key in old.tensors)


def test_batch_norm_proper_has_its_epsilon() -> None:
    torch.manual_seed(0)
    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=81).eval()
    converted = convert(model.state_dict(), FORMAT, NETWORK)
    assert converted.reshaped == ()
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        close(build(converted).backbone.features(images)["c5"], model.backbone.body(images)["3"])


def test_what_the_record_says(theirs: nn.Module) -> None:
    converted = convert(theirs.state_dict(), FORMAT, NETWORK)
    assert recognise(theirs.state_dict()) == FORMAT
    assert converted.conventions == TORCHVISION
    assert converted.unexpected == ()
    assert all(key.endswith("num_batches_tracked") for key in converted.missing)  # frozen norms have none
    norms = [key for key in converted.reshaped if "epsilon" in key]
    assert len(norms) == 53
    assert len(converted.reshaped) == 53 + 6


def test_other_networks_are_refused(theirs: nn.Module) -> None:
    file = theirs.state_dict()
    with torch.device("meta"):
        second = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None).state_dict()
    for tensors, network, cause in (
        (second, NETWORK, "maskrcnn_resnet50_fpn_v2, whose box head has four convolutions and one linear layer"),
        (file, replace(NETWORK, backbone=replace(NETWORK.backbone, context=Insertion(GC))), "context blocks"),
        (file, EXPERIMENTS["coco-r101-baseline"].network, "fewer layers"),
        (file, replace(NETWORK, cascade=True), "no cascade"),
        (file, replace(NETWORK, num_classes=20), "other classes"),
        ({key.replace("mask_", "pose_"): value for key, value in file.items()}, NETWORK, "no mask head"),
    ):
        with pytest.raises(ReproError, match=cause):
            convert(tensors, FORMAT, network)


def test_a_detector_of_other_classes_keeps_its_rows() -> None:
    with torch.device("meta"):
        file = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=21).state_dict()
    network: Detector = replace(NETWORK, num_classes=20)
    converted = convert(file, FORMAT, network)
    assert (
        converted.tensors["roi_heads.box_predictor.cls_score.weight"]
        is file["roi_heads.box_predictor.cls_score.weight"]
    )

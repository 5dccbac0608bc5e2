"""The assembled detector: a peer with the same weights, parameter counts, randomness, and its edge cases."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch import nn
from torchvision.models import detection as peer
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import MultiScaleRoIAlign

from repro import experiments
from repro.detection.anchors import STRIDES
from repro.detection.roi import Instances
from repro.detection.torchvision import MaskRCNN
from repro.experiments import GC, STAGES, Insertion, NonLocal
from repro.experiments.conventions import AUTHORS

pytestmark = pytest.mark.rounding

#: The paper's Table 2 (#param), counted independently; frozen stages and the affine parameters of norms included.
PARAMETERS = {
    "r50-baseline": 44_400_693,
    "r50-1nl": 46_500_405,
    "r50-1snl": 45_451_318,
    "r50-1gc": 44_534_006,
    "r50-gc-r16": 46_922_434,
    "r50-gc-r16-after-add": 46_922_434,
    "r50-gc-r16-c3": 44_536_249,
    "r50-gc-r16-c4": 45_200_571,
    "r50-gc-r16-c5": 45_987_000,
    "r50-snl": 64_352_322,
    "r50-gc-r16-plain": 46_920_642,
    "r50-gc-r16-relu": 46_920_642,
    "r50-gc-r4": 54_401_602,
    "r50-gc-r8": 49_415_490,
    "r50-gc-r32": 45_675_906,
    "r50-avg-scale": 46_908_085,
    "r50-avg-add": 46_908_085,
    "r50-att-scale": 46_922_434,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_table_2(name):
    with torch.device("meta"):
        model = MaskRCNN(experiments.get(f"coco-{name}").network)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


def test_parameters_have_torchvisions_names_and_shapes():
    with torch.device("meta"):
        ours = MaskRCNN(experiments.get("coco-r50-baseline").network)
        theirs = peer.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=81)
    renamed = {rename(key): tuple(value.shape) for key, value in ours.state_dict().items()}
    expected = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    assert renamed == expected


def rename(key: str) -> str:
    """Our name of a parameter -> torchvision's."""
    if key.startswith("backbone."):
        return key.replace("backbone.", "backbone.body.", 1)
    return key.replace("fpn.", "backbone.fpn.", 1) if key.startswith("fpn.") else key


class PeerBackbone(nn.Module):
    def __init__(self, body: nn.Module, fpn: nn.Module, channels: int) -> None:
        super().__init__()
        self.body, self.fpn, self.out_channels = body, fpn, channels

    def forward(self, x):
        return self.fpn(OrderedDict(self.body(x)))


def stock(model: MaskRCNN, spec, side: int) -> peer.MaskRCNN:
    """torchvision's detector with `model`'s weights, for images of `side` pixels: a power of two, so that it
    infers the right strides and scales."""
    anchors = AnchorGenerator([(spec.anchor_scale * s,) for s in STRIDES], ((0.5, 1.0, 2.0),) * 5)
    anchors.cell_anchors = [cell + s / 2 for cell, s in zip(anchors.cell_anchors, STRIDES, strict=True)]

    def pool(size: int) -> MultiScaleRoIAlign:
        return MultiScaleRoIAlign(STAGES, size, sampling_ratio=2, canonical_scale=28 * spec.anchor_scale)

    detector = peer.MaskRCNN(
        PeerBackbone(model.backbone, model.fpn, spec.fpn_channels),
        min_size=side, max_size=side,
        image_mean=[m / 255 for m in AUTHORS.mean], image_std=[s / 255 for s in AUTHORS.std],
        rpn_anchor_generator=anchors, rpn_head=RPNHead(spec.fpn_channels, 3),
        rpn_pre_nms_top_n_test=spec.proposals_per_level[1], rpn_post_nms_top_n_test=spec.proposals[1],
        box_roi_pool=pool(7), box_head=peer.faster_rcnn.TwoMLPHead(spec.fpn_channels * 49, spec.box_channels),
        box_predictor=peer.faster_rcnn.FastRCNNPredictor(spec.box_channels, spec.num_classes + 1),
        box_score_thresh=spec.score_threshold, box_detections_per_img=spec.detections,
        mask_roi_pool=pool(14), mask_head=peer.mask_rcnn.MaskRCNNHeads(spec.fpn_channels, (spec.mask_channels,) * 4, 1),
        mask_predictor=peer.mask_rcnn.MaskRCNNPredictor(spec.mask_channels, spec.mask_channels, spec.num_classes + 1),
    )  # fmt: skip
    detector.load_state_dict({rename(key): value for key, value in model.state_dict().items()})
    return detector.eval()


@pytest.fixture
def model(spec) -> MaskRCNN:
    torch.manual_seed(0)
    return MaskRCNN(spec)


@pytest.fixture(params=[False, True], ids=["mask-rcnn", "cascade"])
def either(spec, request) -> MaskRCNN:
    torch.manual_seed(0)
    return MaskRCNN(replace(spec, cascade=request.param))


def shake(model: MaskRCNN, samples) -> None:
    """Weights that make outputs differ from place to place, and norm statistics that fit the images."""
    for layer in (
        *model.rpn.head.modules(),
        *(layer for heads in model.roi_heads.stage_heads for layer in heads.box_predictor.modules()),
    ):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_normal_(layer.weight)
    for _ in range(20):
        model(samples)


def test_torchvisions_detector_finds_the_same(model, spec, make_sample):
    samples = [make_sample((256, 256), seed=1), make_sample((256, 256), seed=2)]
    shake(model, samples)
    theirs = stock(model, spec, 256)
    theirs.transform.postprocess = lambda found, *sizes: found  # masks as they leave the head
    model.eval()
    with torch.no_grad():
        expected = theirs([sample.image / 255 for sample in samples])
    found = model.find_instances(samples)
    for instances, other in zip(found, expected, strict=True):
        assert len(instances.boxes) == spec.detections
        assert torch.equal(instances.labels, other["labels"] - 1)
        # Within 1.1e-5, 6e-4 and 1.1e-4 over 4 seeds x 3 instruction sets.
        torch.testing.assert_close(instances.scores, other["scores"], atol=1e-4, rtol=0)
        torch.testing.assert_close(instances.boxes, other["boxes"], atol=5e-3, rtol=0)
        torch.testing.assert_close(instances.masks, other["masks"][:, 0], atol=1e-3, rtol=0)


def test_initial_weights_are_the_authors(model):
    heads = model.roi_heads
    for layer, std in (
        (heads.box_predictor.cls_score, 0.01),
        (heads.box_predictor.bbox_pred, 0.001),
        (model.rpn.head.bbox_pred, 0.01),
        (heads.box_head.fc6, (2 / (8 * 49 + 16)) ** 0.5),
        (model.fpn.inner_blocks[0][0], (2 / (16 + 8)) ** 0.5),
        (model.fpn.inner_blocks[3][0], (2 / (128 + 8)) ** 0.5),
        (heads.mask_predictor.mask_fcn_logits, (2 / 4) ** 0.5),
    ):
        assert layer.weight.std().item() == pytest.approx(std, rel=0.2)
        assert not layer.bias.any()


@pytest.fixture
def uneven(make_sample):
    return [
        make_sample((96, 96), seed=1),
        make_sample((70, 121), ((5, 5, 60, 60),), (1,), seed=2),
        make_sample((33, 40), (), (), seed=3),
    ]


def test_batch_is_normalised_and_padded(model, uneven):
    images = model.batch(uneven)
    assert images.tensors.shape == (3, 3, 96, 128)
    assert images.image_sizes == [(96, 96), (70, 121), (33, 40)]
    pixel = uneven[1].image[:, 69, 120].tolist()
    assert images.tensors[1, :, 69, 120].tolist() == pytest.approx(
        [(value - mean) / std for value, mean, std in zip(pixel, AUTHORS.mean, AUTHORS.std, strict=True)], rel=1e-5
    )
    assert images.tensors[1, :, 70:].abs().sum() == 0
    assert images.tensors[1, :, :, 121:].abs().sum() == 0


def test_pyramid_has_its_strides(model, make_sample):
    features = model.features(model.batch([make_sample((96, 128))]))
    assert [tuple(level.shape[1:]) for level in features.values()] == [
        (8, 24, 32), (8, 12, 16), (8, 6, 8), (8, 3, 4), (8, 2, 2)
    ]  # fmt: skip
    assert torch.equal(features["pool"], features["c5"][..., ::2, ::2])


LOSSES = ["loss_rpn_objectness", "loss_rpn_box", "loss_classifier", "loss_box", "loss_mask"]


def test_every_trained_parameter_learns(spec, make_sample):
    backbone = replace(spec.backbone, norm="sync", frozen=("c1", "c2"), context=Insertion(replace(GC, ratio=4)))
    torch.manual_seed(0)
    model = MaskRCNN(replace(spec, backbone=backbone))
    large = make_sample((288, 320), ((4, 4, 300, 280), (20, 30, 150, 170), (9, 9, 30, 40)), (0, 1, 2))
    losses = model([large, make_sample((96, 96))])  # something for every level of the pyramid
    assert list(losses) == LOSSES
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        if name.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1")):
            assert not parameter.requires_grad, name
        elif "context_block" in name and ".channel_add_conv.3" not in name:
            assert parameter.grad is not None, name  # zero until the block's last layer has left zero
        else:
            assert parameter.grad.abs().sum() > 0, name


def test_images_without_objects(model, make_sample):
    empty = [make_sample((64, 64), (), (), seed=seed) for seed in (1, 2)]
    losses = model(empty)
    total = sum(losses.values())
    total.backward()
    assert total.isfinite()
    assert losses["loss_box"] == losses["loss_mask"] == losses["loss_rpn_box"] == 0
    assert losses["loss_classifier"] > 0
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_generator_decides_alone(model, uneven):
    for module in model.modules():  # running statistics would make a second call differ
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0

    def losses(seed: int) -> list[float]:
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        terms = [term.item() for term in model(uneven).values()]
        assert torch.equal(torch.get_rng_state(), before)
        return terms

    model.generator.manual_seed(5)
    state = model.generator.get_state()
    first, second = losses(0), losses(0)
    model.generator.set_state(state)
    assert losses(1) == first
    assert first != second


def test_boxes_and_masks_in_pixels_of_the_original_image(model, make_sample):
    sample = make_sample((96, 128), original=(384, 500))
    boxes = torch.tensor([[12.8, 24.0, 64.0, 72.0], [0.0, 0.0, 128.0, 96.0], [-1.0, 90.0, 130.0, 96.0]])
    instances = Instances(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([1, 0, 2]), torch.ones(3, 28, 28))
    found = model.to_original(instances, sample)
    expected = [[50, 96, 250, 288], [0, 0, 500, 384], [0, 360, 500, 384]]
    np.testing.assert_allclose(found.boxes, expected, rtol=1e-6)
    assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float32, np.int64)
    decoded = coco_mask.decode(found.masks)
    assert decoded.shape == (384, 500, 3)
    assert decoded[96:288, 50:250, 0].all()
    assert decoded[..., 0].sum() == (288 - 96) * (250 - 50)
    assert decoded[..., 1].all()


def test_predictions_on_a_photograph_of_500x375(model, make_sample):
    training = [make_sample((64, 64), seed=1)]
    shake(model, training)
    sample = make_sample((96, 128), original=(375, 500), seed=4)
    (found,) = model.eval()([sample])
    assert found.image_id == 4
    assert found.boxes[:, 2].max() > 128
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [500, 375, 500, 375]).all()
    assert (np.diff(found.scores) <= 0).all()
    assert all(mask["size"] == [375, 500] for mask in found.masks)
    assert set(found.labels.tolist()) <= {0, 1, 2}
    assert not any(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("cascade", [False, True])
def test_nothing_detected(spec, make_sample, cascade):
    (found,) = MaskRCNN(replace(spec, cascade=cascade, score_threshold=1.0)).eval()([make_sample()])
    assert found.boxes.shape == (0, 4)
    assert found.boxes.dtype == np.float32
    assert (len(found.scores), len(found.labels), found.masks) == (0, 0, [])


def test_image_alone_and_in_a_batch(either, make_sample):
    samples = [make_sample(seed=seed) for seed in (1, 2, 3)]
    shake(either, samples)
    either.eval()
    for together, sample in zip(either(samples), samples, strict=True):
        (alone,) = either([sample])
        # Within 6e-4 and 6e-6 over 4 seeds x 3 instruction sets.
        np.testing.assert_allclose(together.boxes, alone.boxes, atol=5e-3)
        np.testing.assert_allclose(together.scores, alone.scores, atol=1e-4)


def test_losses_in_bfloat16_are_close(either, uneven):
    either.generator.manual_seed(0)
    exact = either(uneven)
    either.generator.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = either(uneven)
    assert {term.dtype for term in rough.values()} == {torch.float32}
    assert sum(rough.values()).item() == pytest.approx(sum(exact.values()).item(), rel=0.1)


def test_non_local_block_on_an_odd_pyramid(spec, make_sample):
    context = Insertion(NonLocal(), (("c4", -1),), "afterAdd")
    model = MaskRCNN(replace(spec, backbone=replace(spec.backbone, context=context)))
    assert sum(model([make_sample((33, 97), ((1, 1, 30, 30),), (0,))]).values()).isfinite()


def test_generator_cannot_be_replaced(model):
    with pytest.raises(AttributeError):
        model.generator = torch.Generator()

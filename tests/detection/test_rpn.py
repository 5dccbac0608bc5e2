"""Training targets, losses and proposals of the region proposal network, against plain loops."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.models.detection.image_list import ImageList

from repro.detection import rpn as rpn_module
from repro.detection.anchors import STRIDES
from repro.detection.grouping import LossGroups
from repro.detection.rpn import RegionProposalNetwork
from repro.detection.sampling import Matcher

pytestmark = pytest.mark.rounding

SIZE = (90, 84)  #: of the image; padded to 96 x 96
OBJECTS = torch.tensor(
    [
        [10.0, 12.0, 34.0, 30.0],
        [40.0, 30.0, 83.0, 86.0],
        [12.0, 10.0, 33.0, 33.0],
        [42.0, 6.0, 59.5, 22.0],  # the anchor beside its best overlaps by 0.675: ignored
        [70.0, 5.0, 74.0, 9.0],  # no anchor reaches 0.3
    ]
)


def overlap(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def label_by_loops(anchors: list, objects: list, size: tuple[int, int]) -> list[int]:
    """-2 not trained, -1 background, else the object: the authors' assigner on the anchors inside the image."""
    inside = [a[0] >= 0 and a[1] >= 0 and a[2] <= size[1] and a[3] <= size[0] for a in anchors]
    iou = [[overlap(o, a) if whole else -1 for a, whole in zip(anchors, inside, strict=True)] for o in objects]
    labels = []
    for k, whole in enumerate(inside):
        column = [row[k] for row in iou]
        best = max(column)
        labels.append(-2 if not whole or 0.3 <= best < 0.7 else column.index(best) if best >= 0.7 else -1)
    for i, row in enumerate(iou):
        highest = max(row)
        for k in range(len(anchors)):
            if highest >= 0.3 and abs(row[k] - highest) < 1e-6:
                labels[k] = i
    return labels


def deltas(box: list[float], target: list[float]) -> list[float]:
    width, height = box[2] - box[0], box[3] - box[1]
    target_width, target_height = target[2] - target[0], target[3] - target[1]
    return [
        ((target[0] + target[2]) - (box[0] + box[2])) / 2 / width,
        ((target[1] + target[3]) - (box[1] + box[3])) / 2 / height,
        math.log(target_width / width),
        math.log(target_height / height),
    ]


def smooth_l1(difference: float, beta: float) -> float:
    d = abs(difference)
    return d * d / (2 * beta) if d < beta else d - beta / 2


@pytest.fixture
def pyramid(spec):
    generator = torch.Generator().manual_seed(0)
    grids = [96 // stride for stride in STRIDES[:4]] + [2]
    features = {
        str(stride): torch.randn(1, spec.fpn_channels, grid, grid, generator=generator)
        for stride, grid in zip(STRIDES, grids, strict=True)
    }
    return ImageList(torch.zeros(1, 3, 96, 96), [SIZE]), features


def build(spec, seed: int = 0) -> RegionProposalNetwork:
    torch.manual_seed(seed)
    rpn = RegionProposalNetwork(spec, torch.Generator())
    for parameter in rpn.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return rpn


def test_losses_by_loops(spec, pyramid):
    images, features = pyramid
    rpn = build(replace(spec, rpn_samples=10**6))  # everything is sampled: no randomness
    _, losses = rpn(images, features, [OBJECTS])

    anchors = rpn.anchor_generator(images, list(features.values()))[0].tolist()
    labels = label_by_loops(anchors, OBJECTS.tolist(), SIZE)
    logits, predicted = [], []
    for level_logits, level_deltas in zip(*rpn.head(list(features.values())), strict=True):
        logits += level_logits[0].permute(1, 2, 0).flatten().tolist()
        predicted += level_deltas[0].unflatten(0, (3, 4)).permute(2, 3, 0, 1).flatten(0, 2).tolist()
    sampled = [k for k, label in enumerate(labels) if label != -2]
    positive = [k for k in sampled if labels[k] >= 0]
    assert set(labels) == {-2, -1, 0, 1, 2, 3}
    objectness = sum(math.log1p(math.exp(-logits[k] if labels[k] >= 0 else logits[k])) for k in sampled)
    box = sum(
        smooth_l1(p - t, 1 / 9)
        for k in positive
        for p, t in zip(predicted[k], deltas(anchors[k], OBJECTS[labels[k]].tolist()), strict=True)
    )
    assert losses["loss_objectness"].item() == pytest.approx(objectness / len(sampled), rel=1e-4)
    assert losses["loss_rpn_box_reg"].item() == pytest.approx(box / len(sampled), rel=1e-4)


def test_anchors_across_the_border_are_not_trained(spec, pyramid):
    images, features = pyramid
    rpn = build(spec)
    anchors = rpn.anchor_generator(images, list(features.values()))
    (matches,) = rpn.match(anchors[0], [OBJECTS], [SIZE])
    crossing = ((anchors[0] < 0) | (anchors[0] > torch.tensor([84, 90, 84, 90]))).any(dim=1)
    assert crossing.any()
    assert (matches[crossing] == Matcher.BETWEEN_THRESHOLDS).all()
    assert matches.tolist() == label_by_loops(anchors[0].tolist(), OBJECTS.tolist(), SIZE)


@pytest.mark.parametrize(("size", "objects"), [(SIZE, 0), ((5, 5), 0), ((5, 5), 1)])
def test_losses_are_finite_without_objects_or_anchors(spec, pyramid, size, objects):
    images, features = pyramid
    rpn = build(spec)
    boxes = torch.tensor([[0.0, 0.0, 5.0, 5.0]])[:objects]
    _, losses = rpn(ImageList(images.tensors, [size]), features, [boxes])
    total = sum(losses.values())
    total.backward()
    assert total.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in rpn.parameters())


def test_objectness_of_positives_and_negatives(spec, pyramid):
    """A constant logit of 2: log(1 + e^-2) for each anchor of the first object, log(1 + e^2) for each of none."""
    images, features = pyramid
    rpn = build(replace(spec, rpn_samples=8))
    for parameter in (*rpn.head.cls_logits.parameters(), *rpn.head.bbox_pred.parameters()):
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(rpn.head.cls_logits.bias, 2.0)
    _, losses = rpn(images, features, [OBJECTS[:1]])
    (matches,) = rpn.match(rpn.anchor_generator(images, list(features.values()))[0], [OBJECTS[:1]], [SIZE])
    positive = min(int((matches == 0).sum()), 4)
    assert positive
    expected = (positive * math.log1p(math.exp(-2)) + (8 - positive) * math.log1p(math.exp(2))) / 8
    assert losses["loss_objectness"].item() == pytest.approx(expected, rel=1e-6)


@pytest.fixture
def batch(spec):
    """Three images of other sizes, all padded to 96 x 96, and their objects: five, none, and one near the lower border.

    The best anchor of the last one crosses the border.
    """
    generator = torch.Generator().manual_seed(1)
    grids = [96 // stride for stride in STRIDES[:4]] + [2]
    features = {
        str(stride): torch.randn(3, spec.fpn_channels, grid, grid, generator=generator)
        for stride, grid in zip(STRIDES, grids, strict=True)
    }
    return (
        ImageList(torch.zeros(3, 3, 96, 96), [SIZE, (96, 40), (50, 96)]),
        features,
        [OBJECTS, OBJECTS[:0], torch.tensor([[26.0, 20.0, 48.0, 49.0]])],
    )


def take_apart(batch):
    images, features, targets = batch
    for number, (size, boxes) in enumerate(zip(images.image_sizes, targets, strict=True)):
        one = slice(number, number + 1)
        yield ImageList(images.tensors[one], [size]), {name: level[one] for name, level in features.items()}, [boxes]


def test_proposals_of_a_batch_are_those_of_each_image(spec, batch):
    rpn = build(replace(spec, proposals_per_level=(60, 30), proposals=(50, 20))).eval()
    together, _ = rpn(*batch[:2])
    assert not any(image.requires_grad for image in together)
    for image, (images, features, _) in zip(together, take_apart(batch), strict=True):
        (alone,), _ = rpn(images, features)
        torch.testing.assert_close(image, alone, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("most", [1, 5000, 20_000, 2**30])
def test_anchors_are_matched_however_a_batch_is_cut(spec, batch, monkeypatch, most):
    rpn = build(spec)
    images, features, targets = batch
    anchors = rpn.anchor_generator(images, list(features.values()))[0]
    expected = torch.cat(
        [rpn.match(anchors, [own], [size]) for own, size in zip(targets, images.image_sizes, strict=True)]
    )
    monkeypatch.setattr(rpn_module, "_MOST_OVERLAPS", {False: most})
    assert torch.equal(rpn.match(anchors, targets, images.image_sizes), expected)
    parts = list(rpn_module._cut([len(own) * len(anchors) for own in targets], most))
    assert [number for part in parts for number in range(3)[part]] == [0, 1, 2]
    assert len(parts) == {1: 3, 5000: 2, 20_000: 2, 2**30: 1}[most]


def test_objectness_is_averaged_in_its_group(spec, batch):
    """Logits differ from image to image, so that a mean over other images is another."""
    images, features, targets = batch
    rpn = build(replace(spec, rpn_samples=10**6))
    features = {name: level * torch.tensor([0.1, 1.0, 5.0])[:, None, None, None] for name, level in features.items()}
    _, losses = rpn(images, features, targets, LossGroups(3, 2))
    parts = [slice(0, 2), slice(2, 3)]
    apart = [
        rpn(
            ImageList(images.tensors[part], images.image_sizes[part]),
            {name: level[part] for name, level in features.items()},
            targets[part],
        )[1]
        for part in parts
    ]
    for name, value in losses.items():
        first, second = (terms[name].item() for terms in apart)
        assert value.item() == pytest.approx(2 / 3 * first + 1 / 3 * second, rel=1e-4), name


def test_number_of_proposals_follows_the_mode(spec, pyramid):
    images, features = pyramid
    spec = replace(spec, proposals_per_level=(500, 400), proposals=(24, 7))
    rpn = build(spec)
    trained, _ = rpn(images, features, [OBJECTS])
    tested, _ = rpn.eval()(images, features)
    assert (len(trained[0]), len(tested[0])) == (24, 7)
    assert torch.equal(tested[0], trained[0][:7])


def test_proposals_by_loops(spec, pyramid):
    """Per level: the best before NMS, clipping, greedy NMS at 0.7; then the best of all levels."""
    images, features = pyramid
    rpn = build(replace(spec, proposals_per_level=(60, 30), proposals=(50, 20))).eval()
    (proposals,), _ = rpn(images, features)
    anchors = rpn.anchor_generator(images, list(features.values()))[0].numpy()
    kept = []
    start = 0
    for logits, predicted in zip(*rpn.head(list(features.values())), strict=True):
        scores = logits[0].permute(1, 2, 0).flatten().tolist()
        predicted = predicted[0].unflatten(0, (3, 4)).permute(2, 3, 0, 1).flatten(0, 2).tolist()
        survivors = []
        for k in sorted(range(len(scores)), key=lambda k: -scores[k])[:30]:
            x1, y1, x2, y2 = anchors[start + k]
            dx, dy, dw, dh = predicted[k]
            x, y = (x1 + x2) / 2 + dx * (x2 - x1), (y1 + y2) / 2 + dy * (y2 - y1)
            w, h = (x2 - x1) * math.exp(dw), (y2 - y1) * math.exp(dh)
            box = np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, [SIZE[1], SIZE[0]] * 2)
            whole = box[2] - box[0] >= 1e-3 and box[3] - box[1] >= 1e-3
            if whole and all(overlap(box, other) <= 0.7 for _, other in survivors):
                survivors.append((scores[k], box))
        kept += survivors
        start += len(scores)
    expected = np.array([box for _, box in sorted(kept, key=lambda entry: -entry[0])[:20]])
    np.testing.assert_allclose(proposals.detach(), expected, atol=1e-3)


def test_boxes_keep_their_precision_under_autocast(spec, pyramid):
    images, features = pyramid
    rpn = build(spec).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (proposals,), _ = rpn(images, features)
    assert proposals.dtype == torch.float32
    assert not torch.equal(proposals, proposals.bfloat16().float())

"""RoIAlign's levels, the choice of RoIs, and both heads' losses and detections against plain loops."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.ops import roi_align

from repro.detection.roi import PyramidRoIAlign, RoIHeads, box_losses, mask_loss
from repro.experiments import STAGES

SIZES = [(96, 96), (90, 84)]


@pytest.fixture
def features(spec):
    generator = torch.Generator().manual_seed(0)
    grids = {"c2": 24, "c3": 12, "c4": 6, "c5": 3, "pool": 2}
    return {name: torch.randn(2, spec.fpn_channels, grid, grid, generator=generator) for name, grid in grids.items()}


def build(spec) -> RoIHeads:
    torch.manual_seed(0)
    heads = RoIHeads(spec, torch.Generator())
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return heads


def random_boxes(count: int, seed: int, size: tuple[int, int] = (84, 84)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 50
    sides = 4 + torch.rand(count, 2, generator=generator) * 30
    return torch.cat([corner, corner + sides], dim=1)


@pytest.mark.parametrize(("anchor_scale", "unit"), [(8, 56), (4, 28), (2, 14)])
def test_level_of_a_roi_is_fixed_at_construction(anchor_scale, unit):
    """P2 takes RoIs below 2 * 56 pixels, P3 those below 4 * 56, and so on; with smaller anchors in proportion."""
    pool = PyramidRoIAlign(7, anchor_scale)
    sides = torch.tensor([1, 2 * unit - 1, 2 * unit, 4 * unit - 1, 4 * unit, 8 * unit - 1, 8 * unit, 40 * unit])
    boxes = torch.zeros(len(sides), 4)
    boxes[:, 2:] = sides[:, None]
    levels = [0, 0, 1, 1, 2, 2, 3, 3]
    assert pool.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    assert pool.map_levels([boxes]).tolist() == levels
    # A first batch of one image that the padding makes twice as large would mislead torchvision's inference.
    tiny = {stage: torch.zeros(1, 1, 64 // 2**i, 64 // 2**i) for i, stage in enumerate(STAGES)}
    pool(tiny, [boxes], [(100, 100)])
    assert pool.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    assert pool.map_levels([boxes]).tolist() == levels


def test_roi_align_convention(features):
    """Not aligned, 2x2 samples: the cell in row i averages the feature at start + (i + 1/4, i + 3/4) cell sizes."""
    box = torch.tensor([[10.0, 20.0, 38.0, 41.0]])
    pooled = PyramidRoIAlign(7, 8)(features, [box, box[:0]], SIZES)
    assert pooled.shape == (1, 8, 7, 7)
    feature = features["c2"][0].numpy()
    x1, y1, x2, y2 = (box[0] / 4).tolist()
    for i, j in ((0, 0), (2, 5), (6, 6)):
        total = np.zeros(8)
        for a in (0.25, 0.75):
            for b in (0.25, 0.75):
                y, x = y1 + (i + a) * (y2 - y1) / 7, x1 + (j + b) * (x2 - x1) / 7
                top, left = int(y), int(x)
                for row, wy in ((top, 1 - (y - top)), (top + 1, y - top)):
                    for column, wx in ((left, 1 - (x - left)), (left + 1, x - left)):
                        total += wy * wx * feature[:, row, column]
        np.testing.assert_allclose(pooled[0, :, i, j], total / 4, atol=1e-5)


def test_each_roi_reads_its_image_and_level(features):
    boxes = [random_boxes(5, 0), random_boxes(4, 1) * 2]
    pooled = PyramidRoIAlign(7, 2)(features, boxes, SIZES)
    expected = []
    for image, rois in enumerate(boxes):
        for box in rois:
            side = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
            level = min(max(math.floor(math.log2(side / 14)), 0), 3)
            level_features = features[STAGES[level]][image : image + 1]
            expected.append(roi_align(level_features, [box[None]], 7, 1 / 2 ** (level + 2), 2)[0])
    torch.testing.assert_close(pooled, torch.stack(expected))


def overlap(a, b) -> float:
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def smooth_l1(difference: float) -> float:
    d = abs(difference)
    return d * d / 2 if d < 1 else d - 0.5


def objects():
    boxes = [torch.tensor([[8.0, 6.0, 36.0, 34.0], [40.0, 30.0, 82.0, 72.0]]), torch.tensor([[4.0, 40.0, 60.0, 68.0]])]
    labels = [torch.tensor([2, 0]), torch.tensor([1])]
    generator = torch.Generator().manual_seed(1)
    masks = [
        (torch.rand(len(box), *size, generator=generator) > 0.4).to(torch.uint8)
        for box, size in zip(boxes, SIZES, strict=True)
    ]
    return boxes, labels, masks


def test_losses_by_loops(spec, features):
    boxes, labels, masks = objects()
    shifts = torch.tensor([[0.0, 0, 0, 0], [28, 0, 28, 0], [0, 14, 0, 14], [3, 3, -4, 5], [30, 30, 30, 30]])
    proposals = [(image[:, None] + shifts).flatten(0, 1) for image in boxes]
    heads = build(replace(spec, roi_samples=10**6))  # everything is sampled: no randomness
    losses = heads.losses(features, proposals, SIZES, boxes, labels, masks)

    rois = [torch.cat([o, p]) for o, p in zip(boxes, proposals, strict=True)]
    logits, deltas = heads.boxes(features, rois, SIZES)
    mask_logits = heads.masks(features, rois, SIZES)
    classification, regression, mask_terms = [], [], []
    index = 0
    for image, image_rois in enumerate(rois):
        for roi in image_rois.tolist():
            overlaps = [overlap(target.tolist(), roi) for target in boxes[image]]
            best = max(range(len(overlaps)), key=overlaps.__getitem__)
            label = int(labels[image][best]) + 1 if overlaps[best] >= 0.5 else 0
            scores = logits[index].tolist()
            classification.append(math.log(sum(math.exp(s) for s in scores)) - scores[label])
            if label:
                target = boxes[image][best].tolist()
                width, height = roi[2] - roi[0], roi[3] - roi[1]
                expected = [
                    (target[0] + target[2] - roi[0] - roi[2]) / 2 / width / 0.1,
                    (target[1] + target[3] - roi[1] - roi[3]) / 2 / height / 0.1,
                    math.log((target[2] - target[0]) / width) / 0.2,
                    math.log((target[3] - target[1]) / height) / 0.2,
                ]
                predicted = deltas[index, label].tolist()
                regression.append(sum(smooth_l1(p - t) for p, t in zip(predicted, expected, strict=True)))
                grid = roi_align(
                    masks[image][best][None, None].float(), [torch.tensor([roi])], 28, sampling_ratio=-1, aligned=True
                )[0, 0]
                for value, inside in zip(
                    mask_logits[index, label].flatten().tolist(), (grid >= 0.5).flatten().tolist(), strict=True
                ):
                    mask_terms.append(math.log1p(math.exp(-value if inside else value)))
            index += 1
    assert 0 < len(regression) < index
    assert losses["loss_classifier"].item() == pytest.approx(sum(classification) / index, rel=1e-4)
    assert losses["loss_box"].item() == pytest.approx(sum(regression) / index, rel=1e-4)
    assert losses["loss_mask"].item() == pytest.approx(sum(mask_terms) / len(mask_terms), rel=1e-4)


def test_objects_are_among_the_rois(spec):
    boxes, labels, _ = objects()
    far = [torch.tensor([[0.0, 0.0, 3.0, 3.0]]).repeat(40, 1)] * 2
    rois = build(spec).sample(far, boxes, labels)
    for image, targets, classes in zip(rois, boxes, labels, strict=True):
        foreground = image.labels > 0
        assert torch.equal(image.boxes[foreground], targets)
        assert torch.equal(image.labels[foreground], classes + 1)
        assert len(image.boxes) == spec.roi_samples


def test_a_quarter_of_the_rois_is_foreground_at_most(spec):
    boxes, labels, _ = objects()
    near = [image.repeat_interleave(30, 0) + torch.rand(30 * len(image), 4) for image in boxes]
    proposals = [torch.cat([image, random_boxes(40, 2) / 20]) for image in near]
    for image in build(spec).sample(proposals, boxes, labels):
        assert (int((image.labels > 0).sum()), len(image.labels)) == (spec.roi_samples // 4, spec.roi_samples)


def test_box_losses_change_form_at_one():
    logits, labels = torch.zeros(2, 3), torch.tensor([2, 0])
    deltas = torch.zeros(2, 3, 4)
    deltas[0, 2] = torch.tensor([0.5, -1.0, 3.0, 0.0])
    deltas[0, 1] = 100.0  # of a class that is not asked for
    deltas[1] = 100.0  # of the background
    classification, box = box_losses(logits, deltas, labels, torch.zeros(2, 4))
    assert classification.item() == pytest.approx(math.log(3))
    assert box.item() == pytest.approx((0.125 + 0.5 + 2.5) / 2)


def test_mask_loss_reads_the_class_of_the_roi_alone():
    logits = torch.full((1, 3, 2, 2), 50.0)
    logits[0, 2] = torch.tensor([[0.0, 2.0], [-1.0, 3.0]])
    targets = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    expected = (math.log(2) + math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)) + math.log1p(math.exp(3))) / 4
    assert mask_loss(logits, torch.tensor([2]), targets).item() == pytest.approx(expected)


def test_detections_by_loops(spec):
    """Class by class: the threshold, decoding, clipping, greedy NMS at 0.5; then the best of all classes."""
    generator = torch.Generator().manual_seed(4)
    proposals = random_boxes(3, 5).repeat(10, 1)  # crowded, so that NMS has much to decide
    scores = torch.randn(30, 4, generator=generator).mul(2).softmax(dim=1)
    deltas = torch.randn(30, 4, 4, generator=generator)
    boxes, found_scores, found_labels = build(replace(spec, score_threshold=0.1)).select(
        scores, deltas, proposals, (70, 60)
    )
    candidates = []
    for label in range(3):
        survivors = []
        for k in sorted(range(30), key=lambda k: -scores[k, label + 1]):
            score = float(scores[k, label + 1])
            x1, y1, x2, y2 = proposals[k].tolist()
            dx, dy, dw, dh = (deltas[k, label + 1] * torch.tensor([0.1, 0.1, 0.2, 0.2])).tolist()
            x, y = (x1 + x2) / 2 + dx * (x2 - x1), (y1 + y2) / 2 + dy * (y2 - y1)
            w, h = (x2 - x1) * math.exp(dw), (y2 - y1) * math.exp(dh)
            box = np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, [60, 70, 60, 70])
            thin = min(box[2] - box[0], box[3] - box[1]) < 0.01
            if score > 0.1 and not thin and all(overlap(box, other) <= 0.5 for _, other in survivors):
                survivors.append((score, box))
        candidates += [(score, label, box) for score, box in survivors]
    assert len(candidates) > spec.detections
    assert any(overlap(a[2], b[2]) > 0.4 for a in candidates for b in candidates if a is not b and a[1] == b[1])
    expected = sorted(candidates, key=lambda entry: -entry[0])[: spec.detections]
    np.testing.assert_allclose(found_scores, [score for score, _, _ in expected], rtol=1e-6)
    assert found_labels.tolist() == [label for _, label, _ in expected]
    np.testing.assert_allclose(boxes, np.array([box for _, _, box in expected]), atol=1e-3)


def test_nothing_above_the_threshold(spec, features):
    heads = build(replace(spec, score_threshold=1.0))
    for found in heads.detect(features, [random_boxes(5, 0)] * 2, SIZES):
        assert found.boxes.shape == (0, 4)
        assert found.masks.shape == (0, 28, 28)

"""The choice of RoIs, and both heads' losses and detections against plain loops."""

from __future__ import annotations

import math
from dataclasses import replace

import loops
import numpy as np
import pytest
import torch
from loops import SIZES, objects, random_boxes

from repro.detection.roi import RoIHeads, compute_box_losses, compute_mask_losses

pytestmark = pytest.mark.rounding


def build(spec) -> RoIHeads:
    return loops.shaken(RoIHeads(spec, torch.Generator()))


def test_losses_by_loops(spec, features):
    boxes, labels, masks = objects()
    shifts = torch.tensor([[0.0, 0, 0, 0], [28, 0, 28, 0], [0, 14, 0, 14], [3, 3, -4, 5], [30, 30, 30, 30]])
    proposals = [(image[:, None] + shifts).flatten(0, 1) for image in boxes]
    heads = build(replace(spec, roi_samples=10**6))  # everything is sampled: no randomness
    losses = heads.losses(features, proposals, SIZES, boxes, labels, masks)

    rois = [torch.cat([o, p]) for o, p in zip(boxes, proposals, strict=True)]
    expected = loops.losses(heads, features, rois, boxes, labels, masks)
    assert 0 < expected.pop("foreground") < sum(map(len, rois))
    assert {name: term.item() for name, term in losses.items()} == pytest.approx(expected, rel=1e-4)


def test_objects_are_among_the_rois(spec):
    boxes, labels, _ = objects()
    far = [torch.tensor([[0.0, 0.0, 3.0, 3.0]]).repeat(40, 1)] * 2
    rois = build(spec).sample(far, boxes, labels)
    assert rois.counts == [spec.roi_samples] * 2
    assert rois.foreground_counts == [len(targets) for targets in boxes]
    assert torch.equal(rois.foreground, torch.where(rois.labels > 0)[0])
    assert torch.equal(rois.boxes[rois.foreground], torch.cat(boxes))
    assert torch.equal(rois.wanted, torch.cat(boxes))
    assert torch.equal(rois.labels[rois.foreground], torch.cat(labels) + 1)
    assert rois.images.tolist() == [0] * spec.roi_samples + [1] * spec.roi_samples


def test_an_object_claims_its_best_proposal_whatever_its_own_box_overlaps(spec):
    """The first proposal overlaps the second object more, which claims another; the first object has no better one."""
    boxes = [torch.tensor([[0.0, 0.0, 20.0, 10.0], [2.0, 0.0, 22.0, 10.0], [2.0, 0.0, 22.0, 10.0]])]
    proposals = [torch.tensor([[1.5, 0.0, 21.5, 10.0], [2.0, 0.0, 21.9, 10.0]])]
    rois = build(replace(spec, roi_samples=10**6)).sample(proposals, boxes, [torch.tensor([0, 1, 2])])
    # An object's own box is its own, even where it is another's, too; of equal objects the last claims.
    assert rois.objects.tolist() == [0, 1, 2, 0, 2]
    assert rois.labels.tolist() == [1, 2, 3, 1, 3]
    assert torch.equal(rois.wanted, boxes[0][rois.objects])


def test_a_quarter_of_the_rois_is_foreground_at_most(spec):
    boxes, labels, _ = objects()
    near = [image.repeat_interleave(30, 0) + torch.rand(30 * len(image), 4) for image in boxes]
    proposals = [torch.cat([image, random_boxes(40, 2) / 20]) for image in near]
    rois = build(spec).sample(proposals, boxes, labels)
    assert rois.counts == [spec.roi_samples] * 2
    assert [int((image > 0).sum()) for image in rois.labels.split(rois.counts)] == [spec.roi_samples // 4] * 2
    assert rois.foreground_counts == [spec.roi_samples // 4] * 2


def test_box_losses_change_form_at_one():
    deltas = torch.tensor([[0.5, -1.0, 3.0, 0.0]])
    assert compute_box_losses(deltas, torch.zeros(1, 4)).tolist() == [[0.125, 0.5, 2.5, 0.0]]


def test_mask_losses_read_the_class_of_the_roi_alone():
    logits = torch.full((1, 3, 2, 2), 50.0)
    logits[0, 2] = torch.tensor([[0.0, 2.0], [-1.0, 3.0]])
    targets = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    expected = [math.log(2), math.log1p(math.exp(-2)), math.log1p(math.exp(-1)), math.log1p(math.exp(3))]
    assert compute_mask_losses(logits, torch.tensor([2]), targets).flatten().tolist() == pytest.approx(expected)


def test_detections_by_loops(spec):
    """Class by class: the threshold, decoding, clipping, greedy NMS at 0.5; then the best of all classes."""
    generator = torch.Generator().manual_seed(4)
    proposals = random_boxes(3, 5).repeat(10, 1)  # crowded, so that NMS has much to decide
    scores = torch.randn(30, 4, generator=generator).mul(2).softmax(dim=1)
    deltas = torch.randn(30, 4, 4, generator=generator)
    boxes, found_scores, found_labels = build(replace(spec, score_threshold=0.1)).select(
        scores, deltas, proposals, (70, 60), (1.0, 1.0)
    )
    candidates = []
    for label in range(3):
        survivors = []
        for k in sorted(range(30), key=lambda k: -scores[k, label + 1]):
            score = float(scores[k, label + 1])
            box = loops.decode(deltas[k, label + 1], proposals[k], (70, 60))
            thin = min(box[2] - box[0], box[3] - box[1]) < 0.01
            if score > 0.1 and not thin and all(loops.overlap(box, other) <= 0.5 for _, other in survivors):
                survivors.append((score, box))
        candidates += [(score, label, box) for score, box in survivors]
    assert len(candidates) > spec.detections
    assert any(loops.overlap(a[2], b[2]) > 0.4 for a in candidates for b in candidates if a is not b and a[1] == b[1])
    expected = sorted(candidates, key=lambda entry: -entry[0])[: spec.detections]
    np.testing.assert_allclose(found_scores, [score for score, _, _ in expected], rtol=1e-6)
    assert found_labels.tolist() == [label for _, label, _ in expected]
    np.testing.assert_allclose(boxes, np.array([box for _, _, box in expected]), atol=1e-3)


def test_nothing_above_the_threshold(spec, features):
    heads = build(replace(spec, score_threshold=1.0))
    for found in heads.detect(features, [random_boxes(5, 0)] * 2, SIZES, [(1.0, 1.0)] * 2):
        assert found.boxes.shape == (0, 4)
        assert found.masks.shape == (0, 28, 28)

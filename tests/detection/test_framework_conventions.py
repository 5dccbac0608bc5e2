"""Each framework's conventions against that framework, or against its arithmetic written out in its own terms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from loops import random_boxes
from pycocotools import mask as coco_mask
from torch import nn
from torch.nn import functional as F
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.models.detection.roi_heads import expand_boxes

from repro.detection.boxes import clip, rescale
from repro.detection.roi import Instances, RoIHeads
from repro.detection.torchvision import MaskRCNN
from repro.experiments import Backbone, Detector
from repro.experiments.conventions import CONTINUOUS, DETECTRON2, MMDETECTION_1, MMDETECTION_2, TORCHVISION

pytestmark = pytest.mark.rounding

# ------------------------------------------------------------------ torchvision


@pytest.fixture(scope="module")
def stock():
    """torchvision's Mask R-CNN as it comes, of random weights that find many things, for images of 224 to 320.

    It looks at 24 proposals: at every class of them, none is left out for want of places.
    """
    torch.manual_seed(0)
    model = maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=5,
        min_size=224,
        max_size=320,
        rpn_post_nms_top_n_test=24,
    )
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in norms:
        layer.momentum = 1.0  # one batch makes the statistics fit
    for layer in (model.rpn.head.cls_logits, model.rpn.head.bbox_pred, model.roi_heads.box_predictor.bbox_pred):
        nn.init.normal_(layer.weight, std=0.005)
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.02)
    nn.init.normal_(model.roi_heads.mask_predictor.mask_fcn_logits.weight, std=0.3)
    with torch.no_grad():
        model.backbone(torch.randn(2, 3, 224, 320, generator=torch.Generator().manual_seed(1)))
    return model.eval()


def test_torchvisions_mask_rcnn_as_it_comes(stock, make_sample):
    """150 x 200 becomes 224 x 298; the padded image is not a power of two."""
    sample = make_sample((150, 200), (), ())
    image = sample.image / 255
    with torch.no_grad():
        (expected,) = stock([image])
    resized = F.interpolate(image[None], size=(224, 298), mode="bilinear", align_corners=False)[0] * 255

    spec = Detector(Backbone(), num_classes=4, proposals=(24, 24))
    model = MaskRCNN(spec, TORCHVISION).eval()
    renamed = {
        key.replace("backbone.body.", "backbone.").replace("backbone.fpn.", "fpn."): value
        for key, value in stock.state_dict().items()
    }
    model.load_state_dict(renamed)
    (found,) = model([replace(sample, image=resized)])

    assert 20 < len(expected["boxes"]) == len(found.boxes) < spec.detections
    theirs = [expected[name].numpy() for name in ("boxes", "scores", "labels")]
    distances = np.abs(found.boxes[:, None] - theirs[0]).max(axis=2) + 1000 * (found.labels[:, None] + 1 != theirs[2])
    match = distances.argmin(axis=0)  # scores can be close enough to change places
    assert sorted(match) == list(range(len(match)))
    np.testing.assert_allclose(found.boxes[match], theirs[0], atol=0.01)
    np.testing.assert_allclose(found.scores[match], theirs[1], atol=2e-4)
    masks = coco_mask.decode(found.masks).transpose(2, 0, 1)[match]
    assert masks.any(axis=(1, 2)).all()
    # Rounding moves a mask by a pixel whose grown box ends at a whole one, and decides where its probability is a half.
    grown = expand_boxes(expected["boxes"], 30 / 28)
    clear = ((grown - grown.round()).abs() > 0.01).all(dim=1).numpy()
    assert clear.mean() > 0.6
    theirs = expected["masks"][:, 0].numpy()[clear]
    differing = theirs[masks[clear] != (theirs >= 0.5)]
    # Less than 1.5e-4 over 10 seeds x 3 instruction sets; without the soft border, or not in whole pixels, 0.5.
    assert np.abs(differing - 0.5).max(initial=0) < 1e-3


# ------------------------------------------------------------------ mmdetection before 2.0, in its inclusive boxes


def inclusive(boxes) -> np.ndarray:
    return np.asarray(boxes, dtype=np.float64) - [0, 0, 1, 1]


def delta2bbox(roi, deltas, size) -> np.ndarray:
    """Its decoding: `roi` and the result end on their last pixel; clipped to the last pixel of an image of `size`."""
    dx, dy, dw, dh = deltas.double().numpy() * (0.1, 0.1, 0.2, 0.2)
    px, py = (roi[0] + roi[2]) * 0.5, (roi[1] + roi[3]) * 0.5
    pw, ph = roi[2] - roi[0] + 1, roi[3] - roi[1] + 1
    gw, gh = pw * math.exp(dw), ph * math.exp(dh)
    gx, gy = px + pw * dx, py + ph * dy
    box = [gx - gw * 0.5 + 0.5, gy - gh * 0.5 + 0.5, gx + gw * 0.5 - 0.5, gy + gh * 0.5 - 0.5]
    return np.clip(box, 0, [size[1] - 1, size[0] - 1, size[1] - 1, size[0] - 1])


def inclusive_overlap(a, b) -> float:
    shared = max(min(a[2], b[2]) - max(a[0], b[0]) + 1, 0) * max(min(a[3], b[3]) - max(a[1], b[1]) + 1, 0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return shared / (sum(areas) - shared)


def inclusive_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    kept: list[int] = []
    for k in np.argsort(-scores):
        if all(inclusive_overlap(boxes[k], boxes[other]) <= threshold for other in kept):
            kept.append(int(k))
    return kept


def inclusive_paste(mask: np.ndarray, box, height: int, width: int) -> np.ndarray:
    """`box` cut to whole pixels, `mask` resized to it, half a pixel being the centre of a pixel."""
    x1, y1, x2, y2 = (int(value) for value in box)
    w, h = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)

    def weights(length: int, cells: int) -> np.ndarray:
        rows = np.zeros((length, cells))
        for i in range(length):
            position = min(max((i + 0.5) * cells / length - 0.5, 0), cells - 1)
            low = min(int(position), cells - 2)
            rows[i, low], rows[i, low + 1] = 1 - (position - low), position - low
        return rows

    pasted = np.zeros((height, width), dtype=np.uint8)
    pasted[y1 : y1 + h, x1 : x1 + w] = (weights(h, len(mask)) @ mask @ weights(w, len(mask)).T > 0.5)[
        : height - y1, : width - x1
    ]
    return pasted


@pytest.mark.parametrize(("original", "short", "long"), [((77, 100), 160, 267), ((300, 401), 120, 200)])
def test_mmdetection_1_from_deltas_to_the_original_image(spec, make_sample, original, short, long):
    """Larger and smaller than the original image, its width rounded; boxes touch every border."""
    factor = min(short / min(original), long / max(original))
    size = tuple(int(side * factor + 0.5) for side in original)
    torch.manual_seed(0)
    model = MaskRCNN(
        replace(spec, score_threshold=0.1, detections=40, short_side=short, long_side=long), MMDETECTION_1
    ).eval()
    generator = torch.Generator().manual_seed(3)
    corner = torch.tensor([size[1] - 70.0, size[0] - 70.0] * 2)
    proposals = torch.cat([random_boxes(20, 1), random_boxes(20, 2) + corner])
    proposals = clip(proposals.repeat(2, 1), size, inclusive=True)
    deltas = torch.randn(80, 4, 4, generator=generator) * 2
    deltas[:40] = deltas[40:] + torch.randn(40, 4, 4, generator=generator) * 0.5  # for NMS to decide on
    scores = torch.randn(80, 4, generator=generator).mul(2).softmax(dim=1)
    sample = make_sample(size, (), (), original=original)

    factors = model.compute_factors(sample)
    boxes, found_scores, labels = model.roi_heads.select(scores, deltas, proposals, size, factors)
    masks = torch.rand(len(boxes), 28, 28, generator=generator)
    found = model.to_original(Instances(boxes, found_scores, labels, masks), sample)

    expected = []
    for label in range(3):
        above = np.flatnonzero(scores[:, label + 1].numpy() > 0.1)
        decoded = [delta2bbox(inclusive(proposals[k]), deltas[k, label + 1], size) for k in above]
        scaled = np.array(decoded) / factor
        of_class = scores[above, label + 1].numpy()
        expected += [(of_class[k], label, scaled[k]) for k in inclusive_nms(scaled, of_class, 0.5)]
    expected = sorted(expected, key=lambda entry: -entry[0])[:40]
    assert len(expected) == 40
    np.testing.assert_allclose(found.scores, [score for score, _, _ in expected])
    assert found.labels.tolist() == [label for _, label, _ in expected]
    np.testing.assert_allclose(inclusive(found.boxes), [box for _, _, box in expected], atol=1e-3)
    assert found.boxes.min() == 0
    assert (found.boxes.max(axis=0)[2:] - 1) * factor == pytest.approx([size[1] - 1, size[0] - 1], abs=1e-3)
    different = 0
    for k, encoded in enumerate(found.masks):
        pasted = inclusive_paste(masks[k].double().numpy(), inclusive(found.boxes[k]), *original)
        different += int((pasted != coco_mask.decode(encoded)).sum())
    assert different <= 2  # a probability of 0.5, within the rounding of float32


def test_inclusive_boxes_overlap_otherwise_in_the_original_image(spec):
    """Two boxes of 6 x 10 and 12 x 10 pixels overlap by half; half as large, with one pixel kept, by 3.5 / 6.5."""
    boxes = torch.tensor([[10.0, 10, 22, 20], [10.0, 10, 16, 20]])
    scores = torch.tensor([[0.1, 0.9, 0, 0], [0.2, 0.8, 0, 0]])
    deltas = torch.zeros(2, 4, 4)
    for conventions, count in ((CONTINUOUS, 2), (MMDETECTION_1, 1)):
        heads = RoIHeads(spec, torch.Generator(), conventions)
        assert len(heads.select(scores, deltas, boxes, (90, 90), (1.0, 1.0))[0]) == 2
        assert len(heads.select(scores, deltas, boxes, (90, 90), (0.5, 0.5))[0]) == count


def test_inclusive_boxes_keep_a_pixel():
    size = (50, 100)
    boxes = torch.tensor(
        [[-9.0, -9.0, -5.0, 0.5], [99.5, 20.0, 120.0, 30.0], [3.0, 49.6, 7.0, 49.9], [1.0, 2.0, 3.0, 4.0]]
    )
    clipped = clip(boxes, size, inclusive=True)
    np.testing.assert_allclose(clipped, [[0, 0, 1, 1], [99, 20, 100, 30], [3, 49, 7, 49.9], [1, 2, 3, 4]], rtol=1e-5)
    np.testing.assert_allclose(inclusive(clipped), np.clip(inclusive(boxes), 0, [99, 49, 99, 49]), atol=1e-5)
    assert clip(boxes, size, inclusive=False)[0].tolist() == [0, 0, 0, 0.5]


def test_proposals_of_mmdetection_1_keep_a_pixel(spec, make_sample):
    """A proposal that lies outside of the image is a pixel of its border, not nothing."""
    samples = [make_sample()]
    for conventions, thinnest in ((CONTINUOUS, 1e-3), (MMDETECTION_1, 1.0)):
        torch.manual_seed(0)
        model = MaskRCNN(replace(spec, proposals=(500, 500), proposals_per_level=(500, 500)), conventions).eval()
        nn.init.normal_(model.rpn.head.bbox_pred.bias, std=1.5)
        images = model.batch(samples)
        with torch.no_grad():
            (proposals,), _ = model.rpn(images, model.features(images))
        sides = proposals[:, 2:] - proposals[:, :2]
        assert (conventions is CONTINUOUS) == bool(sides.min() < 0.999)
        assert sides.min() >= thinnest - 1e-4
        assert (proposals[:, 2:] <= 96).all()


def test_one_factor_or_two(model_of, make_sample):
    """500 x 375 at 800 is 1067 wide, not 1066.67: mmdetection 1 divides both axes by 800 / 375."""
    sample = replace(make_sample((80, 107), (), ()), size=(375, 500))
    sides = {"short_side": 80, "long_side": 134}
    assert model_of(CONTINUOUS, **sides).compute_factors(sample) == (375 / 80, 500 / 107)
    assert model_of(MMDETECTION_1, **sides).compute_factors(sample) == pytest.approx((375 / 80, 375 / 80))
    wide = replace(sample, size=(100, 500))
    assert model_of(MMDETECTION_1, **sides).compute_factors(wide) == pytest.approx((500 / 134, 500 / 134))


def test_rescaling_moves_the_last_pixel():
    boxes = torch.tensor([[4.0, 6.0, 12.0, 30.0]])
    assert rescale(boxes, (0.5, 2.0), inclusive=False).tolist() == [[8, 3, 24, 15]]
    assert (inclusive(rescale(boxes, (0.5, 0.5), inclusive=True)) == inclusive(boxes) * 0.5).all()


# ------------------------------------------------------------------ all of them


@pytest.fixture
def model_of(spec):
    return lambda conventions, **sizes: MaskRCNN(replace(spec, **sizes), conventions).eval()


@pytest.mark.parametrize("conventions", [CONTINUOUS, MMDETECTION_1, MMDETECTION_2, TORCHVISION])
def test_images_are_rgb_with_imagenets_statistics(model_of, make_sample, conventions):
    sample = make_sample()
    pixels = model_of(conventions).batch([sample]).tensors[0]
    means = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviations = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    torch.testing.assert_close(pixels, (sample.image / 255 - means) / deviations, atol=1e-5, rtol=1e-5)


def test_detectron2s_images_are_bgr_and_not_scaled(model_of, make_sample):
    sample = make_sample()
    pixels = model_of(DETECTRON2).batch([sample]).tensors[0]
    red, green, blue = sample.image.float()
    expected = torch.stack([blue - 103.53, green - 116.28, red - 123.675])
    torch.testing.assert_close(pixels, expected)


@pytest.mark.parametrize("conventions", [MMDETECTION_1, MMDETECTION_2, TORCHVISION, DETECTRON2])
@pytest.mark.parametrize("cascade", [False, True])
def test_conventions_reach_every_part(model_of, make_sample, conventions, cascade):
    """They change what is found, not which weights there are; training works with them too."""
    torch.manual_seed(0)
    reference = model_of(CONTINUOUS, cascade=cascade)
    model = model_of(conventions, cascade=cascade)
    model.load_state_dict(reference.state_dict())
    assert model.rpn.anchor_generator.conventions is conventions
    for heads in model.roi_heads.stage_heads:
        assert heads.box_roi_pool.conventions is heads.mask_roi_pool.conventions is conventions
        assert heads.inclusive == model.rpn.inclusive == conventions.inclusive_boxes
    (found,) = model([make_sample((90, 96), original=(45, 48))])
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert all(mask["size"] == [45, 48] for mask in found.masks)
    assert sum(model.train()([make_sample()]).values()).isfinite()

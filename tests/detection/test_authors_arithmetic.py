"""Targets and masks against the authors' arithmetic, written again here from their repository at 38b0b8e, with OpenCV.

Its `mask_target.py`, `fcn_mask_head.py` (`get_seg_masks`), `transforms.py` and `coco.py`; mmcv 0.2.8 for resizing.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from repro.data.coco import CocoDetection, DetectionSample
from repro.detection.mask_targets import crop
from repro.detection.roi import Instances
from repro.detection.torchvision import MaskRCNN
from repro.experiments.conventions import AUTHORS, MMDETECTION_1

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: `nox -s tests` installs requirements-peers.lock")

SHORT, LONG = 800, 1333


def to_inclusive(boxes: np.ndarray) -> np.ndarray:
    return (boxes - np.array([0, 0, 1, 1], dtype=np.float32)).astype(np.float32)


def make_target(mask: np.ndarray, box: np.ndarray) -> np.ndarray:
    """`mask_target_single` for one RoI, whose `box` ends on its last pixel."""
    x1, y1, x2, y2 = box.astype(np.int32)
    w, h = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
    return cv2.resize(mask[y1 : y1 + h, x1 : x1 + w], (28, 28), interpolation=cv2.INTER_LINEAR)


def segment(probabilities: np.ndarray, box: np.ndarray, scale: float, height: int, width: int) -> np.ndarray:
    """`get_seg_masks` for one detection: `box` is (4,) float32, in the resized image."""
    x1, y1, x2, y2 = (box / np.float32(scale)).astype(np.int32)
    w, h = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
    image = np.zeros((height, width), dtype=np.uint8)
    resized = cv2.resize(probabilities, (int(w), int(h)), interpolation=cv2.INTER_LINEAR)
    image[y1 : y1 + h, x1 : x1 + w] = (resized > 0.5).astype(np.uint8)
    return image


def draw_blobs(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """uint8 (3, height, width): masks of specks, patches and large areas."""
    masks = []
    for side in (2, 8, 40):
        noise = rng.random((max(height // side, 2), max(width // side, 2)), dtype=np.float32)
        masks.append(cv2.resize(noise, (width, height)) > 0.5)
    return np.stack(masks).astype(np.uint8)


def draw_boxes(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """float32 (count, 4) within the image, continuous; a third are thinner than 30 pixels, some a pixel or less."""
    first = rng.random((count, 2)) * [width - 1, height - 1]
    sides = rng.random((count, 2)) ** 2 * [width, height]
    sides[: count // 3] = rng.random((count // 3, 2)) * 30
    last = np.minimum(first + sides, [width - 1, height - 1])
    return np.concatenate([first, last + 1], axis=1).astype(np.float32)


def count_other_cells(masks: np.ndarray, objects: np.ndarray, boxes: np.ndarray) -> tuple[int, int]:
    """Cells of the mask head's targets that differ from the authors', and all."""
    given = ([torch.from_numpy(values)] for values in (masks, objects, boxes))
    ours = crop(*given, 28, inclusive=True)
    theirs = [make_target(masks[i], box) for i, box in zip(objects, to_inclusive(boxes), strict=True)]
    return int((ours.numpy() != np.stack(theirs)).sum()), ours.numel()


def test_targets_of_generated_masks_equal_opencv():
    rng = np.random.default_rng(0)
    for _ in range(20):
        height, width = (int(side) for side in rng.integers(20, 700, 2))
        masks = draw_blobs(rng, height, width)
        other, every = count_other_cells(masks, rng.integers(0, 3, 200), draw_boxes(rng, 200, height, width))
        assert (other, every) == (0, 200 * 784)


def test_targets_of_photographs_equal_opencv(coco_tiny):
    """What the loader and the crop make of annotations together: 1300 RoIs around objects of 40 photographs."""
    ours = CocoDetection(coco_tiny, "train2017", 80, SHORT, LONG, inclusive=True)
    theirs = COCO(str(coco_tiny / "annotations" / "instances_train2017.json"))
    rng = np.random.default_rng(1)
    cells = 0
    for index, image_id in enumerate(ours.image_ids[:40]):
        sample = ours.sample(index, train=True)
        boxes, labels, masks = load_theirs(theirs, image_id, flip=False)
        assert labels == sample.labels.tolist()
        np.testing.assert_array_equal(sample.masks, masks)
        np.testing.assert_allclose(to_inclusive(sample.boxes.numpy()), boxes, atol=2e-4)

        objects = np.repeat(np.arange(len(boxes)), 4)
        size = np.array(sample.image.shape[:0:-1] * 2)
        jittered = sample.boxes.numpy()[objects]
        jittered = jittered + rng.normal(size=jittered.shape) * 0.1 * np.tile(jittered[:, 2:] - jittered[:, :2], 2)
        jittered[:, :2] = np.clip(jittered[:, :2], 0, size[:2] - 1)
        jittered[:, 2:] = np.clip(jittered[:, 2:], jittered[:, :2] + 1, size[2:])
        other, every = count_other_cells(masks, objects, jittered.astype(np.float32))
        assert other == 0
        cells += every
    assert cells >= 1000 * 784


def load_theirs(coco: COCO, image_id: int, flip: bool) -> tuple[np.ndarray, list[int], np.ndarray]:
    """`_parse_ann_info`, `BboxTransform` and `MaskTransform`: inclusive boxes (n, 4), labels, masks (n, H, W)."""
    image = coco.loadImgs([image_id])[0]
    scale = min(LONG / max(image["height"], image["width"]), SHORT / min(image["height"], image["width"]))
    width, height = int(image["width"] * scale + 0.5), int(image["height"] * scale + 0.5)
    boxes, labels, masks = [], [], []
    for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image_id])):
        x, y, w, h = annotation["bbox"]
        if annotation["area"] <= 0 or w < 1 or h < 1 or annotation["iscrowd"]:
            continue
        boxes.append([x, y, x + w - 1, y + h - 1])
        labels.append(coco.getCatIds().index(annotation["category_id"]))
        mask = cv2.resize(coco.annToMask(annotation), (width, height), interpolation=cv2.INTER_NEAREST)
        masks.append(mask[:, ::-1] if flip else mask)
    scaled = np.array(boxes, dtype=np.float32) * scale
    if flip:
        scaled[:, [0, 2]] = width - scaled[:, [2, 0]] - 1
    scaled[:, 0::2] = np.clip(scaled[:, 0::2], 0, width - 1)
    scaled[:, 1::2] = np.clip(scaled[:, 1::2], 0, height - 1)
    return scaled, labels, np.stack(masks)


def test_flipped_objects(coco_tiny):
    ours = CocoDetection(coco_tiny, "train2017", 80, SHORT, LONG, flip=1.0, inclusive=True)
    theirs = COCO(str(coco_tiny / "annotations" / "instances_train2017.json"))
    for index, image_id in enumerate(ours.image_ids[:8]):
        sample = ours.sample(index, train=True)
        boxes, _, masks = load_theirs(theirs, image_id, flip=True)
        np.testing.assert_array_equal(sample.masks, masks)
        np.testing.assert_allclose(to_inclusive(sample.boxes.numpy()), boxes, atol=2e-4)


@pytest.mark.parametrize(
    ("change", "learned"),
    [
        ({}, True),
        ({"bbox": [58.5, 10, 20, 20]}, True),  # less than a pixel of it is in the image
        ({"bbox": [10, -30, 20, 20]}, True),  # nothing is
        ({"segmentation": [[3.0, 3.0, 5.0, 5.0]]}, True),  # an empty mask
        ({"bbox": [10, 10, 0.9, 20]}, False),
        ({"area": 0.0}, False),
    ],
)
def test_which_objects_are_learned(tmp_path, change, learned):
    square = [10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]
    one = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20], "area": 400.0, "iscrowd": 0}
    document = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 40, "width": 59}],
        "annotations": [{**one, "segmentation": [square], **change}],
        "categories": [{"id": 1}],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "train2017").mkdir()
    cv2.imwrite(str(tmp_path / "train2017" / "1.jpg"), np.zeros((40, 59, 3), np.uint8))
    (tmp_path / "annotations" / "instances_train2017.json").write_text(json.dumps(document))
    ours = CocoDetection(tmp_path, "train2017", 1, 80, 133, inclusive=True)
    assert len(ours) == learned
    if learned:
        box = ours.sample(0, train=True).boxes[0]
        assert (box[2:] - box[:2]).min() >= 1


@pytest.mark.parametrize("conventions", [AUTHORS, MMDETECTION_1])
def test_pasted_masks_equal_opencv(spec, conventions):
    """Sizes that grow, shrink and stay; boxes at all borders. A pixel may differ whose probability is a half."""
    rng = np.random.default_rng(2)
    model = MaskRCNN(replace(spec, short_side=SHORT, long_side=LONG), conventions).eval()
    other = pixels = 0
    for height, width in ((480, 640), (375, 500), (640, 427), (800, 1000), (1200, 900), (213, 640)):
        scale = min(LONG / max(height, width), SHORT / min(height, width))
        resized = int(height * scale + 0.5), int(width * scale + 0.5)
        boxes = draw_boxes(rng, 60, *resized)
        boxes[:4] = [0, 0, resized[1], resized[0]]
        boxes[0, 2:], boxes[1, :2] = 40, [resized[1] - 30, resized[0] - 1]
        noise = rng.random((60, 7, 7), dtype=np.float32)
        masks = np.stack([cv2.resize(mask, (28, 28)) for mask in noise])
        sample = DetectionSample(
            torch.zeros(3, *resized, dtype=torch.uint8), 1, (height, width), torch.zeros(0, 4), torch.zeros(0), masks
        )
        instances = Instances(
            torch.from_numpy(boxes), torch.zeros(60), torch.zeros(60, dtype=torch.int64), torch.from_numpy(masks)
        )
        for found, mask, box in zip(model.to_original(instances, sample).masks, masks, boxes, strict=True):
            # They move the detection to the original image and back before they cut it.
            there = to_inclusive(box[None])[0] / np.float32(scale) * np.float32(scale)
            theirs = segment(mask, there, scale, height, width)
            other += int((coco_mask.decode(found) != theirs).sum())
            pixels += int(theirs.sum())
    assert pixels > 1e6
    assert other <= 2

"""COCO metrics against pycocotools, and what is refused."""

import contextlib
import io
import json

import numpy as np
import pycocotools.mask as pycoco_mask
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from repro.data.coco import CocoDetection, Detections
from repro.errors import ReproError
from repro.evaluation import COCO_EVALUATOR
from repro.evaluation.coco import evaluate

pytestmark = pytest.mark.rounding

METRICS = ["ap_box", "ap50_box", "ap75_box", "ap_mask", "ap50_mask", "ap75_mask"]
HEIGHT, WIDTH = 40, 60


def rectangle(box, size=(HEIGHT, WIDTH)):
    """The run-length encoding of a filled box (x1, y1, x2, y2)."""
    x1, y1, x2, y2 = (round(float(side)) for side in box)
    mask = np.zeros(size, dtype=np.uint8, order="F")
    mask[y1:y2, x1:x2] = 1
    return pycoco_mask.encode(mask)


def found(image_id, boxes=(), scores=(), labels=(), masks=None):
    boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    masks = [rectangle(box) for box in boxes] if masks is None else masks
    return Detections(image_id, boxes, np.array(scores, dtype=np.float32), np.array(labels, dtype=np.int64), masks)


def official(path, detections, category_ids):
    """The six metrics as pycocotools computes them from the annotation file."""
    results = [
        {
            "image_id": one.image_id,
            "category_id": category_ids[label],
            "bbox": [float(x1), float(y1), float(x2) - float(x1), float(y2) - float(y1)],
            "score": float(score),
            "segmentation": mask,
        }
        for one in detections
        for (x1, y1, x2, y2), score, label, mask in zip(one.boxes, one.scores, one.labels, one.masks, strict=True)
    ]
    stats = []
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(path)
        for iou_type in ("bbox", "segm"):
            evaluator = COCOeval(truth, truth.loadRes(results), iou_type)
            evaluator.evaluate()
            evaluator.accumulate()
            evaluator.summarize()
            stats += [100 * float(value) for value in evaluator.stats[:3]]
    return dict(zip(METRICS, stats, strict=True))


@pytest.fixture
def build(tmp_path):
    """Writes a val2017 of blank images: {image id: objects}, for two classes (category ids 3 and 8)."""

    def build(objects):
        (tmp_path / "val2017").mkdir()
        for image_id in objects:
            Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "val2017" / f"{image_id}.jpg")
        flat = [{"image_id": image_id, **one} for image_id, some in objects.items() for one in some]
        document = {
            "images": [{"id": i, "file_name": f"{i}.jpg", "height": HEIGHT, "width": WIDTH} for i in objects],
            "categories": [{"id": 3, "name": "a"}, {"id": 8, "name": "b"}],
            "annotations": [{"id": number, **one} for number, one in enumerate(flat, start=1)],
        }
        (tmp_path / "annotations").mkdir()
        (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(document))
        return CocoDetection(tmp_path, "val2017", 2, HEIGHT, WIDTH)

    return build


def an_object(x, y, width, height, category_id=3, iscrowd=0):
    polygon = [x, y, x + width, y, x + width, y + height, x, y + height]
    segmentation = [[float(value) for value in polygon]]
    if iscrowd:
        mask = pycoco_mask.decode(rectangle((x, y, x + width, y + height))).ravel(order="F")
        edges = np.flatnonzero(np.diff(mask, prepend=0)).tolist()
        segmentation = {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *edges, mask.size]).tolist()}
    return {
        "category_id": category_id, "bbox": [x, y, width, height], "area": float(width * height), "iscrowd": iscrowd,
        "segmentation": segmentation,
    }  # fmt: skip


@pytest.fixture
def pair(build):
    """Two images, three objects of two classes."""
    return build({1: [an_object(2, 2, 10, 10), an_object(20, 5, 30, 20, category_id=8)], 4: [an_object(5, 5, 20, 20)]})


PERFECT = [
    found(1, [[2, 2, 12, 12], [20, 5, 50, 25]], [0.9, 0.8], [0, 1]),
    found(4, [[5, 5, 25, 25]], [0.7], [0]),
]


# -- agreement with pycocotools ---------------------------------------------------------------------------------------


def perturbed(dataset, truth, generator):
    """Ground truth, crowds included, shifted, relabelled, repeated, dropped and joined by false detections."""
    detections = []
    for image_id in dataset.image_ids:
        height, width = dataset.get_original_size(image_id)
        boxes, labels, masks = [], [], []
        for one in truth.imgToAnns[image_id]:
            for _ in range(generator.choice(4, p=[0.15, 0.5, 0.25, 0.1])):
                x, y, w, h = one["bbox"]
                noise = generator.normal(0, 0.08, 4) * [w, h, w, h]
                corners = np.array([x, y, x + w, y + h]) + noise
                boxes.append([*np.minimum(corners[:2], corners[2:]), *np.maximum(corners[:2], corners[2:])])
                label = dataset.category_ids.index(one["category_id"])
                labels.append(label if generator.random() < 0.9 else generator.integers(len(dataset.category_ids)))
                shift = generator.integers(-8, 9, 2)
                mask = np.roll(truth.annToMask(one), shift, axis=(0, 1))
                masks.append(pycoco_mask.encode(np.asfortranarray(mask)))
        for _ in range(generator.integers(4)):
            corners = generator.random(4) * [width, height, width, height]
            box = [*np.minimum(corners[:2], corners[2:]), *np.maximum(corners[:2], corners[2:])]
            boxes.append(box)
            labels.append(generator.integers(len(dataset.category_ids)))
            masks.append(rectangle(box, (height, width)))
        scores = generator.random(len(boxes)).round(2)  # some are equal
        detections.append(found(image_id, np.clip(boxes, 0, None) if boxes else (), scores, labels, masks))
    return detections


def test_equal_to_pycocotools_on_real_annotations(coco_tiny):
    dataset = CocoDetection(coco_tiny, "val2017", 80, 800, 1333)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(dataset.annotations_path)
    assert sum(one["iscrowd"] for one in truth.anns.values()) == 11
    detections = perturbed(dataset, truth, np.random.default_rng(0))
    expected = official(dataset.annotations_path, detections, dataset.category_ids)
    assert all(5 < value < 95 for value in expected.values())
    assert evaluate(detections, dataset) == pytest.approx(expected, rel=0, abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_equal_to_pycocotools_on_random_data(build, seed):
    """Crowds, images without objects, images without detections, equal scores, more than 100 detections of a class."""
    generator = np.random.default_rng(seed)

    def box():
        x, y = generator.integers(0, [WIDTH - 12, HEIGHT - 12])
        return [int(side) for side in (x, y, *generator.integers(3, 13, 2))]

    objects = {
        int(image_id): [
            an_object(*box(), category_id=int(generator.choice([3, 8])), iscrowd=int(generator.random() < 0.2))
            for _ in range(generator.integers(0, 12))
        ]
        for image_id in generator.permutation(50)[:6]
    }
    objects[99] = [an_object(*box()), an_object(*box(), category_id=8, iscrowd=1)]
    dataset = build(objects)
    detections = []
    for position, image_id in enumerate(objects):
        n = 0 if position == 1 else 230 if position == 2 else int(generator.integers(1, 40))
        near = [one["bbox"] for one in objects[image_id]] or [box()]
        corners = np.array([near[generator.integers(len(near))] for _ in range(n)], dtype=float).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        corners = (corners + generator.integers(-2, 3, corners.shape)).clip(0, [WIDTH, HEIGHT] * 2)
        corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2])
        detections.append(found(image_id, corners, generator.integers(0, 20, n) / 20, generator.integers(0, 2, n)))
    expected = official(dataset.annotations_path, detections, dataset.category_ids)
    assert evaluate(detections, dataset) == pytest.approx(expected, rel=0, abs=1e-12)


# -- known values -----------------------------------------------------------------------------------------------------


def test_perfect_predictions(pair):
    metrics = evaluate(PERFECT, pair)
    assert list(metrics) == METRICS
    assert metrics == pytest.approx(dict.fromkeys(METRICS, 100.0))


def test_the_order_of_the_images_does_not_matter(pair):
    assert evaluate(iter(PERFECT[::-1]), pair) == evaluate(PERFECT, pair)


def test_one_of_two_objects_found(pair):
    """Class 0: recall 1/2 at precision 1, 51 of 101 recall points; class 1 is found."""
    metrics = evaluate([PERFECT[0], found(4)], pair)
    assert metrics == pytest.approx(dict.fromkeys(METRICS, 100 * (51 / 101 + 1) / 2))


def test_no_detections_at_all(pair):
    assert evaluate([found(1), found(4)], pair) == dict.fromkeys(METRICS, 0.0)


def test_evaluating_twice_gives_the_same(pair):
    assert evaluate(PERFECT, pair) == evaluate(PERFECT, pair)
    assert [sorted(mask) for mask in PERFECT[0].masks] == [["counts", "size"]] * 2, "predictions are left as they were"


def test_the_evaluators_name():
    name, version = COCO_EVALUATOR.rsplit(" ", 1)
    assert name == "faster-coco-eval"
    assert all(part.isdigit() for part in version.split("."))


# -- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("detections", "message"),
    [
        (PERFECT[:1], r"2 images of .*instances_val2017\.json: 1 missing \(4\)$"),
        ([*PERFECT, PERFECT[0]], r": 1 there more than once \(1\)$"),
        ([*PERFECT, found(17)], r": 1 not in the data set \(17\)$"),
        ([], r": 2 missing \(1, 4\)$"),
        ([found(i) for i in range(5, 9)], r"2 missing \(1, 4\); 4 not in the data set \(5, 6, 7, \.\.\.\)$"),
        ([PERFECT[0], found(4, [[5, 5, 25, 25]], [np.nan], [0])], "image 4: a score is not finite"),
        ([PERFECT[0], found(4, [[5, 5, 25, 25]], [np.inf], [0])], "image 4: a score is not finite"),
        ([PERFECT[0], found(4, [[5, 5, np.nan, 25]], [1], [0], [rectangle((5, 5, 25, 25))])], "image 4: a box is not"),
        ([PERFECT[0], found(4, [[5, 5, 25, 25]], [1], [2])], "image 4: label 2 is not one of the 2 classes, 0 to 1"),
        ([PERFECT[0], found(4, [[5, 5, 25, 25]], [1], [-1])], "image 4: label -1 is not"),
        ([PERFECT[0], found(4, [[25, 5, 5, 25]], [1], [0])], "image 4: a box ends before it begins"),
        ([PERFECT[0], found(4, [[5, 5, 25, 25]], [1], [0], [])], "image 4: 1 boxes, 1 scores, 1 labels, 0 masks"),
        (
            [PERFECT[0], found(4, [[5, 5, 25, 25]], [1], [0], [rectangle((5, 5, 9, 9), (60, 40))])],
            r"image 4: a mask has \[60, 40\] pixels \(height, width\), the image \[40, 60\]",
        ),
        (
            [PERFECT[0], found(4, [[5, 5, 25, 25]], [1], [0], [{"size": [40, 60], "counts": "\x01~~~"}])],
            "image 4: a mask is malformed",
        ),
    ],
)
def test_what_is_wrong_is_named(pair, detections, message):
    with pytest.raises(ReproError, match=message):
        evaluate(detections, pair)


@pytest.mark.parametrize("objects", [[], [an_object(2, 2, 10, 10, iscrowd=1)]])
def test_nothing_to_find(build, objects):
    with pytest.raises(ReproError, match="nothing to evaluate against"):
        evaluate([found(1)], build({1: objects}))

"""The evaluation server's file: pycocotools takes what is written, and what breaks a rule is refused by name."""

import copy
import hashlib
import json
import zipfile

import numpy as np
import pytest
from pycocotools import mask as reference
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from repro.data.coco import Detections
from repro.errors import ReproError
from repro.evaluation import submission

SIZES = {7: (40, 60), 3: (50, 30), 9: (20, 20)}
CATEGORIES = [1, 13, 90]
NAME = "detections_test-dev2017_coco-net_results.zip"


def rectangle(size, x1, y1, x2, y2):
    mask = np.zeros(size, dtype=np.uint8, order="F")
    mask[int(y1) : int(y2), int(x1) : int(x2)] = 1
    return reference.encode(mask)


def found(image_id, boxes, scores, labels):
    boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    masks = [rectangle(SIZES[image_id], *box.clip(0)) for box in boxes]
    return Detections(image_id, boxes, np.array(scores, dtype=np.float32), np.array(labels, dtype=np.int64), masks)


DETECTIONS = [
    found(7, [[1.04, 2.06, 31, 22], [0, 0, 60.44, 40.3]], [0.1234567, 0.9], [1, 2]),
    found(3, [[5, 5, 25, 45]], [0.5], [0]),
    found(9, [], [], []),
]


@pytest.fixture
def written(tmp_path):
    """Paths of both archives of `DETECTIONS`."""
    for task in submission.TASKS:
        submission.write(DETECTIONS, task, tmp_path / task / NAME, CATEGORIES, SIZES)
    return {task: tmp_path / task / NAME for task in submission.TASKS}


def entries(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(path.with_suffix(".json").name))


# -- what is written --------------------------------------------------------------------------------------------------


def test_the_name_and_the_one_file_in_it(written):
    assert submission.name_file("test-dev2017", "coco-net") + ".zip" == NAME
    with zipfile.ZipFile(written["bbox"]) as archive:
        assert archive.namelist() == ["detections_test-dev2017_coco-net_results.json"]
        assert archive.testzip() is None


def test_boxes_with_official_ids_rounded_and_not_cut(written):
    assert entries(written["bbox"]) == [
        {"image_id": 3, "category_id": 1, "bbox": [5.0, 5.0, 20.0, 40.0], "score": 0.5},
        {"image_id": 7, "category_id": 90, "bbox": [0.0, 0.0, 60.4, 40.3], "score": 0.9},
        {"image_id": 7, "category_id": 13, "bbox": [1.0, 2.1, 30.0, 19.9], "score": 0.12346},
    ]


def test_masks_decode_to_what_was_found(written):
    masks = entries(written["segm"])
    assert [sorted(entry) for entry in masks] == [["category_id", "image_id", "score", "segmentation"]] * 3
    decoded = [reference.decode(entry["segmentation"]) for entry in masks]
    assert [mask.shape for mask in decoded] == [(50, 30), (40, 60), (40, 60)]
    assert [mask.sum() for mask in decoded] == [20 * 40, 40 * 60, 30 * 20]


def test_what_is_written_passes_the_check(written):
    for task, path in written.items():
        assert submission.check(path, task, SIZES, CATEGORIES) == 3


def test_pycocotools_evaluates_both_files(written):
    """As the server does: a perfect detection of the one object gives 100 % AP of its class, boxes and masks alike."""
    truth = COCO()
    truth.dataset = {
        "images": [{"id": i, "height": h, "width": w} for i, (h, w) in SIZES.items()],
        "categories": [{"id": i} for i in CATEGORIES],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 1, "bbox": [5, 5, 20, 40], "area": 800, "iscrowd": 0,
             "segmentation": [[5, 5, 25, 5, 25, 45, 5, 45]]}
        ],
    }  # fmt: skip
    truth.createIndex()
    for task, path in written.items():
        evaluator = COCOeval(truth, truth.loadRes(entries(path)), task)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
        assert evaluator.stats[0] == pytest.approx(1.0)


def test_at_most_a_hundred_and_those_with_the_highest_scores(tmp_path):
    scores = np.linspace(0.1, 0.9, 150)
    many = [found(7, [[1, 1, 9, 9]] * 150, scores, [0] * 150)]
    submission.write(many, "bbox", tmp_path / NAME, CATEGORIES, SIZES)
    kept = [entry["score"] for entry in entries(tmp_path / NAME)]
    assert kept == pytest.approx(sorted(scores, reverse=True)[:100], abs=1e-5)
    assert submission.check(tmp_path / NAME, "bbox", SIZES, CATEGORIES) == 100


def test_equal_detections_give_equal_bytes(written, tmp_path):
    shuffled = [copy.deepcopy(DETECTIONS[i]) for i in (2, 0, 1)]
    for one in shuffled:  # as they come back from a shard
        one.masks = [{"size": list(m["size"]), "counts": m["counts"].decode()} for m in one.masks]
    for task, path in written.items():
        sha256 = submission.write(shuffled, task, tmp_path / "again" / NAME, CATEGORIES, SIZES)
        assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


# -- what is refused --------------------------------------------------------------------------------------------------


def rewritten(path, change, task="bbox"):
    """The archive again, after `change` of its entries."""
    content = entries(path)
    changed = change(content)
    return archived(path, json.dumps(content if changed is None else changed))


def archived(path, text, member=None):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member or path.with_suffix(".json").name, text)
    return path


def put(index, **fields):
    return lambda content: content[index].update(fields)


BROKEN_BOXES = {
    "a field too many": (put(1, segmentation={}), r"entry 1, key segmentation: there must be no such key"),
    "a field missing": (lambda c: c[2].pop("score") and None, r"entry 2, key score: the key is missing"),
    "an unknown image": (put(1, image_id=8), r"entry 1 \(image 8\): the split has no such image"),
    "a contiguous label": (put(1, category_id=2), r"entry 1 \(image 7\): category_id 2 is none of the 3"),
    "an id in a string": (put(0, image_id="3"), r"entry 0, key image_id"),
    "NaN": (put(2, score=float("nan")), r"entry 2, key score|whole JSON"),
    "a score beyond 1": (put(2, score=1.5), r"entry 2, key score"),
    "corners": (put(1, bbox=[40.0, 10.0, 60.0, 40.0]), r"entry 1 \(image 7\): bbox .* not within the image of 60 x 40"),
    "a pixel beyond": (put(1, bbox=[0.0, 0.0, 61.1, 40.0]), r"entry 1 \(image 7\): bbox .* not within the image"),
    "before the border": (put(1, bbox=[-1.1, 0.0, 9.0, 9.0]), r"entry 1 \(image 7\): bbox .* not within the image"),
    "a negative side": (put(1, bbox=[9.0, 9.0, -1.0, 9.0]), r"entry 1 \(image 7\): bbox .* negative side"),
    "three numbers": (put(1, bbox=[9.0, 9.0, 1.0]), r"entry 1, key bbox"),
    "too fine a box": (put(1, bbox=[9.05, 9.0, 1.0, 1.0]), r"entry 1 \(image 7\): .* tenths of a pixel"),
    "too fine a score": (put(2, score=0.1234567), r"entry 2 \(image 7\): .* more than 5 decimals"),
    "a hundred and one": (lambda c: [c[1]] * 101, r"entry 100 \(image 7\): it is detection 101 of its image"),
    "nothing": (lambda c: [], r"no detection"),
    "no list": (lambda c: {"detections": c}, r"must be a list"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN_BOXES.values(), ids=BROKEN_BOXES)
def test_a_broken_rule_names_the_entry(written, change, message):
    rewritten(written["bbox"], change)
    with pytest.raises(ReproError, match=message):
        submission.check(written["bbox"], "bbox", SIZES, CATEGORIES)


def mask(size, counts):
    return put(1, segmentation={"size": size, "counts": counts})


BROKEN_MASKS = {
    "another size": (mask([60, 40], "P\\1"), r"entry 1 \(image 7\): segmentation.size is \[60, 40\]"),
    "too few pixels": (mask([40, 60], "5"), r"entry 1 \(image 7\): segmentation.counts covers 5 pixels, .* has 2400"),
    "no run lengths": (mask([40, 60], "\x7f\x7f"), r"entry 1 \(image 7\): segmentation.counts"),
    "uncompressed": (mask([40, 60], [0, 2400]), r"entry 1, key segmentation.counts"),
    "a polygon": (put(1, segmentation=[[1, 1, 9, 1, 9, 9]]), r"entry 1, key segmentation"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN_MASKS.values(), ids=BROKEN_MASKS)
def test_a_broken_mask_is_named(written, change, message):
    rewritten(written["segm"], change)
    with pytest.raises(ReproError, match=message):
        submission.check(written["segm"], "segm", SIZES, CATEGORIES)


def test_boxes_are_no_masks(written):
    with pytest.raises(ReproError, match="segmentation"):
        submission.check(written["bbox"], "segm", SIZES, CATEGORIES)


@pytest.mark.parametrize("name", ["results.zip", "detections_test-dev2017_my_net_results.zip", NAME[:-4] + ".json"])
def test_another_name(written, tmp_path, name):
    path = written["bbox"].rename(tmp_path / name)
    with pytest.raises(ReproError, match="the server wants the name"):
        submission.check(path, "bbox", SIZES, CATEGORIES)


def test_a_file_in_a_directory_of_the_archive(written):
    path = archived(written["bbox"], "[]", member=f"results/{NAME[:-4]}.json")
    with pytest.raises(ReproError, match="nothing else, and holds"):
        submission.check(path, "bbox", SIZES, CATEGORIES)


@pytest.mark.parametrize("keep", [0, 30, -30])
def test_a_truncated_archive(written, keep):
    content = written["bbox"].read_bytes()
    written["bbox"].write_bytes(content[:keep])
    with pytest.raises(ReproError, match="zip archive"):
        submission.check(written["bbox"], "bbox", SIZES, CATEGORIES)


def test_truncated_json(written):
    path = archived(written["bbox"], json.dumps(entries(written["bbox"]))[:-5])
    with pytest.raises(ReproError, match="whole JSON"):
        submission.check(path, "bbox", SIZES, CATEGORIES)


def test_no_archive(tmp_path):
    with pytest.raises(ReproError, match="cannot be read"):
        submission.check(tmp_path / NAME, "bbox", SIZES, CATEGORIES)

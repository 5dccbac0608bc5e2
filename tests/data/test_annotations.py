"""Reading and checking annotation files: what is refused, how it is named, and what is tolerated."""

import copy
import hashlib
import json
import math

import numpy as np
import pycocotools.mask as pycoco_mask
import pytest

from repro.data.annotations import read_annotations
from repro.errors import ReproError

TRIANGLE = [2.0, 2.0, 12.0, 2.0, 2.0, 12.0]
VALID = {
    "images": [
        {"id": 7, "file_name": "7.jpg", "height": 20, "width": 30, "license": 1},
        {"id": 3, "file_name": "3.jpg", "height": 10, "width": 10},
    ],
    "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}],
    "annotations": [
        {"id": 11, "image_id": 7, "category_id": 1, "bbox": [2, 2, 10, 10], "area": 50.0, "iscrowd": 0,
         "segmentation": [TRIANGLE]},
        {"id": 12, "image_id": 7, "category_id": 90, "bbox": [0, 0, 1, 20], "area": 20.0, "iscrowd": 1,
         "segmentation": {"size": [20, 30], "counts": [0, 20, 580]}},
    ],
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    """Writes VALID after `change(document)` and gives the path."""

    def write(change=lambda document: None):
        document = copy.deepcopy(VALID)
        change(document)
        path = tmp_path / "instances_val2017.json"
        path.write_text(json.dumps(document))
        return path

    return write


def test_a_valid_file(write):
    path = write()
    content = read_annotations(path)
    assert list(content.images) == [3, 7]
    assert content.category_ids == [1, 90]
    assert [one.id for one in content.objects[7]] == [11, 12]
    assert content.objects[3] == []
    assert content.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    polygons, crowd = (one.segmentation for one in content.objects[7])
    np.testing.assert_array_equal(polygons[0], TRIANGLE)
    expected = np.zeros((20, 30), dtype=np.uint8)
    expected[:, 0] = 1
    np.testing.assert_array_equal(pycoco_mask.decode(crowd), expected)


def _set(key, value, entry=1, kind="annotations"):
    return lambda document: document[kind][entry].update({key: value})


def _without(key, entry=1, kind="annotations"):
    return lambda document: document[kind][entry].pop(key)


def _mask(**change):
    return lambda document: document["annotations"][1]["segmentation"].update(change)


SECOND = r"annotations\[1\] \(id 12\), key "


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document.pop("annotations"), "key annotations: the key is missing"),
        (lambda document: document.update(images={}), "key images: .*array"),
        (_without("bbox"), SECOND + "bbox: the key is missing"),
        (_without("iscrowd"), SECOND + "iscrowd: the key is missing"),
        (_without("id"), r"annotations\[1\], key id: the key is missing"),
        (_without("file_name", kind="images"), r"images\[1\] \(id 3\), key file_name: the key is missing"),
        (_set("height", 0, kind="images"), r"images\[1\] \(id 3\), key height"),
        (_set("width", "10", kind="images"), r"images\[1\] \(id 3\), key width"),
        (_set("id", "1", kind="categories"), r"categories\[1\] \(id 1\), key id"),
        (lambda document: document["annotations"].append(5), r"annotations\[2\]: "),
        (_set("bbox", [0, 0, 5]), SECOND + r"bbox\.3"),
        (_set("bbox", [0, 0, -1, 5]), SECOND + r"bbox\.2: .*greater than or equal to 0"),
        (_set("bbox", [math.nan, 0, 1, 5]), SECOND + r"bbox\.0: .*finite"),
        (_set("bbox", [0, math.inf, 1, 5]), SECOND + r"bbox\.1: .*finite"),
        (_set("area", math.inf), SECOND + "area: .*finite"),
        (_set("area", "large"), SECOND + "area"),
        (_set("iscrowd", 2), SECOND + "iscrowd"),
        (_set("segmentation", []), SECOND + "segmentation: .*empty polygon"),
        (_set("segmentation", [TRIANGLE, []]), SECOND + "segmentation: .*empty polygon"),
        (_set("segmentation", [[*TRIANGLE[:-1], math.nan]]), SECOND + r"segmentation\.0\.5: .*finite"),
        (_set("segmentation", [TRIANGLE, "12"]), SECOND + r"segmentation\.1"),
        (_set("segmentation", None), SECOND + "segmentation"),
        (_mask(size=[30, 20]), SECOND + r"segmentation\.size: .*\[30, 20\].*image 7 has \[20, 30\]"),
        (_mask(counts=[0, 20, 579]), SECOND + "segmentation: .*cover 599 pixels, the size 600"),
        (_mask(counts=[0, -20, 620]), SECOND + r"segmentation\.counts"),
        (_mask(counts="32"), SECOND + "segmentation: .*cover 5 pixels, the size 600"),
        (_mask(counts="~~~"), SECOND + "segmentation: "),
        (_set("id", 11), r"annotations\[1\], key id: 11 is there a second time"),
        (_set("id", 7, kind="images"), r"images\[1\], key id: 7 is there a second time"),
        # An image of two entries would be evaluated twice.
        (_set("file_name", "7.jpg", kind="images"), r"images\[1\], key file_name: 7\.jpg is there a second time"),
        (_set("id", 90, kind="categories"), r"categories\[1\], key id: 90 is there a second time"),
        (_set("image_id", 8), SECOND + "image_id: there is no image 8"),
        (_set("category_id", 2), SECOND + "category_id: there is no category 2"),
        # The COCO metric would count a match with object 0 as a miss.
        (_set("id", 0), r"annotations\[1\] \(id 0\), key id"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(write, change, message):
    path = write(change)
    with pytest.raises(ReproError, match=message) as raised:
        read_annotations(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("place", "key", "added"),
    [
        (b'"images":', "images", b'"images": [],'),
        (b'"images":', "annotations", b'"annotations": [],'),
        (b'"images":', "images", b'"im\\u0061ges": [],'),
        (b'"images":', "info", b'"info": 1, "info": {},'),
        (b'"bbox":', "bbox", b'"bbox": [0, 0, 1, 1],'),
        (b'"bbox":', "iscrowd", b'"iscrowd": 1,'),
    ],
)
def test_a_key_that_is_there_twice(write, place, key, added):
    """Python's json, and pycocotools with it, take the last one."""
    path = write()
    content = path.read_bytes()
    assert content.count(place)
    path.write_bytes(content.replace(place, added + place, 1))
    with pytest.raises(ReproError, match=f"^{path}: the key '{key}' is there twice in one object"):
        read_annotations(path)


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_file(write, keep):
    path = write()
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ReproError, match=r"is not whole JSON.*download it again"):
        read_annotations(path)


def test_a_file_that_is_no_text(write):
    path = write()
    path.write_bytes(b"\xff\xfe\x00" + path.read_bytes())
    with pytest.raises(ReproError, match="is not UTF-16-LE"):
        read_annotations(path)


def test_no_file(tmp_path):
    with pytest.raises(ReproError, match="cannot be read: it does not exist"):
        read_annotations(tmp_path / "instances_val2017.json")


@pytest.mark.parametrize(
    "change",
    [
        _set("bbox", [5, 5, 0, 0]),
        _set("bbox", [-0.5, 0, 31, 20.4]),
        _set("area", 0),
        _set("segmentation", [[-3, -3, 40, 0, 3, 30]]),
        _set("segmentation", {"size": [20, 30], "counts": pycoco_mask.encode(np.ones((20, 30), np.uint8, "F"))
                              ["counts"].decode()}),
    ],
)  # fmt: skip
def test_what_real_files_contain_is_tolerated(write, change):
    assert [one.id for one in read_annotations(write(change)).objects[7]] == [11, 12]


def test_polygons_of_fewer_than_three_points_are_dropped(write):
    def change(document):
        document["annotations"][0]["segmentation"] = [[3, 3, 5, 5], TRIANGLE, [1, 1]]
        document["annotations"][1]["segmentation"] = [[3, 3, 5, 5]]

    first, second = read_annotations(write(change)).objects[7]
    assert [polygon.tolist() for polygon in first.segmentation] == [TRIANGLE]
    assert second.segmentation == []

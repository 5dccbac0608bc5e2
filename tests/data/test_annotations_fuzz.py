"""Damaged and made-up annotation files: a `ReproError` or sound annotations, and no memory for forged sizes."""

from __future__ import annotations

import copy
import json
import resource
from pathlib import Path

import numpy as np
import pycocotools.mask as pycoco_mask
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.data.annotations import read_annotations
from repro.errors import ReproError

FUZZ = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
OBJECT = {"image_id": 7, "category_id": 1, "bbox": [2.0, 2.0, 10.0, 10.0], "area": 50.0, "iscrowd": 0}
RUNS = [100, 50, 20, 30, 400]
COMPRESSED = pycoco_mask.frPyObjects({"size": [20, 30], "counts": RUNS}, 20, 30)["counts"].decode()
VALID = {
    "info": {"year": 2017},
    "images": [
        {"id": 7, "file_name": "7.jpg", "height": 20, "width": 30, "license": 1},
        {"id": 3, "file_name": "3.jpg", "height": 10, "width": 10},
    ],
    "annotations": [
        {"id": 1, **OBJECT, "segmentation": [[2.0, 2.0, 12.0, 2.0, 2.0, 12.0]]},
        {"id": 2, **OBJECT, "segmentation": {"size": [20, 30], "counts": RUNS}},
        {"id": 3, **OBJECT, "segmentation": {"size": [20, 30], "counts": COMPRESSED}},
    ],
    "categories": [{"id": 1, "name": "person"}],
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module", autouse=True)
def little_memory():
    """256 MiB of address space to spare."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    statm = Path("/proc/self/statm")
    if statm.exists():
        in_use = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + 2**28, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def read_soundly(content: bytes, directory: Path) -> bool:
    """Whether `content` is accepted; asserts what must hold of any file."""
    path = directory / "instances_val2017.json"
    path.write_bytes(content)
    annotations, problem = None, ""
    try:
        annotations = read_annotations(path)
    except ReproError as error:
        problem = str(error)
    if annotations is None:
        assert str(path) in problem
        assert len(problem) < 2000
        return False
    for image_id, objects in annotations.objects.items():
        image = annotations.images[image_id]
        for entry in objects:
            assert entry.category_id in annotations.category_ids
            assert np.isfinite(entry.bbox).all()
            if isinstance(entry.segmentation, dict):
                assert entry.segmentation["size"] == [image.height, image.width]
                if image.height * image.width < 2**20:  # as the other library reads it
                    assert pycoco_mask.decode(entry.segmentation).shape == (image.height, image.width)
            else:
                assert all(np.isfinite(polygon).all() for polygon in entry.segmentation)
    return True


def places(value: object) -> list[tuple]:
    """Every container of `value` with each of its keys."""
    found = []
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inside:
        found += [(value, key), *places(part)]
    return found


COUNTS = st.text("0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmno", max_size=20) | st.text(max_size=6)
NUMBERS = st.sampled_from([0, 1, -1, 10**9, 2**31, 2**32, 2**63 - 1, 2**63, -(2**64), 10**400, 1e308, 0.5, 20, 30, 600])
JUNK = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.integers() | st.floats() | COUNTS,
    lambda value: st.lists(value, max_size=6)
    | st.dictionaries(st.text(max_size=4), value, max_size=3)
    | st.fixed_dictionaries({"size": st.lists(NUMBERS, max_size=3), "counts": st.lists(NUMBERS) | COUNTS | value}),
    max_leaves=8,
)  # fmt: skip
WHERE = st.floats(0, 1, exclude_max=True)
CHANGE = st.tuples(WHERE, st.sampled_from(["set", "delete", "add"]), st.text(max_size=5), JUNK)


def test_the_valid_file_is_read(directory):
    assert read_soundly(json.dumps(VALID).encode(), directory)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda c: c["images"][0].update(height=10**9), "height"),
        (lambda c: c["images"][0].update(width=65536), "width"),
        (lambda c: c["annotations"][0].update(segmentation=[[0, 0, 1e9, 0, 1e9, 1e9]]), r"segmentation\.0\.2"),
        (lambda c: c["annotations"][0].update(segmentation=[[0, 0, -1e308, 0, 1, 1]]), r"segmentation\.0\.2"),
        (lambda c: c["annotations"][0].update(bbox=[1e308, 0, 1, 1]), r"bbox\.0"),
        (lambda c: c["annotations"][1]["segmentation"].update(size=[10**9, 10**9]), r"segmentation\.size\.0"),
        (lambda c: c["annotations"][1]["segmentation"].update(counts=[2**64]), "segmentation"),
        (lambda c: c["annotations"][2]["segmentation"].update(counts="P" * 10**6), "segmentation: .*malformed"),
        (lambda c: c["annotations"][2]["segmentation"].update(counts="P"), "segmentation: .*cut short"),
        (lambda c: c["annotations"][2]["segmentation"].update(counts="OO"), "segmentation: .*negative"),
    ],
)
def test_forged_values_are_named(directory, change, key):
    content = copy.deepcopy(VALID)
    change(content)
    path = directory / "instances_val2017.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ReproError, match=f"id [0-9]+\\), key {key}"):
        read_annotations(path)


def test_compressed_run_lengths_are_read_as_pycocotools_reads_them(directory):
    """Masks of random runs, up to sizes at which a run takes several characters."""
    random = np.random.default_rng(0)
    content = {**copy.deepcopy(VALID), "annotations": []}
    for number, side in enumerate((1, 7, 40, 300), start=10):
        mask = np.asfortranarray(np.repeat(random.random((side, side)) < 0.5, side, axis=1)[:, :side], np.uint8)
        encoded = pycoco_mask.encode(mask)
        content["images"].append({"id": number, "file_name": f"{number}.jpg", "height": side, "width": side})
        segmentation = {"size": [side, side], "counts": encoded["counts"].decode()}
        content["annotations"].append({"id": number, **OBJECT, "image_id": number, "segmentation": segmentation})
    assert read_soundly(json.dumps(content).encode(), directory)


@FUZZ
@given(changes=st.lists(CHANGE, min_size=1, max_size=3))
def test_other_values(directory, changes):
    content = copy.deepcopy(VALID)
    for where, kind, name, value in changes:
        if not (found := places(content)):
            break
        container, key = found[int(where * len(found))]
        if kind == "delete":
            del container[key]
        else:
            container[name if kind == "add" and isinstance(container, dict) else key] = value
    read_soundly(json.dumps(content).encode(), directory)  # NaN and Infinity are written as such


SIDE = st.sampled_from([1, 20, 10**5, 10**9, 2**31 - 1, 2**31, 2**32, 2**62, 10**30])
COUNT_LISTS = st.lists(st.sampled_from([0, 1, 600, 10**9, 2**32 - 1, 2**32, 2**62, 10**18]), max_size=4)


@FUZZ
@given(height=SIDE, width=SIDE, counts=COUNT_LISTS | COUNTS, filled=st.booleans())
def test_forged_sizes(directory, height, width, counts, filled):
    """An image and run lengths that agree with each other on any size."""
    content = copy.deepcopy(VALID)
    content["images"][0].update(height=height, width=width)
    if filled and isinstance(counts, list):
        counts = [*counts, max(height * width - sum(counts), 0)]
    for entry in content["annotations"][1:]:
        entry["segmentation"] = {"size": [height, width], "counts": counts}
    read_soundly(json.dumps(content).encode(), directory)


SNIPPETS = [
    b"[" * 3000,
    b'{"a":' * 3000,
    b"9" * 6000,
    b"1e999",
    b"NaN",
    b"-",
    b'"',
    b"\\ud800",
    b"\xff",
    b"\x00",
    b"null,",
    b"{}",
]
EDIT = st.tuples(WHERE, st.integers(0, 40), st.sampled_from([b"", *SNIPPETS]) | st.binary(max_size=3))


@FUZZ
@given(edits=st.lists(EDIT, min_size=1, max_size=3))
def test_damaged_text(directory, edits):
    content = json.dumps(VALID).encode()
    for where, length, snippet in edits:
        at = int(where * len(content))
        content = content[:at] + snippet + content[at + length :]
    read_soundly(content, directory)

"""Image files found by names with directories and in either spelling of accents, and none outside of the directory."""

from __future__ import annotations

import json
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image

from repro.data.coco import CocoDetection
from repro.data.image_files import ImageFiles
from repro.data.verification import verify_coco
from repro.errors import ReproError

NFC, NFD = (normalize(form, "café.jpg") for form in ("NFC", "NFD"))
PLACES = [
    ("1.jpg", "1.jpg"),
    ("a/b/1.jpg", "a/b/1.jpg"),
    ("val2017/1.jpg", "1.jpg"),
    ("val2017/a/1.jpg", "a/1.jpg"),
    ("./a//1.jpg", "a/1.jpg"),
    (NFC, NFD),
    (NFD, NFC),
    (f"val2017/{normalize('NFC', 'é')}/{NFD}", f"{normalize('NFD', 'é')}/{NFC}"),
]


def write(root: Path, file_name: str, *paths: str) -> Path:
    for number, path in enumerate(paths):
        file = root / "val2017" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 10, 3), 40 + number, np.uint8)).save(file, "PNG")
    (root / "val2017").mkdir(exist_ok=True)
    (root / "annotations").mkdir()
    image = {"id": 1, "file_name": file_name, "height": 8, "width": 10}
    content = {"images": [image], "annotations": [], "categories": [{"id": 1}]}
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return root


def read_pixel(root: Path) -> int:
    return int(CocoDetection(root, "val2017", 1, 8, 10).sample(0).image[0, 0, 0])


@pytest.mark.parametrize(("file_name", "path"), PLACES, ids=lambda name: name.encode("unicode-escape").decode())
def test_the_file_is_found(tmp_path, file_name, path):
    assert read_pixel(write(tmp_path, file_name, path)) == 40
    report = verify_coco(tmp_path, "val2017", decode=True, progress=lambda *_: None)
    assert (report.images, report.missing, report.unreadable) == (1, [], [])


def test_a_directory_named_after_the_split_is_meant_first(tmp_path):
    assert read_pixel(write(tmp_path, "val2017/1.jpg", "1.jpg", "val2017/1.jpg")) == 41


def test_the_exact_spelling_is_meant_first(tmp_path):
    assert read_pixel(write(tmp_path, NFD, NFC, NFD)) == 41


def test_a_name_of_two_files(tmp_path):
    mixed = "éé"[0] + normalize("NFD", "é")
    write(tmp_path, mixed, normalize("NFC", mixed), normalize("NFD", mixed))
    with pytest.raises(ReproError, match="differ in how letters with accents are spelled"):
        CocoDetection(tmp_path, "val2017", 1, 8, 10)


@pytest.mark.parametrize("other", ["./1.jpg", "val2017/1.jpg", "val2017//./1.jpg"])
def test_two_images_of_one_file(tmp_path, other):
    """Otherwise one file would count as two images of a complete split."""
    path = write(tmp_path, "1.jpg", "1.jpg") / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["images"].append({**content["images"][0], "id": 2, "file_name": other})
    path.write_text(json.dumps(content))
    message = r"the images 1 \('1.jpg'\) and 2 \('.*'\) of the annotations are one file: .*val2017/1.jpg\. Remove"
    with pytest.raises(ReproError, match=message):
        CocoDetection(tmp_path, "val2017", 1, 8, 10)
    report = verify_coco(tmp_path, "val2017", decode=False, progress=lambda *_: None)
    assert report.images == 0
    assert "are one file" in report.problems[0]


@pytest.mark.parametrize(
    ("file_name", "message"),
    [
        ("../secret.jpg", "leads out of the directory of images"),
        ("a/../../secret.jpg", "leads out of the directory of images"),
        ("val2017/../../secret.jpg", "leads out of the directory of images"),
        ("..", "leads out of the directory of images"),
        ("/etc/passwd", "leads out of the directory of images"),
        ("//etc/passwd", "leads out of the directory of images"),
        (".", "is no name of a file"),
        ("a\0.jpg", "is no name of a file"),
        ("", "at least 1 character"),
        ("a" * 2000, "at most 1024 characters"),
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, file_name, message):
    (tmp_path / "secret.jpg").write_bytes(b"")
    write(tmp_path, file_name, "1.jpg")
    with pytest.raises(ReproError, match=rf"images\[0\] \(id 1\), key file_name: .*{message}"):
        CocoDetection(tmp_path, "val2017", 1, 8, 10)
    problems = verify_coco(tmp_path, "val2017", decode=False, progress=lambda *_: None).problems
    assert message in problems[0]


@pytest.mark.parametrize("file_name", ["2.jpg", "a/1.jpg", "1.jpg/1.jpg", "train2017/1.jpg", "val2017/val2017/1.jpg"])
def test_missing_files_are_named_as_the_annotations_name_them(tmp_path, file_name):
    write(tmp_path, file_name, "1.jpg")
    with pytest.raises(ReproError, match=rf"1 of 1 images .* missing .*: {file_name} \(id 1\)"):
        CocoDetection(tmp_path, "val2017", 1, 8, 10)
    assert verify_coco(tmp_path, "val2017", decode=False, progress=lambda *_: None).missing == [file_name]


def test_no_directory(tmp_path):
    with pytest.raises(ReproError, match="cannot be listed: No such file"):
        ImageFiles(tmp_path / "val2017")

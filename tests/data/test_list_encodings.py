"""Every kind of text that a user may bring, in every encoding: read as UTF-8 is, or named for what it is."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from repro.data.annotations import read_annotations
from repro.data.kinetics_lists import read_list
from repro.errors import ReproError
from repro.files.text_files import decode_text
from repro.files.yaml_files import load_yaml
from repro.measuring.server_answer import read_metrics

ANSWER = {"ap_box": 45.5, "ap50_box": 66.0, "ap75_box": 49.5}

CLASSES = ("abseiling", "dégustation", "zumba")
IMAGES = [{"id": 3, "file_name": "é.jpg", "height": 10, "width": 12}]


def read_kinetics_list(path: Path) -> object:
    return read_list(path.parent, "val", CLASSES)[1]


def decode_file(path: Path) -> object:
    return decode_text(path.read_bytes(), str(path))


KINDS: dict[str, tuple[str, str, Callable[[Path], object], object]] = {
    "CSV": (
        "val.csv",
        "label,youtube_id,time_start,time_end,split\nabseiling,-0dR_kGwP2c,3,13,val\ndégustation,b,0,10,val\n",
        read_kinetics_list,
        {"-0dR_kGwP2c_000003_000013": 0, "b_000000_000010": 1},
    ),
    "mmaction2": (
        "kinetics400_val_list_videos.txt",
        "-0dR_kGwP2c_000003_000013.mp4 0\ndégustation/b_000000_000010.mp4 1\n",
        read_kinetics_list,
        {"-0dR_kGwP2c_000003_000013": 0, "b_000000_000010": 1},
    ),
    "COCO": (
        "instances_val2017.json",
        json.dumps({"images": IMAGES, "annotations": [], "categories": [{"id": 1}]}, ensure_ascii=False),
        lambda path: [(image.id, image.file_name) for image in read_annotations(path).images.values()],
        [(3, "é.jpg")],
    ),
    "image list": (
        "image_info_test-dev2017.json",
        json.dumps({"images": IMAGES, "categories": [{"id": 1}]}, ensure_ascii=False),
        lambda path: [(i.id, i.file_name) for i in read_annotations(path, labelled=False).images.values()],
        [(3, "é.jpg")],
    ),
    "YAML": ("tolerances.yaml", "a: [1, é]\n", load_yaml, {"a": [1, "é"]}),
    "answer": ("answer.json", json.dumps(ANSWER), read_metrics, ANSWER),
    "devkit's truth": ("truth.txt", "490\n361\n", decode_file, "490\n361\n"),
}
ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "UTF-8": str.encode,
    "UTF-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-8 with two marks": lambda text: 2 * codecs.BOM_UTF8 + text.encode(),
    "UTF-16-LE with three marks": lambda text: 3 * codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "UTF-16-LE with a mark": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "UTF-16-BE with a mark": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-32-LE with a mark": lambda text: codecs.BOM_UTF32_LE + text.encode("utf-32-le"),
    "UTF-32-BE with a mark": lambda text: codecs.BOM_UTF32_BE + text.encode("utf-32-be"),
    "UTF-16-LE": lambda text: text.encode("utf-16-le"),
    "UTF-16-BE": lambda text: text.encode("utf-16-be"),
    "UTF-32-LE": lambda text: text.encode("utf-32-le"),
    "UTF-32-BE": lambda text: text.encode("utf-32-be"),
    "lines of Windows": lambda text: text.replace("\n", "\r\n").encode(),
    "lines of the old Macintosh": lambda text: text.replace("\n", "\r").encode(),
}


def zip_text(text: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("val.csv", text)
    return content.getvalue()


OTHERS: dict[str, tuple[Callable[[str], bytes], str]] = {
    "gzip": (lambda text: gzip.compress(text.encode()), "is gzip data, not text: unpack it"),
    "zip": (zip_text, "is a zip archive, not text: unpack it"),
    "bzip2": (lambda text: bz2.compress(text.encode()), "is bzip2 data, not text"),
    "xz": (lambda text: lzma.compress(text.encode()), "is xz data, not text"),
    "web page": (lambda _: b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page"),
    "Git LFS": (
        lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 12345\n",
        "is a pointer of Git LFS",
    ),
    "null bytes": (lambda text: bytes(len(text)), "begins with null bytes"),
    "UTF-16 cut short": (lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le")[:-1], "is not UTF-16-LE"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_is_read(tmp_path: Path, kind: str, encoding: str) -> None:
    name, text, read, expected = KINDS[kind]
    path = tmp_path / name
    path.write_bytes(ENCODINGS[encoding](text))
    found = read(path)
    if kind == "devkit's truth":
        assert str(found).split() == str(expected).split()
    else:
        assert found == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", OTHERS)
def test_what_is_no_text_is_named(tmp_path: Path, kind: str, other: str) -> None:
    name, text, read, _ = KINDS[kind]
    make, message = OTHERS[other]
    path = tmp_path / name
    path.write_bytes(make(text))
    with pytest.raises(ReproError, match=message) as raised:
        read(path)
    assert str(path) in str(raised.value)
    assert "cut short" not in str(raised.value)


@pytest.mark.parametrize("kind", ["CSV", "mmaction2", "COCO", "image list"])
def test_another_alphabet_is_named_with_its_line(tmp_path: Path, kind: str) -> None:
    """Replaced by question marks, as before, a class or a file would have had another name."""
    name, text, read, _ = KINDS[kind]
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))
    line = text[: text.index("é")].count("\n") + 1
    with pytest.raises(
        ReproError, match=rf"line {line}.*(0xe9.*not UTF-8|not UTF-8.*0xe9)|0xe9, line {line}.*not UTF-8"
    ):
        read(path)


def test_a_mark_within_a_list_is_named(tmp_path: Path) -> None:
    """`cat` of two lists leaves the second one's mark in front of a video's id."""
    path = tmp_path / "val.csv"
    path.write_text("label,youtube_id,time_start,time_end\nzumba,a,0,10\nzumba,\ufeffb,0,10\n")
    with pytest.raises(ReproError, match=r"val\.csv, line 3: .*U\+FEFF"):
        read_kinetics_list(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": [], }', "is not valid JSON: trailing comma at line 1 column 16"),
        ('{"images": ' + "[" * 500 + "]" * 500 + "}", "is not valid JSON: recursion limit exceeded"),
        ('{"images": ' + "9" * 5000 + "}", "is not valid JSON: number out of range"),
        ('{"images": []}}', "is not valid JSON: trailing characters"),
        ('{"images": [{"file_name": "\\ud800"}]}', "is not valid JSON: "),
        ('{"images": [', "is not whole JSON .*cut short"),
        ('{"images": [{"id": 1}\0\0\0\0', "is not whole JSON .*cut short"),
    ],
)
def test_json_is_called_cut_short_only_where_it_ends_too_early(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "instances_val2017.json"
    path.write_text(content)
    with pytest.raises(ReproError, match=message) as raised:
        read_annotations(path)
    assert ("cut short" in message) == ("cut short" in str(raised.value))

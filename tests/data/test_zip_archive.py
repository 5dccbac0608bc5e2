"""Zip archives that are read without being unpacked: the same bytes as Python's zipfile reads, or a reason."""

from __future__ import annotations

import json
import pickle
import random
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from damaged_bytes import damage_bytes
from PIL import Image

from repro.data.coco import CocoDetection
from repro.data.sources import count_items
from repro.data.verification import verify_coco
from repro.data.zip_archive import ZipArchive
from repro.errors import ReproError

CONTENTS = {"val2017/a.txt": b"a" * 3000, "val2017/deep/b.bin": bytes(range(256)) * 9, "c": b""}


def pack(path: Path, contents=CONTENTS, method=zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.mkdir("val2017")
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def read_all(archive: ZipArchive) -> dict[str, bytes]:
    return {name: archive.read(number, 1 << 20, "file") for number, name in enumerate(archive.names)}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_files_are_those_that_were_packed(tmp_path, method):
    archive = ZipArchive(pack(tmp_path / "x.zip", method=method))
    assert archive.names == sorted(CONTENTS)
    assert read_all(archive) == CONTENTS
    assert read_all(pickle.loads(pickle.dumps(archive))) == CONTENTS


def test_an_archive_behind_other_bytes(tmp_path):
    """As a self-extracting one; its directory counts from its own beginning."""
    path = pack(tmp_path / "x.zip")
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        assert read_all(ZipArchive(path)) == {name: archive.read(name) for name in CONTENTS}


def test_bounds_and_bombs(tmp_path):
    archive = ZipArchive(pack(tmp_path / "x.zip"))
    with pytest.raises(ReproError, match=r"val2017/a\.txt in .*x\.zip cannot be read: it has 3000 bytes"):
        archive.read(archive.names.index("val2017/a.txt"), 2999, "image")
    content = bytearray((tmp_path / "x.zip").read_bytes())
    entry = content.index(b"PK\1\2", content.index(b"PK\1\2") + 1)  # a.txt's: it says that it has 30 bytes
    content[entry + 24 : entry + 28] = struct.pack("<I", 30)
    (tmp_path / "y.zip").write_bytes(content)
    archive = ZipArchive(tmp_path / "y.zip")
    with pytest.raises(ReproError, match="its length or its checksum is wrong"):
        archive.read(archive.names.index("val2017/a.txt"), 2999, "image")


def test_what_is_refused(tmp_path):
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(ReproError, match=r"text\.zip is no zip archive, or damaged or cut short"):
        ZipArchive(tmp_path / "text.zip")
    with pytest.raises(ReproError, match="is encrypted, or packed in a way"):
        ZipArchive(pack(tmp_path / "x.zip", method=zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    with pytest.raises(ReproError, match="a is in it twice"):
        ZipArchive(tmp_path / "twice.zip")
    with pytest.raises(ReproError, match="it does not exist"):
        ZipArchive(tmp_path / "nothing.zip")


def test_damaged_archives(tmp_path):
    """Read as zipfile reads them, or refused with the archive's name."""
    whole, outcomes, messages = pack(tmp_path / "x.zip").read_bytes(), set(), []
    for number in range(400):
        path = tmp_path / "damaged.zip"
        path.write_bytes(damage_bytes(random.Random(number), whole))
        try:
            found = read_all(ZipArchive(path))
        except ReproError as error:
            outcomes.add("refused")
            messages.append(str(error))
            continue
        with zipfile.ZipFile(path) as archive:
            assert found == {name: archive.read(name) for name in found}
        outcomes.add("read")
    assert outcomes == {"read", "refused"}
    assert [message for message in messages if "damaged.zip" not in message or "\n" in message] == []


def write_coco(root: Path, *, archived: bool, inside: str = "val2017/") -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    (root / "annotations").mkdir(parents=True)
    images = [{"id": number, "file_name": f"{number}.png", "height": 8, "width": 10} for number in (1, 2)]
    document = {"images": images, "annotations": [], "categories": [{"id": 1}]}
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(document))
    (root / "val2017").mkdir()
    for number in (1, 2):
        Image.fromarray(pixels + np.uint8(number)).save(root / "val2017" / f"{number}.png")
    if archived:
        files = sorted((root / "val2017").iterdir())
        pack(root / "val2017.zip", {f"{inside}{file.name}": file.read_bytes() for file in files})
        for file in files:
            file.unlink()
        (root / "val2017").rmdir()
    return root


@pytest.mark.parametrize("inside", ["val2017/", ""])
def test_coco_from_an_archive(tmp_path, inside):
    plain = write_coco(tmp_path / "plain", archived=False)
    archived = write_coco(tmp_path / "archived", archived=True, inside=inside)
    one, other = (CocoDetection(root, "val2017", 1, 8, 10) for root in (plain, archived))
    assert one.ids_sha256 == other.ids_sha256
    for index in range(2):
        assert one.sample(index).image.equal(other.sample(index).image)
    assert count_items("coco", archived, "val") == 2
    report = verify_coco(archived, "val2017", decode=True, progress=lambda *_: None)
    assert (report.images, report.missing, report.unreadable) == (2, [], [])
    assert report.place == str(archived / "val2017.zip")


def test_a_damaged_image_of_an_archive_is_named(tmp_path):
    root = write_coco(tmp_path, archived=True)
    content = bytearray((root / "val2017.zip").read_bytes())
    content[content.index(b"PNG") + 60] ^= 1
    (root / "val2017.zip").write_bytes(content)
    with pytest.raises(ReproError, match=r"image 1: val2017/1\.png in .*val2017\.zip cannot be read"):
        CocoDetection(root, "val2017", 1, 8, 10).sample(0)
    report = verify_coco(root, "val2017", decode=True, progress=lambda *_: None)
    assert report.unreadable == ["1.png"]

"""`repro data fetch coco` from a local server: the layout, what was there before, interruptions, other files."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
from faulty_server import Server, send
from PIL import Image
from typer.testing import CliRunner

from repro.checkpoints import cache
from repro.cli import app
from repro.data import layout
from repro.data.coco import CocoDetection
from repro.data.layout import OfficialArchive
from repro.errors import ReproError
from repro.planning import official_data

IMAGES = [{"id": number, "file_name": f"{number}.png", "height": 8, "width": 10} for number in (1, 2)]
LIST = json.dumps({"images": IMAGES, "annotations": [], "categories": [{"id": 1}]}).encode()


def pack(**contents: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return packed.getvalue()


def draw(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 10, 3), number, np.uint8)).save(file, "PNG")
    return file.getvalue()


PICTURES = pack(**{f"val2017/{number}.png": draw(number) for number in (1, 2)})
LISTS = pack(**{"annotations/instances_val2017.json": LIST, "annotations/instances_train2017.json": LIST})


@pytest.fixture
def server(monkeypatch):
    """A host with both archives, which the suite takes for COCO's."""
    server = Server()
    urls = property(lambda archive: [f"{server.url}/{archive.path}"])
    monkeypatch.setattr(OfficialArchive, "urls", urls)
    monkeypatch.setattr(cache, "MARGIN", 0)
    pictures, lists = (
        OfficialArchive(path, len(content), hashlib.sha256(content).hexdigest())
        for path, content in (("zips/val2017.zip", PICTURES), ("annotations/lists.zip", LISTS))
    )
    monkeypatch.setitem(layout.IMAGES, "val2017", pictures)
    monkeypatch.setattr(layout, "_ANNOTATIONS", lists)
    monkeypatch.setitem(layout.ANNOTATIONS_SHA256, "val2017", hashlib.sha256(LIST).hexdigest())
    server.files = {"/zips/val2017.zip": PICTURES, "/annotations/lists.zip": LISTS}
    yield server
    server.close()


def fetch(root, *options, catch=True):
    words = ["data", "fetch", "coco", "--root", str(root), "--split", "val2017", *options]
    return CliRunner().invoke(app, words, catch_exceptions=catch)


def list_files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_what_is_fetched_is_read(server, tmp_path):
    result = fetch(tmp_path)
    assert result.exit_code == 0, result.output
    assert "instances_val2017.json: unpacked from lists.zip" in result.stdout
    assert "val2017.zip: fetched; it is read as it is" in result.stdout
    data = CocoDetection(tmp_path, "val2017", 1, 8, 10)
    assert [int(data.sample(index).image[0, 0, 0]) for index in range(2)] == [1, 2]
    assert {name for name in list_files(tmp_path) if not name.startswith(".")} == {
        "annotations/instances_val2017.json", "val2017.zip",
    }  # fmt: skip

    server.reset()
    again = fetch(tmp_path)
    assert again.exit_code == 0
    assert again.stdout.count("was there") == 2
    assert server.visits == []


def test_unpacked(server, tmp_path):
    assert fetch(tmp_path, "--unpack").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "val2017").iterdir()) == ["1.png", "2.png"]
    assert int(CocoDetection(tmp_path, "val2017", 1, 8, 10).sample(1).image[0, 0, 0]) == 2
    assert "val2017: was there" in fetch(tmp_path).stdout


def test_a_directory_has_all_images_or_is_not_there(server, tmp_path, monkeypatch):
    written, write = [], official_data.write_atomically

    def fail(path, content):
        if any(before.suffix == ".png" for before in written):
            raise KeyboardInterrupt
        written.append(path)
        write(path, content)

    monkeypatch.setattr(official_data, "write_atomically", fail)
    with pytest.raises(KeyboardInterrupt):
        list(official_data.fetch_coco(tmp_path, ["val2017"], lambda *_: None, unpack=True))
    assert not (tmp_path / "val2017").exists()
    monkeypatch.setattr(official_data, "write_atomically", write)
    list(official_data.fetch_coco(tmp_path, ["val2017"], lambda *_: None, unpack=True))
    assert sorted(path.name for path in (tmp_path / "val2017").iterdir()) == ["1.png", "2.png"]


def test_an_interrupted_download_goes_on(server, tmp_path):
    server.answers["/zips/val2017.zip"] = [send(cut=200)]
    assert fetch(tmp_path).exit_code == 0
    assert [visit.start for visit in server.visits if visit.path == "/zips/val2017.zip"] == [0, 200]
    assert (tmp_path / "val2017.zip").read_bytes() == PICTURES


@pytest.mark.parametrize("name", ["val2017.zip", "annotations/instances_val2017.json"])
def test_another_file_in_its_place_is_refused_and_stays(server, tmp_path, name):
    (tmp_path / "annotations").mkdir()
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(ReproError, match=f"{name} is not the official"):
        fetch(tmp_path, catch=False)
    assert (tmp_path / name).read_bytes() == b"mine"


def test_other_bytes_from_the_server_are_refused(server, tmp_path):
    server.files["/zips/val2017.zip"] = PICTURES[:-1] + b"x"
    with pytest.raises(ReproError, match="could not be downloaded from"):
        fetch(tmp_path, catch=False)
    assert not (tmp_path / "val2017.zip").exists()


@pytest.mark.parametrize("dataset", ["imagenet", "kinetics"])
def test_what_cannot_be_fetched_has_a_guide(dataset, tmp_path):
    with pytest.raises(ReproError, match=f"`repro data guide {dataset}` says where"):
        CliRunner().invoke(app, ["data", "fetch", dataset, "--root", str(tmp_path)], catch_exceptions=False)
    guide = CliRunner().invoke(app, ["data", "guide", dataset])
    assert guide.exit_code == 0
    assert "licence:" in guide.stdout
    assert "layout below --root:" in guide.stdout
    assert json.loads(CliRunner().invoke(app, ["data", "guide", dataset, "--json"]).stdout)["files"]

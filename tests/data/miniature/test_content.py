"""Generated data are what was drawn, or they are not used."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from repro import tasks
from repro.data.miniature import coco, content, imagenet, kinetics
from repro.errors import ReproError
from repro.experiments import mini
from repro.settings import Settings

GENERATORS = {"coco": coco, "imagenet": imagenet, "kinetics": kinetics}
SMALL = {
    "coco": (
        "SCENES",
        replace(mini.coco.SCENES, train_images=6, val_images=4, lit_images=2, classification_images=150),
    ),
    "imagenet": ("PICTURES", replace(mini.imagenet.PICTURES, train_images=16, val_images=16)),
    "kinetics": ("VIDEOS", replace(mini.kinetics.VIDEOS, train_videos=12, val_videos=12, images=150)),
}
EXPERIMENTS = {"coco": "coco-r50-baseline", "imagenet": "imagenet-r50-stage1", "kinetics": "kinetics-r50-baseline"}


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """Small sets by task, and what was drawn."""
    root = tmp_path_factory.mktemp("generated")
    drawn = {}
    for name, module in GENERATORS.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, *SMALL[name])
            module.generate(root / name)
        drawn[name] = json.loads((root / name / content.NAME).read_text())["drawn"]
    return SimpleNamespace(root=root, drawn=drawn)


@pytest.fixture
def directory(generated, tmp_path):
    """A copy of the small detection set."""
    return shutil.copytree(generated.root / "coco", tmp_path / "data")


@pytest.mark.parametrize("name", GENERATORS)
def test_what_this_version_draws_is_what_it_expects(name, tmp_path):
    """Whoever changes what is drawn copies the hash to `CONTENT` in `repro/experiments/mini/`, and measures again."""
    GENERATORS[name].generate(tmp_path / "data")
    drawn = json.loads((tmp_path / "data" / content.NAME).read_text())["drawn"]
    assert drawn == getattr(mini, name).CONTENT
    assert content.check(tmp_path / "data", getattr(mini, name).CONTENT).drawn == drawn


def test_the_hash_is_of_the_pixels_and_annotations_that_other_readers_find(generated):
    """Computed from the files with Pillow and hashlib alone: images split by split, then what is pre-trained on."""
    root, total = generated.root / "coco", hashlib.sha256()
    for split in ("train2017", "val2017", "trainlit2017"):
        for path in sorted((root / split).iterdir()):
            pixels = np.asarray(Image.open(path))
            total.update(f"{split}/{path.name}: uint8 {pixels.shape}\n".encode() + pixels.tobytes())
        written = (root / "annotations" / f"instances_{split}.json").read_bytes()
        total.update(f"annotations of {split}: {len(written)} bytes\n".encode() + written)
    data = coco.PretrainingScenes(SMALL["coco"][1])
    for index in (0, 100):
        image, tags = (values.numpy() for values in data.sample(index))
        total.update(f"image {index} to pre-train on: uint8 {image.shape}\n".encode() + image.tobytes())
        total.update(f"tags {index}: float32 {tags.shape}\n".encode() + tags.tobytes())
    assert total.hexdigest() == generated.drawn["coco"]


@pytest.mark.parametrize("name", GENERATORS)
def test_other_parameters_draw_other_content(name, generated, tmp_path, monkeypatch):
    variable, values = SMALL[name]
    change = {"coco": {"tile": 4}, "imagenet": {"tile": 4}, "kinetics": {"lit": 9}}[name]
    monkeypatch.setattr(GENERATORS[name], variable, replace(values, **change))
    GENERATORS[name].generate(tmp_path / "data")
    assert json.loads((tmp_path / "data" / content.NAME).read_text())["drawn"] != generated.drawn[name]


@pytest.mark.parametrize("name", GENERATORS)
def test_another_encoder_gives_the_same_content_and_other_files(name, generated, tmp_path, monkeypatch):
    monkeypatch.setattr(GENERATORS[name], *SMALL[name])
    save = Image.Image.save
    monkeypatch.setattr(Image.Image, "save", lambda image, path, compress_level: save(image, path, compress_level=9))
    encode = kinetics.encode
    coarser = replace(mini.kinetics.VIDEOS, quantizer=30)
    monkeypatch.setattr(kinetics, "encode", lambda frames, path, videos: encode(frames, path, coarser))
    GENERATORS[name].generate(tmp_path / "data")
    other, first = (content.check(place, generated.drawn[name]) for place in (tmp_path / "data", generated.root / name))
    assert other.drawn == first.drawn
    assert other.files != first.files


def damage_half_of_the_images(directory):
    for path in sorted((directory / "train2017").iterdir())[::2]:
        buffer = io.BytesIO()
        Image.new("RGB", Image.open(path).size).save(buffer, "PNG")
        path.write_bytes(buffer.getvalue())


def swap(directory):
    first, second = sorted((directory / "train2017").iterdir())[:2]
    first.rename(directory / "aside")
    second.rename(first)
    (directory / "aside").rename(second)


def change_an_annotation(directory):
    path = directory / "annotations" / "instances_val2017.json"
    path.write_bytes(path.read_bytes().replace(b'"iscrowd":0', b'"iscrowd":1', 1))


def replace_an_image_by_a_directory(directory):
    path = next((directory / "train2017").iterdir())
    path.unlink()
    path.mkdir()


DAMAGES = {
    "other images": (damage_half_of_the_images, "3 of 15 files"),
    "two exchanged": (swap, "2 of 15 files"),
    "annotations": (change_an_annotation, "1 of 15 files .*instances_val2017.json"),
    "one missing": (lambda d: next((d / "train2017").iterdir()).unlink(), "1 of 15 files"),
    "one cut short": (lambda d: next((d / "val2017").iterdir()).write_bytes(b""), "1 of 15 files"),
    "one more": (lambda d: (d / "train2017" / "more.png").write_bytes(b"x"), "1 of 15 files .*more.png"),
    "a directory in its place": (replace_an_image_by_a_directory, "1 of 15 files"),
    "no list": (lambda d: (d / content.NAME).unlink(), "it does not exist"),
    "a damaged list": (lambda d: (d / content.NAME).write_bytes(b'{"drawn": 1'), "damaged"),
    "an empty list": (lambda d: (d / content.NAME).write_bytes(b'{"drawn": "", "files": {}}'), "does not name"),
    "a list of something else": (lambda d: (d / content.NAME).write_bytes(b"[]"), "damaged"),
    "nothing": (lambda d: (shutil.rmtree(d), d.mkdir()), "does not exist"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_is_not_as_it_was_generated_is_refused(damage, directory, generated):
    content.check(directory, generated.drawn["coco"])
    change, message = DAMAGES[damage]
    change(directory)
    with pytest.raises(ReproError, match=f"{directory}.*{message}.*Delete the directory"):
        content.check(directory, generated.drawn["coco"])


def test_what_another_version_drew_is_refused(directory):
    with pytest.raises(ReproError, match=r"does not hold what this version expects.*Delete the directory"):
        content.check(directory, "0" * 64)


def test_files_that_a_file_manager_leaves_do_not_count(directory, generated):
    before = content.check(directory, generated.drawn["coco"])
    (directory / "train2017" / "._000000000001.png").write_bytes(b"x")
    (directory / ".trash").mkdir()
    (directory / ".trash" / "file").write_bytes(b"x")
    assert content.check(directory, generated.drawn["coco"]) == before


@pytest.mark.parametrize("name", GENERATORS)
def test_a_task_looks_before_it_reads_and_its_record_says_what_it_read(name, generated, tmp_path, monkeypatch):
    monkeypatch.setattr(getattr(mini, name), "CONTENT", generated.drawn[name])
    experiment = mini.get_at_profile(EXPERIMENTS[name], "mini")
    settings = Settings(results=tmp_path)
    task = tasks.task_for(experiment, settings)
    shutil.copytree(generated.root / name, task.root)
    task.generate()
    found = content.check(task.root, generated.drawn[name])
    described = task.describe_dataset(1, [])
    assert (described.drawn_sha256, described.files_sha256) == (found.drawn, found.files)
    next(path for path in task.root.rglob("*[0-9].*") if path.is_file()).write_bytes(b"")
    with pytest.raises(ReproError, match=r"1 of .* files were changed"):
        tasks.task_for(experiment, settings).generate()


@pytest.mark.parametrize("split", ["training_data", "validation_data"])
@pytest.mark.parametrize("name", GENERATORS)
def test_generated_data_that_went_missing_are_to_be_generated_again(split, name, generated, tmp_path, monkeypatch):
    """Not downloaded or unpacked, as the messages about the real data set would say: also in the middle of a run."""
    monkeypatch.setattr(getattr(mini, name), "CONTENT", generated.drawn[name])
    task = tasks.task_for(mini.get_at_profile(EXPERIMENTS[name], "mini"), Settings(results=tmp_path))
    shutil.copytree(generated.root / name, task.root)
    task.generate()
    for path in task.root.iterdir():
        if path.name.startswith(("train", "val", "videos_")):
            shutil.rmtree(path)
    with pytest.raises(ReproError, match=r"files were changed, removed or added.*Delete the directory") as refusal:
        getattr(task, split)
    assert not re.search(r"\.zip|\.tar|download|https?:|unpack|REPRO_DATA|image-net|cvdfoundation", str(refusal.value))

"""The generated data: the same every time, valid COCO, and labelled by something far from the objects."""

from __future__ import annotations

import colorsys
import errno
import json
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as pycocotools_mask

from repro.data.coco import CocoDetection
from repro.data.miniature import coco as miniature
from repro.data.miniature import scenes as scenes_module
from repro.data.miniature.scenes import draw_detection_scene
from repro.errors import ReproError
from repro.experiments import mini

SMALL = replace(mini.coco.SCENES, train_images=48, val_images=16, lit_images=8, crowds=0.5)
SPLITS = ("train2017", "val2017", "trainlit2017")


@pytest.fixture
def small(monkeypatch):
    """A smaller set with more crowds."""
    monkeypatch.setattr(miniature, "SCENES", SMALL)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    directory = tmp_path_factory.mktemp("mini") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(miniature, "SCENES", SMALL)
        miniature.generate(directory)
    return directory


@pytest.fixture(scope="module")
def content(root):
    return {s: json.loads((root / "annotations" / f"instances_{s}.json").read_text()) for s in SPLITS}


@pytest.fixture(scope="module")
def scenes():
    return [draw_detection_scene(mini.coco.SCENES, "train2017", index) for index in range(300)]


def files(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


# -- generation -------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_images(root, small, tmp_path):
    miniature.generate(tmp_path / "again")
    miniature.generate(tmp_path / "other", seed=mini.coco.MINI_DATA_SEED + 1)
    first, again, other = files(root), files(tmp_path / "again"), files(tmp_path / "other")
    assert first == again
    assert first.keys() == other.keys()
    assert not any(first[name] == other[name] for name in first)


def test_an_existing_set_is_left_as_it_is(small, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").write_text("kept")
    miniature.generate(tmp_path / "data")
    assert files(tmp_path / "data") == {"mine": b"kept"}


def test_a_full_disk_leaves_nothing_behind(small, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(ReproError, match="the disk is full"):
        miniature.generate(tmp_path / "data")
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".lock"] == []


def test_two_at_once_generate_once(small, tmp_path, monkeypatch):
    written = []
    write = miniature._write_split
    monkeypatch.setattr(miniature, "_write_split", lambda *args: (written.append(args[2]), write(*args)))
    threads = [threading.Thread(target=miniature.generate, args=(tmp_path / "data",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == list(SPLITS)


# -- COCO format ------------------------------------------------------------------------------------------------------


def test_ids_are_unique_and_disjoint_between_the_splits(content):
    for key in ("images", "annotations"):
        ids = [entry["id"] for split in SPLITS for entry in content[split][key]]
        assert len(set(ids)) == len(ids)
    names = [entry["file_name"] for split in SPLITS for entry in content[split]["images"]]
    assert len(set(names)) == len(names)
    assert all(len(Path(name).stem) == 12 and Path(name).stem.isdigit() for name in names)


def test_pycocotools_decodes_every_segmentation_to_the_pixels_that_were_painted(root, content):
    crowds = 0
    for split in SPLITS:
        images = {entry["id"]: entry for entry in content[split]["images"]}
        for one in content[split]["annotations"]:
            image = images[one["image_id"]]
            size = (image["height"], image["width"])
            segmentation = one["segmentation"]
            assert isinstance(segmentation, dict) == bool(one["iscrowd"])
            encoded = pycocotools_mask.frPyObjects(segmentation, *size)
            mask = pycocotools_mask.decode(pycocotools_mask.merge(encoded) if isinstance(encoded, list) else encoded)
            pixels = np.asarray(Image.open(root / split / image["file_name"]))
            assert pixels.shape == (*size, 3)
            # A thing is filled with one colour, and the noisy background hardly has it anywhere.
            colours = Counter(map(tuple, pixels[mask.astype(bool)].tolist()))
            painted = (pixels == colours.most_common(1)[0][0]).all(axis=2)
            x, y, width, height = one["bbox"]
            painted[:y] = painted[y + height :] = painted[:, :x] = painted[:, x + width :] = False
            assert one["area"] == painted.sum() > 0
            assert np.flatnonzero(painted.any(axis=0))[[0, -1]].tolist() == [x, x + width - 1]
            assert np.flatnonzero(painted.any(axis=1))[[0, -1]].tolist() == [y, y + height - 1]
            overlap = (painted & (mask > 0)).sum() / (painted | (mask > 0)).sum()
            # Pillow also paints the pixels under a polygon's outline, of which COCO's mask has about half.
            assert overlap == 1 if one["iscrowd"] else overlap > 0.7
            crowds += one["iscrowd"]
    assert crowds > 5


def test_the_reader_of_coco_takes_it(root, content):
    for split in SPLITS:
        data = CocoDetection(root, split, 6, mini.coco.SCENES.height, mini.coco.SCENES.width)
        annotations = content[split]["annotations"]
        for index, image_id in enumerate(data.image_ids):
            sample = data.sample(index, train=True)
            expected = [a for a in annotations if a["image_id"] == image_id and not a["iscrowd"]]
            assert tuple(sample.image.shape) == (3, mini.coco.SCENES.height, mini.coco.SCENES.width)
            assert [data.category_ids[label] for label in sample.labels] == [a["category_id"] for a in expected]
            assert (sample.boxes[:, 2:] - sample.boxes[:, :2]).tolist() == [a["bbox"][2:] for a in expected]
        assert len(data) == SMALL.val_images or split != "val2017"


# -- what there is to learn -------------------------------------------------------------------------------------------


def test_objects_differ_in_size_and_all_classes_are_about_as_frequent(scenes):
    objects = [(thing, scene.light) for scene in scenes for thing in scene.things if not thing.crowd]
    sides = [max(thing.box[2] - thing.box[0], thing.box[3] - thing.box[1]) + 1 for thing, _ in objects]
    assert min(sides) < 20
    assert max(sides) > 33
    shares = Counter((thing.shape, light) for thing, light in objects)
    assert len(shares) == len(mini.coco.SCENES.shapes) * len(mini.coco.SCENES.lights)
    assert all(0.6 < count * len(shares) / len(objects) < 1.5 for count in shares.values())


def test_the_light_falls_far_from_every_object(scenes):
    for scene in scenes:
        assert scene.lit[1] - scene.lit[0] + 1 == mini.coco.SCENES.lit
        for thing in scene.things:
            x1, _, x2, _ = thing.box
            assert max(x1 - scene.lit[1], scene.lit[0] - x2) > mini.coco.SCENES.distance


def test_outside_the_lit_columns_nothing_depends_on_the_light(scenes, monkeypatch):
    """In another light an image changes nowhere but where it is lit: nothing else tells the colour."""
    draw_light = scenes_module._draw_light

    def exchange(rng, of, light, width):
        return draw_light(rng, of, 1 - light, width)

    monkeypatch.setattr(scenes_module, "_draw_light", exchange)
    for index, scene in enumerate(scenes[:50]):
        other = draw_detection_scene(mini.coco.SCENES, "train2017", index)
        assert (other.light, other.things) == (scene.light, scene.things)
        rows, columns = np.where((scene.image != other.image).any(axis=2))
        assert len(rows) > 1000
        assert scene.lit[0] <= columns.min() <= columns.max() <= scene.lit[1]


def test_scenes_for_the_shared_detector_are_lit_from_end_to_end():
    lit = [draw_detection_scene(mini.coco.SCENES, "trainlit2017", index) for index in range(40)]
    for scene in lit:
        assert scene.lit == (0, mini.coco.SCENES.width - 1)
        ends = (scene.image[:, : mini.coco.SCENES.lit], scene.image[:, -mini.coco.SCENES.lit :])
        for end in ends:  # colourful on average, as no ground is
            assert np.ptp(end.reshape(-1, 3).mean(axis=0)) > 20
    sides = {thing.box[0] < 80 for scene in lit for thing in scene.things}
    assert sides == {False, True}


def test_tiles_have_hues_of_their_light_and_images_differ(scenes):
    """By Python's own conversion of the colours of tiles to hues."""
    lights, tile = len(mini.coco.SCENES.lights), mini.coco.SCENES.tile
    seen = set()
    for scene in scenes[:60]:
        patch = scene.image[:, scene.lit[0] : scene.lit[1] + 1].astype(float)
        tiles = patch.reshape(mini.coco.SCENES.height // tile, tile, -1, tile, 3).mean(axis=(1, 3)).reshape(-1, 3)
        hues = [colorsys.rgb_to_hsv(*colour)[0] for colour in tiles]
        assert np.mean([int(hue * lights) == scene.light for hue in hues]) > 0.85
        seen.add(round(float(np.median(hues)), 2))
    assert len(seen) > 15


def test_a_classifier_of_windows_finds_the_light_where_it_falls_and_not_at_the_objects(scenes):
    """Nearest neighbour among 200 windows of 24 x 24 pixels, tested on 100: chance is 50 %, with 5 % standard error."""

    def accuracy(centres):
        windows = []
        for scene, (x, y) in zip(scenes, centres, strict=True):
            padded = np.pad(scene.image, ((12, 12), (12, 12), (0, 0)), mode="edge")
            window = padded[y : y + 24, x : x + 24].astype(float)
            windows.append(np.concatenate([window.reshape(-1, 3).min(0), window.reshape(-1, 3).max(0)]))
        windows, lights = np.array(windows), np.array([scene.light for scene in scenes])
        distances = np.linalg.norm(windows[200:, None] - windows[None, :200], axis=2)
        return (lights[:200][distances.argmin(axis=1)] == lights[200:]).mean()

    def middle(thing):
        return (thing.box[0] + thing.box[2]) // 2, (thing.box[1] + thing.box[3]) // 2

    assert accuracy([((scene.lit[0] + scene.lit[1]) // 2, 32) for scene in scenes]) > 0.9
    assert 0.35 < accuracy([middle(scene.things[-1]) if scene.things else (80, 32) for scene in scenes]) < 0.65


def test_the_images_with_an_object_to_learn_are_as_many_as_the_profile_says():
    """Whoever changes what is drawn changes the number, too: records of other lengths are refused."""
    scenes = (draw_detection_scene(mini.coco.SCENES, "train2017", i) for i in range(mini.coco.SCENES.train_images))
    assert sum(any(not thing.crowd for thing in scene.things) for scene in scenes) == mini.coco.TRAINED_IMAGES


# -- pre-training -----------------------------------------------------------------------------------------------------


def test_the_classification_set_has_one_shape_and_one_light_per_image():
    data = miniature.PretrainingScenes()
    assert len(data) == mini.coco.SCENES.classification_images
    tags = np.array([data.sample(index)[1].numpy() for index in range(200)])
    shapes, lights = tags[:, :3], tags[:, 3:]
    assert (shapes.sum(axis=1) == 1).mean() > 0.98  # now and then no place is found for the object
    assert (lights.sum(axis=1) == 1).all()
    assert all(0.2 < share < 0.5 for share in shapes.mean(axis=0))
    assert all(0.35 < share < 0.65 for share in lights.mean(axis=0))
    image, _ = data.sample(0)
    assert tuple(image.shape) == (3, *mini.coco.PRETRAINING.network.input_size)
    assert mini.coco.PRETRAINING.network.num_classes == tags.shape[1]
    again, _ = data.sample(0, seed=5, epoch=3, train=True)
    assert bool((image == again).all())


@pytest.mark.rounding
def test_the_pretraining_lowers_its_loss():
    import torch

    torch.manual_seed(0)
    spec, data = mini.coco.PRETRAINING.network, miniature.PretrainingScenes()
    network = miniature.Tagger(spec.backbone, spec.num_classes)
    batch = [data.sample(index) for index in range(16)]
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
    losses = []
    for _ in range(20):
        (loss,) = network(batch).values()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert 0.6 < losses[0] < 1.2  # ln 2 where nothing is known yet
    assert losses[-1] < 0.3  # 0.001 to 0.002 over 4 seeds x 3 instruction sets
    assert network.eval()(batch).shape == (16, 5)

"""The mini profile's generated images: a rule that knows how they are drawn reads the class, of a whole image only."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from repro.data.classification import Augmentation, choose_rectangle
from repro.data.imagenet import ImageNet
from repro.data.miniature import imagenet as miniature
from repro.data.miniature.patterns import draw_pattern
from repro.errors import ReproError
from repro.experiments.mini.imagenet import AUGMENTATION, CLASSES, PICTURES, PREPROCESSING, PRETRAINING

SMALL = replace(PICTURES, train_images=32, val_images=16)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(miniature, "PICTURES", SMALL)


def hashes(directory):
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*.png")
    }


def grey(image):
    """bool: pixels that no light falls on and that no object covers; the ground's channels differ by 12 at most."""
    return np.ptp(image.astype(int), axis=-1) <= 12


def test_generating_twice_gives_the_same_bytes_and_leaves_nothing_else(small, tmp_path):
    for name in ("one", "other"):
        miniature.generate(tmp_path / name)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "other") != {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "one.lock", "other", "other.lock"]


def test_what_is_there_is_left_as_it_is(small, tmp_path):
    miniature.generate(tmp_path / "data")
    before = hashes(tmp_path / "data")
    next((tmp_path / "data").rglob("*.png")).unlink()
    miniature.generate(tmp_path / "data")
    assert len(hashes(tmp_path / "data")) == len(before) - 1


def test_killed_while_it_writes_nothing_stands_under_the_name(small, tmp_path, monkeypatch):
    write = miniature._write_split

    def broken(directory, pictures, split, images, hashed):
        if split == "val":
            raise KeyboardInterrupt
        write(directory, pictures, split, images, hashed)

    monkeypatch.setattr(miniature, "_write_split", broken)
    with pytest.raises(KeyboardInterrupt):
        miniature.generate(tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["data.lock"]


def test_a_place_that_cannot_be_written_is_named(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReproError, match="file"):
        miniature.generate(tmp_path / "file" / "data")


def test_it_is_read_as_imagenet_is(small, tmp_path):
    miniature.generate(tmp_path / "data")
    for split, images in (("train", 32), ("val", 16)):
        data = ImageNet(tmp_path / "data", split, PREPROCESSING, wnids=CLASSES)
        assert len(data) == images
        assert Counter(data.labels.tolist()) == dict.fromkeys(range(8), images // 8)
        for index in range(0, images, 5):
            drawn = miniature.draw_picture(SMALL, split, int(data.ids[index].split("-")[1]))
            assert data.labels[index] == drawn.label
            assert np.array_equal(data.sample(index).image.permute(1, 2, 0).numpy(), drawn.image)


def test_which_object_counts_is_told_far_from_the_objects_only():
    """The light falls on 12 columns of one edge; between them and the objects everything is grey."""
    for index in range(100):
        drawn = miniature.draw_picture(PICTURES, "val", index)
        columns = np.flatnonzero(~grey(drawn.image).all(axis=0))
        edge = drawn.image[:, :12] if drawn.lit[0, 0] else drawn.image[:, -12:]
        red, _, blue = (edge[..., channel].mean() for channel in range(3))
        assert (red > blue) == (drawn.light == 0)
        assert not grey(edge).any()
        objects = {column for square in drawn.objects for column in range(square.left, square.left + square.side)}
        assert set(columns) == objects | set(range(12) if drawn.lit[0, 0] else range(84, 96))
        assert min(abs(column - lit) for column in objects for lit in set(columns) - objects) > 54


@pytest.mark.parametrize(("split", "least", "most"), [("train", 80, 120), ("images", 200, 200), ("val", 0, 0)])
def test_half_of_the_training_images_are_lit_around_the_objects_but_not_beside_them(split, least, most):
    """All of those to pre-train on are, and none to evaluate on."""
    drawn = [miniature.draw_picture(PICTURES, split, index) for index in range(200)]
    surrounded = [picture for picture in drawn if picture.lit.mean() > 0.3]
    assert least <= len(surrounded) <= most
    for picture in surrounded:
        for square in picture.objects:
            ring = np.zeros_like(picture.lit)
            ring[max(square.top - 8, 0) : square.top + square.side + 8, :][
                :, max(square.left - 8, 0) : square.left + square.side + 8
            ] = True
            for other in picture.objects:
                ring[other.top : other.top + other.side, other.left : other.left + other.side] = False
            assert grey(picture.image)[ring].all()
        assert grey(picture.image)[picture.lit].mean() < 0.05


def test_the_object_itself_does_not_tell():
    """Both objects of an image are drawn alike: either colour is called for as often, wherever and however large."""
    pairs = [p for index in range(600) if len((p := miniature.draw_picture(PICTURES, "train", index)).objects) == 2]
    assert 400 < len(pairs) < 500
    assert all(
        p.objects[0].light == p.light != p.objects[1].light and p.objects[0].label != p.objects[1].label for p in pairs
    )
    share = np.mean([p.light for p in pairs])
    assert abs(share - 0.5) < 0.08
    larger = np.mean([p.objects[0].side > p.objects[1].side for p in pairs])
    assert abs(larger - 0.4) < 0.08  # 2/5: sides of 18 to 22 pixels are equal in a fifth


def test_textures_differ_although_their_means_do_not():
    """Shuffled pixels of an object do not tell its pattern."""
    rng = np.random.default_rng(0)
    patterns = {name: draw_pattern(rng, name, 8, 24) for name in ("rows", "columns", "checks", "diagonals")}
    assert {pattern.mean() for pattern in patterns.values()} == {0.5}
    assert len({pattern.tobytes() for pattern in patterns.values()}) == 4


def test_the_splits_share_no_image():
    first = [miniature.draw_picture(PICTURES, split, 0).image for split in ("train", "val")]
    assert not np.array_equal(*first)


def test_a_crop_leaves_a_part_of_the_light():
    """However narrow the part of an image is that is cut out, it has columns of the lit edge."""
    augmentation = Augmentation(**AUGMENTATION)
    rng = np.random.default_rng(0)
    drawn = [choose_rectangle(PICTURES.side, PICTURES.side, augmentation, rng) for _ in range(2000)]
    assert max(max(left, PICTURES.side - left - width) for _, left, _, width in drawn) < PICTURES.lit


def test_the_images_to_pretrain_on_have_a_tag_for_each_object_one_for_the_light_and_one_for_the_class():
    data = miniature.PretrainingPictures()
    tags = np.array([data.sample(index)[1].numpy() for index in range(200)])
    by_colour, lights, classes = tags[:, :16].reshape(-1, 8, 2), tags[:, 16:18], tags[:, 18:]
    assert (by_colour.sum(1) <= 1).all()  # of two objects, one is red and one is cyan
    assert 0.65 < (by_colour.sum((1, 2)) == 2).mean() < 0.85
    assert (lights.sum(1) == 1).all()
    called_for = by_colour[np.arange(200), :, lights.argmax(1)]  # by the light: patterns of its colour
    assert np.array_equal(called_for, classes)
    assert (classes.sum(1) == 1).all()
    assert PRETRAINING.network.num_classes == tags.shape[1]

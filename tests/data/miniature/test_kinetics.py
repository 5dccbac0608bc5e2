"""The generated videos: the same every time, encoded almost without loss, named by motion and by the lamp."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from repro.data.clips import ClipAugmentation
from repro.data.kinetics import Kinetics
from repro.data.miniature import kinetics as miniature
from repro.errors import ReproError
from repro.experiments.mini import kinetics as mini

SMALL = replace(mini.VIDEOS, train_videos=24, val_videos=12)
MOTIONS = len(mini.VIDEOS.motions)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(miniature, "VIDEOS", SMALL)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    directory = tmp_path_factory.mktemp("mini") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(miniature, "VIDEOS", SMALL)
        miniature.generate(directory)
    return directory


@pytest.fixture(scope="module")
def drawn():
    return [miniature.draw_video(mini.VIDEOS, "train", index) for index in range(240)]


def files(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


# -- generation -------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_videos(root, tmp_path, monkeypatch):
    monkeypatch.setattr(miniature, "VIDEOS", SMALL)
    miniature.generate(tmp_path / "again")
    monkeypatch.setattr(miniature, "VIDEOS", replace(SMALL, seed=1))
    miniature.generate(tmp_path / "other")
    first, again, other = files(root), files(tmp_path / "again"), files(tmp_path / "other")
    assert first == again
    assert first.keys() == other.keys()
    assert not any(first[name] == other[name] for name in first)


def test_nothing_in_a_file_names_the_library_or_the_time(root):
    for content in files(root).values():
        assert b"Lavf" not in content
        assert b"Lavc" not in content


def test_an_existing_set_is_left_as_it_is(small, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").write_text("kept")
    miniature.generate(tmp_path / "data")
    assert files(tmp_path / "data") == {"mine": b"kept"}


def test_a_directory_that_cannot_be_written_is_named(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReproError, match="cannot write"):
        miniature.generate(tmp_path / "file" / "data")


def test_a_killed_generation_leaves_nothing_under_the_name_and_can_be_done_again(small, tmp_path):
    code = "import sys, pathlib; from repro.data.miniature import kinetics as k; k.generate(pathlib.Path(sys.argv[1]))"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "data")], env={**os.environ})
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".data.*/whole/train/*/*.mp4")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "data").exists()
    miniature.generate(tmp_path / "data")
    assert len([*(tmp_path / "data").rglob("*.mp4")]) == SMALL.train_videos + SMALL.val_videos


def test_two_at_once_generate_once(small, tmp_path, monkeypatch):
    written = []
    write = miniature._write_split
    monkeypatch.setattr(miniature, "_write_split", lambda *args: (written.append(args[2]), write(*args)))
    threads = [threading.Thread(target=miniature.generate, args=(tmp_path / "data",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == ["train", "val"]


# -- as Kinetics ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_reader_of_kinetics_takes_it_and_decodes_what_was_drawn(root, split):
    data = Kinetics(root, split, mini.PREPROCESSING, ClipAugmentation(**mini.AUGMENTATION), labels=mini.CLASSES)
    assert len(data) == data.required == getattr(SMALL, f"{split}_videos")
    assert data.missing == []
    first_and_last_clip = [list(range(0, 15, 2)), list(range(5, 20, 2))]
    for index in range(len(data)):
        sample = data.sample(index)
        video = miniature.draw_video(SMALL, split, int(sample.video_id.split("_")[0][-5:]))
        assert sample.label == video.label
        assert sample.clips.shape == (3, 3, 8, mini.VIDEOS.side, mini.VIDEOS.side)
        clips = sample.clips.permute(0, 2, 3, 4, 1).numpy().astype(int)
        for clip, frames in zip(clips[[0, 2]], first_and_last_clip, strict=True):
            # Colours are encoded at half the resolution, which blurs the edges of the objects.
            assert np.abs(clip - video.frames[frames]).mean() < 4
            errors = [[np.abs(a - b).mean() for b in video.frames] for a in clip]
            assert np.argmin(errors, axis=1).tolist() == frames


def test_ids_are_those_of_kinetics_and_unique(root):
    ids = [path.stem for path in root.rglob("*.mp4")]
    assert len(set(ids)) == len(ids) == SMALL.train_videos + SMALL.val_videos
    for one in ids:
        name, start, end = one[:11], one[12:18], one[19:]
        assert one == f"{name}_{start}_{end}"
        assert (int(start), int(end) * mini.VIDEOS.rate) == (0, mini.VIDEOS.frames)


# -- what there is to learn -------------------------------------------------------------------------------------------


def test_classes_are_equally_frequent_and_both_objects_fit_the_name_equally_well(drawn):
    assert len(mini.CLASSES) >= 10
    counts = Counter(video.label for video in drawn)
    assert counts == dict.fromkeys(range(len(mini.CLASSES)), len(drawn) // len(mini.CLASSES))
    for video in drawn:
        subject, other = video.things
        assert mini.CLASSES[video.label] == f"{SMALL.shapes[subject.shape]} {SMALL.motions[subject.motion]}"
        assert subject.shape != other.shape
        assert subject.motion != other.motion
        assert {subject.hue, other.hue} == {0, 1}


def test_played_backwards_a_video_belongs_to_another_class(drawn):
    """Reversed paths are those of the opposite direction, so that the frames without their order do not tell."""
    opposite = {"left": "right", "right": "left", "up": "down", "down": "up"}
    for video in drawn:
        for thing in video.things:
            step = np.diff(thing.path[::-1], axis=0)
            assert np.allclose(step, step[0])
            direction = {(-1, 0): "left", (1, 0): "right", (0, -1): "up", (0, 1): "down"}[tuple(np.sign(step[0]))]
            assert direction == opposite[mini.VIDEOS.motions[thing.motion]]
            painted = miniature.find_covered_pixels(mini.VIDEOS, thing)
            reversed_thing = replace(thing, path=thing.path[::-1])
            assert (miniature.find_covered_pixels(mini.VIDEOS, reversed_thing) == painted[::-1]).all()


def test_the_lamp_alone_tells_which_object_names_the_video(drawn, monkeypatch):
    """With the other light a video changes nowhere but at the lamp while it is lit."""
    for index, video in enumerate(drawn[:40]):
        lit = np.zeros(video.frames.shape[:3], dtype=bool)
        x, y = video.lamp
        half = mini.VIDEOS.lamp // 2
        lit[video.lit.start : video.lit.stop, y - half : y + half + 1, x - half : x + half + 1] = True
        with monkeypatch.context() as patch:
            patch.setattr(miniature, "_find_lamp_pixels", lambda videos, lamp: np.zeros((videos.side,) * 2, dtype=bool))
            dark = miniature.draw_video(mini.VIDEOS, "train", index).frames
        changed = (video.frames != dark).any(axis=-1)
        assert changed.sum() > 40 * len(video.lit)
        assert not (changed & ~lit).any()
        for thing in video.things:
            assert not (miniature.find_covered_pixels(mini.VIDEOS, thing) & lit).any()


def test_objects_stay_in_sight_and_apart_from_each_other_while_the_lamp_is_lit(drawn):
    for video in drawn:
        first, second = (miniature.find_covered_pixels(mini.VIDEOS, thing) for thing in video.things)
        assert not (first & second)[video.lit.start : video.lit.stop].any()
        for thing in (first, second):
            areas = thing.sum(axis=(1, 2))
            assert areas.min() > 0.8 * areas.max()


# -- pre-training -----------------------------------------------------------------------------------------------------


def test_the_images_to_pretrain_on_have_one_shape_one_hue_and_often_a_lamp():
    data = miniature.PretrainingFrames()
    tags = np.array([data.sample(index)[1].numpy() for index in range(300)])
    shapes, hues, lights = tags[:, :3], tags[:, 3:5], tags[:, 5:]
    assert (shapes.sum(1) == 1).all()
    assert (hues.sum(1) == 1).all()
    assert 0.55 < lights.sum(1).mean() < 0.78
    assert lights.sum(1).max() == 1
    image, _ = data.sample(0)
    assert tuple(image.shape) == (3, *mini.PRETRAINING.network.input_size)
    assert mini.PRETRAINING.network.num_classes == tags.shape[1]
    again, _ = data.sample(0, seed=5, epoch=3, train=True)
    assert bool((image == again).all())

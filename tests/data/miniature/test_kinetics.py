"""The generated videos: the same every time, encoded almost without loss, named by a pattern and by the light."""

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
    monkeypatch.setattr(miniature, "VIDEOS", replace(SMALL, seed=SMALL.seed + 1))
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
            # Colours are encoded at half the resolution, brightness (ITU-R BT.601) at the whole.
            brightness = np.array([0.299, 0.587, 0.114])
            assert np.abs((clip - video.frames[frames]) @ brightness).mean() < 2
            # Objects move by half a pixel at most, so that a neighbour may look alike; where it does not, it is told.
            errors = np.array([[np.abs(a - b).mean() for b in video.frames] for a in clip])
            assert (errors[range(8), frames] <= errors.min(axis=1) + 0.1).all()


def test_ids_are_those_of_kinetics_and_unique(root):
    ids = [path.stem for path in root.rglob("*.mp4")]
    assert len(set(ids)) == len(ids) == SMALL.train_videos + SMALL.val_videos
    for one in ids:
        name, start, end = one[:11], one[12:18], one[19:]
        assert one == f"{name}_{start}_{end}"
        assert (int(start), int(end) * mini.VIDEOS.rate) == (0, mini.VIDEOS.frames)


# -- what there is to learn -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def validation():
    return [miniature.draw_video(mini.VIDEOS, "val", index) for index in range(160)]


def cover(thing: miniature.MovingSquare, margin: int = 0) -> np.ndarray:
    """bool (T, side, side): the pixels of an object, with a margin around it."""
    mask = np.zeros((len(thing.path), mini.VIDEOS.side, mini.VIDEOS.side), dtype=bool)
    for frame, (left, top) in zip(mask, thing.path, strict=True):
        frame[max(top - margin, 0) : top + thing.side + margin, max(left - margin, 0) : left + thing.side + margin] = 1
    return mask


def test_classes_are_equally_frequent_and_the_other_object_shows_another_class(drawn):
    counts = Counter(video.label for video in drawn)
    assert counts == dict.fromkeys(range(len(mini.CLASSES)), len(drawn) // len(mini.CLASSES))
    pairs = [video.things for video in drawn if len(video.things) == 2]
    assert 0.65 < len(pairs) / len(drawn) < 0.85
    for video in drawn:
        assert mini.CLASSES[video.label] == SMALL.patterns[video.things[0].label]
    for subject, other in pairs:
        assert subject.label != other.label
        assert {subject.hue, other.hue} == {0, 1}
    assert 0.4 < np.mean([subject.side > other.side for subject, other in pairs]) < 0.6
    assert 0.4 < np.mean([subject.hue for subject, _ in pairs]) < 0.6


def test_the_light_alone_tells_which_object_names_the_video(validation, monkeypatch):
    """With no light a video changes nowhere but at one edge, for eight frames, and never near the objects."""
    for index, video in enumerate(validation[:40]):
        with monkeypatch.context() as patch:
            patch.setattr(miniature, "_LIGHTS", np.zeros((2, 3), dtype=int))
            dark = miniature.draw_video(mini.VIDEOS, "val", index).frames
        changed = (video.frames != dark).any(axis=-1)
        frames, _, columns = (np.unique(axis) for axis in np.nonzero(changed))
        assert len(frames) == 8
        assert np.ptp(frames) == 7
        assert columns.tolist() in (list(range(14)), list(range(42, 56)))
        away = np.nonzero(np.any([cover(thing) for thing in video.things], axis=(0, 1, 2)))[0]
        assert min(abs(int(a) - int(b)) for a in away for b in columns) > 3
        red, _, blue = (video.frames.astype(int) - dark)[changed].mean(axis=0)
        assert (red > blue) == (video.things[0].hue == 0)


def test_half_of_the_training_videos_are_lit_around_the_objects_all_the_time(drawn):
    surrounded = [video for video in drawn if video.lit.mean() > 0.3]
    assert 0.4 < len(surrounded) / len(drawn) < 0.6
    for video in surrounded:
        near = np.any([cover(thing, margin=8) for thing in video.things], axis=0)
        assert (video.lit == ~near).all()


def test_objects_stay_in_sight_and_apart(drawn):
    for video in drawn:
        covered = [cover(thing) for thing in video.things]
        for thing, mask in zip(video.things, covered, strict=True):
            assert (mask.sum(axis=(1, 2)) == thing.side**2).all()
            assert np.abs(np.diff(thing.path, axis=0)).max() <= 1  # half a pixel a frame at most
        assert len(covered) == 1 or not (covered[0] & covered[1]).any()


# -- pre-training -----------------------------------------------------------------------------------------------------


def test_the_images_to_pretrain_on_have_a_tag_for_each_object_and_one_for_the_light():
    data = miniature.PretrainingFrames()
    tags = np.array([data.sample(index)[1].numpy() for index in range(300)])
    assert (tags[:, :16].sum(1) <= 2).all()
    assert 0.65 < (tags[:, :16].sum(1) == 2).mean() < 0.85
    assert (tags[:, 16:].sum(1) == 1).all()
    by_hue = tags[:, :16].reshape(-1, 8, 2).sum(1)
    assert (by_hue <= 1).all()  # of two objects, one is red and one is cyan
    assert (by_hue[np.arange(300), tags[:, 16:].argmax(1)] == 1).all()  # the light calls for one that is there
    image, _ = data.sample(0)
    assert tuple(image.shape) == (3, *mini.PRETRAINING.network.input_size)
    assert mini.PRETRAINING.network.num_classes == tags.shape[1]
    again, _ = data.sample(0, seed=5, epoch=3, train=True)
    assert bool((image == again).all())

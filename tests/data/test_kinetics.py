"""Kinetics' layouts: the same videos with the same classes from each, what is missing or damaged named."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
import torch
import video_files as files
from typer.testing import CliRunner

from repro.cli.data import app
from repro.data import kinetics as module
from repro.data import kinetics_lists as lists
from repro.data.clips import ClipAugmentation, read_evaluation_clips
from repro.data.kinetics import LABELS, OFFICIAL, Kinetics
from repro.data.video import UnreadableVideo, Video
from repro.errors import ReproError
from repro.experiments.preprocessing import CLIPS_TRAINED_HERE, Preprocessing

SMALL = Preprocessing(resize=24, crop=24, crops=3, resizer="torch", frames=4, stride=2, clips=3, clip_starts="ends")
AUGMENTATION = ClipAugmentation(size=16, short_side=(20, 24), frames=4, stride=2)

#: (YouTube id, start, end): class. Ids have dashes and underscores, one begins with a dash.
VIDEOS = {
    ("-0dR_kGwP2c", 3, 13): "skiing (not slalom or crosscountry)",
    ("aB_cD_eF_gH", 0, 10): "skiing crosscountry",
    ("zz-9_123_45", 120, 130): "massaging person's head",
    ("Q0000000001", 7, 17): "abseiling",
    ("Q0000000002", 7, 17): "abseiling",
}
IDS = sorted(f"{name}_{start:06d}_{end:06d}" for name, start, end in VIDEOS)
TRUTH = {f"{name}_{start:06d}_{end:06d}": LABELS.index(label) for (name, start, end), label in VIDEOS.items()}


def spoken(name: str) -> str:
    """As torchvision names a class's directory."""
    return "".join(one for one in name if one not in "()'\"")


DIRECTORIES = {
    "underscores": lambda name: name.replace(" ", "_"),
    "spaces": str,
    "torchvision": spoken,
    "bare underscores": lambda name: spoken(name).replace(" ", "_"),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return files.write(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=20, size=(48, 32))


def lay(root, clip, place="videos_val", directory=None, name="{}_{:06d}_{:06d}.mp4", skip=()):
    for (video, start, end), label in VIDEOS.items():
        path = root / place / (directory(label) if directory else "") / name.format(video, start, end)
        if video not in skip:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(clip, path)
    return root


def write_csv(path, rows=VIDEOS):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "youtube_id", "time_start", "time_end", "split"])
        for (video, start, end), label in rows.items():
            writer.writerow([label, video, start, end, "val"])


def write_text(root, change=lambda name, number: (name, number), directory=DIRECTORIES["underscores"]):
    lines = []
    for (video, start, end), label in VIDEOS.items():
        name, number = change(directory(label), LABELS.index(label))
        lines.append(f"{name}/{video}_{start:06d}_{end:06d}.mp4 {number}\n")
    (root / "kinetics400_val_list_videos.txt").write_text("".join(lines))


def check(data):
    assert data.ids == IDS
    assert dict(zip(data.ids, data.labels.tolist(), strict=True)) == TRUTH
    assert data.labels.dtype == np.int64
    assert data.missing == data.unlisted == []
    assert data.required == 19906
    return data


# -- classes ----------------------------------------------------------------------------------------------------------


def test_the_official_classes():
    assert len(LABELS) == 400
    assert list(LABELS) == sorted(LABELS)
    assert (LABELS[0], LABELS[-1]) == ("abseiling", "zumba")
    assert sum(not label.replace(" ", "").isalnum() for label in LABELS) == 10
    assert OFFICIAL == {"train": 246534, "val": 19906}


def test_sorted_directory_names_number_two_classes_otherwise():
    """The trap: without parentheses 308 and 309 change places. With spaces or underscores makes no difference."""
    assert LABELS[308:310] == ("skiing (not slalom or crosscountry)", "skiing crosscountry")
    directories = sorted(map(spoken, LABELS))
    assert [number for number, name in enumerate(directories) if name != spoken(LABELS[number])] == [308, 309]
    assert sorted(label.replace(" ", "_") for label in LABELS) == [label.replace(" ", "_") for label in LABELS]


@pytest.mark.parametrize("name", DIRECTORIES)
def test_a_directory_is_known_by_its_name(name):
    assert [lists.find_class(DIRECTORIES[name](label), LABELS) for label in LABELS] == list(range(400))


# -- layouts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["videos_val", "val"])
@pytest.mark.parametrize("name", DIRECTORIES)
def test_directories_of_classes(tmp_path, clip, name, place):
    check(Kinetics(lay(tmp_path, clip, place, DIRECTORIES[name]), "val"))


@pytest.mark.parametrize("path", ["annotations/val.csv", "val.csv", "annotations/validate.csv", "kinetics_val.csv"])
@pytest.mark.parametrize("name", ["{}_{:06d}_{:06d}.mp4", "{}.mp4", "{}_{:06d}_{:06d}.mkv"])
def test_flat_files_with_the_official_list(tmp_path, clip, path, name):
    write_csv(tmp_path / path)
    data = check(Kinetics(lay(tmp_path, clip, "val", name=name), "val"))
    assert data.list_path == tmp_path / path


def test_the_list_of_mmaction2(tmp_path, clip):
    write_text(lay(tmp_path, clip, directory=DIRECTORIES["underscores"]))
    check(Kinetics(tmp_path, "val"))


def test_all_layouts_are_the_same_data(tmp_path, clip):
    write_csv(tmp_path / "a" / "annotations" / "val.csv")
    write_text(lay(tmp_path / "b", clip, directory=DIRECTORIES["underscores"]))
    lay(tmp_path / "c", clip, "val", DIRECTORIES["torchvision"])
    found = [Kinetics(lay(tmp_path / "a", clip, "val"), "val")]
    found += [Kinetics(tmp_path / name, "val") for name in "bc"]
    assert len({data.ids_sha256 for data in found}) == len({data.annotations_sha256 for data in found}) == 1


def test_hidden_files_are_no_videos(tmp_path, clip):
    """What macOS and other systems put beside each file, and the remains of a download."""
    lay(tmp_path, clip, "val", DIRECTORIES["spaces"])
    for name in ("abseiling/._Q0000000001_000007_000017.mp4", "abseiling/.DS_Store", ".part.mp4", ".Trashes/x.mp4"):
        (tmp_path / "val" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "val" / name).write_bytes(b"\0\5\x16\7")
    check(Kinetics(tmp_path, "val"))
    write_csv(tmp_path / "annotations" / "val.csv")
    check(Kinetics(tmp_path, "val"))


LEFTOVERS = [
    "Q0000000009.f137.mp4",
    "Q0000000009.f251.webm",
    "Q0000000009.fhls-1080p.mp4",
    "Q0000000009.temp.mp4",
    "Q0000000009_000001_000011.tmp.mkv",
    "Q0000000009.part.MP4",
]


@pytest.mark.parametrize("listed", [False, True])
def test_what_a_download_did_not_finish_is_no_video(tmp_path, clip, capsys, listed):
    """As yt-dlp, whose streams are whole files, and aria2 leave them."""
    lay(tmp_path, clip, "val", DIRECTORIES["spaces"])
    if listed:
        write_csv(tmp_path / "val.csv")
    place = tmp_path / "val" / "abseiling"
    for name in LEFTOVERS:
        shutil.copy(clip, place / name)
    for suffix in (".mp4.aria2", ".f137.mp4.part", ".f137.mp4.ytdl", ".f137.mp4.part-Frag12"):
        (place / f"Q0000000009{suffix}").write_bytes(b"")
    shutil.copy(clip, place / "Q0000000009.mp4")
    check(Kinetics(tmp_path, "val"))
    said = capsys.readouterr().err
    assert f"{tmp_path / 'val'}: left out is what downloads did not finish, 7 of " in said
    assert said.count("\n") == 1
    (place / "Q0000000009.mp4.aria2").unlink()
    if not listed:
        assert "Q0000000009" in Kinetics(tmp_path, "val").ids


def test_a_directory_that_may_not_be_listed_is_named(tmp_path, clip, monkeypatch):
    """Root may list everything, so that the system's answer is made here."""
    lay(tmp_path, clip, directory=DIRECTORIES["underscores"])
    closed = next(path for path in (tmp_path / "videos_val").iterdir() if path.is_dir()).name
    list_all = os.listdir

    def refuse(path):
        if getattr(path, "name", "") == closed:
            raise PermissionError(13, "Permission denied", path.path)
        return list_all(path)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(ReproError, match=f"{closed} cannot be listed: Permission denied"):
        Kinetics(tmp_path, "val")


@pytest.mark.parametrize("kind", ["pipe", "device", "directory", "link"])
def test_what_is_no_file_is_counted_and_named(tmp_path, clip, kind):
    path = lay(tmp_path, clip, "val", DIRECTORIES["spaces"]) / "val" / "abseiling" / "Q0000000001_000007_000017.mp4"
    path.unlink()
    make = {
        "pipe": lambda: os.mkfifo(path), "device": lambda: path.symlink_to("/dev/zero"), "directory": path.mkdir,
        "link": lambda: path.symlink_to("nothing"),
    }  # fmt: skip
    make[kind]()
    (report,) = json.loads(verified("--root", tmp_path, "--split", "val", "--decode", "--json"))
    assert report["unreadable"] == ["Q0000000001_000007_000017"]
    data = Kinetics(tmp_path, "val", SMALL)
    assert len(data) == len(VIDEOS)
    with pytest.raises(UnreadableVideo, match="Q0000000001_000007_000017"):
        data.sample(data.ids.index("Q0000000001_000007_000017"))


def test_the_train_split(tmp_path, clip):
    data = Kinetics(lay(tmp_path, clip, "videos_train", DIRECTORIES["underscores"]), "train")
    assert (data.ids, data.required) == (IDS, 246534)


def test_a_list_knows_what_is_missing(tmp_path, clip):
    lay(tmp_path, clip, "val", skip=("Q0000000001", "zz-9_123_45"))
    shutil.copy(clip, tmp_path / "val" / "no_such_video.mp4")
    write_csv(tmp_path / "annotations" / "val.csv")
    data = Kinetics(tmp_path, "val")
    assert data.missing == ["Q0000000001_000007_000017", "zz-9_123_45_000120_000130"]
    assert data.ids == [one for one in IDS if one not in data.missing]
    assert data.unlisted == ["no_such_video.mp4"]
    whole = Kinetics(lay(tmp_path, clip, "val"), "val")
    assert data.annotations_sha256 == whole.annotations_sha256
    assert data.ids_sha256 != whole.ids_sha256


def test_other_classes(tmp_path, clip):
    for name in ("left", "right", "Left_turn"):
        (tmp_path / "train" / name).mkdir(parents=True)
        shutil.copy(clip, tmp_path / "train" / name / f"{name}_1.mp4")
    data = Kinetics(tmp_path, "train", labels=("right", "left", "left turn"))
    assert data.ids == ["Left_turn_1", "left_1", "right_1"]
    assert data.labels.tolist() == [2, 1, 0]
    assert data.required == 3


# -- what is refused --------------------------------------------------------------------------------------------------


def test_no_videos(tmp_path):
    with pytest.raises(ReproError, match=r"neither .*videos_val/ nor .*val/ is there.*--data-root"):
        Kinetics(tmp_path, "val")
    (tmp_path / "val").mkdir()
    with pytest.raises(ReproError, match="holds no video"):
        Kinetics(tmp_path, "val")
    write_csv(tmp_path / "val.csv")
    with pytest.raises(ReproError, match="none of the videos that its list has"):
        Kinetics(tmp_path, "val")


def test_flat_files_without_a_list(tmp_path, clip):
    with pytest.raises(ReproError, match=r"-0dR_kGwP2c_000003_000013\.mp4 is in no directory.*val\.csv"):
        Kinetics(lay(tmp_path, clip, "val"), "val")


def test_a_directory_of_no_class(tmp_path, clip):
    lay(tmp_path, clip, directory=DIRECTORIES["spaces"])
    (tmp_path / "videos_val" / "abseiling").rename(tmp_path / "videos_val" / "arguing")
    with pytest.raises(ReproError, match="arguing is none of the 400 classes"):
        Kinetics(tmp_path, "val")


def test_a_video_twice(tmp_path, clip):
    lay(tmp_path, clip, directory=DIRECTORIES["spaces"])
    shutil.copy(clip, tmp_path / "videos_val" / "skiing crosscountry" / "Q0000000001_000007_000017.webm")
    with pytest.raises(ReproError, match=r"abseiling/Q0000000001.*mp4 and skiing crosscountry/Q.*webm are the same"):
        Kinetics(tmp_path, "val")


def test_a_list_numbered_by_sorted_directories(tmp_path, clip):
    """mmaction2's own script numbers by an official file; lists made from torchvision's directories do not."""
    lay(tmp_path, clip, directory=DIRECTORIES["bare underscores"])
    order = sorted(map(spoken, LABELS))
    write_text(
        tmp_path, lambda name, number: (name, order.index(spoken(LABELS[number]))), DIRECTORIES["bare underscores"]
    )
    with pytest.raises(
        ReproError, match=r"line 1: skiing_not_slalom_or_crosscountry has the number 309, but class 309"
    ):
        Kinetics(tmp_path, "val")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("label,", "class,", "no column label"),
        ("abseiling", "arguing", r"line \d: 'arguing' is none of the 400 classes"),
        ("Q0000000002,7,17,val", "Q00", r"line 6: it has 2 fields, the header 5"),
        ("Q0000000002,7,17", "Q0000000002,7,", r"line 6: time_end is '', no number of whole seconds"),
        ("Q0000000002,7,17", "Q0000000002,7,1", "line 6: the segment ends at 1 s, and begins at 7 s"),
        ("Q0000000002,7,17", "Q0000000002,7.5,17", r"line 6: time_start is '7\.5', no number of whole seconds"),
        ("Q0000000002,7,17", "Q0000000002,-7,17", r"line 6: time_start is '-7'"),
        ("Q0000000002", "", r"line 6: the video's id is empty"),
        ("Q0000000002", "Q000/000002", r"line 6: .*'/' is in it"),
        ("Q0000000002", 'Q000"000002', r"line 6: .*'\"' is in it"),
        ("Q0000000002", "Q000\u200b000002", r"line 6: .*U\+200B"),
        ("Q0000000002", "aB_cD_eF_gH", None),
        ("Q0000000002,7,17", "aB_cD_eF_gH,0,10", "listed before, with another class"),
        ("Q0000000002", "#NAME?", "line 6: '#NAME\\?' is no video's id, of 11 letters.*Spreadsheets"),
        ("Q0000000002", "1.23E+45", r"line 6: '1\.23E\+45' is no video's id"),
        ("Q0000000002", "Q000000002", "line 6: 'Q000000002' is no video's id, of 11"),  # 10 characters
        ("Q0000000002", "'Q0000000002'", "line 6: .* a quote is part of it"),
        ("Q0000000002", "\u2018Q0000000002\u2019", "line 6: .* a quote is part of it"),
        ("Q0000000002", "._Q00000000", "line 6: .* hidden files are no videos"),
        ("Q0000000002,7,17,val", "Q0000000002,7,17,train", "line 6: it is of the split 'train', .* that of val"),
    ],
)
def test_a_damaged_list(tmp_path, clip, old, new, message):
    path = tmp_path / "val.csv"
    write_csv(lay(tmp_path, clip, "val") / path.name)
    path.write_text(path.read_text().replace(old, new))
    if message is None:  # another segment of a video that is listed with one
        assert Kinetics(tmp_path, "val").missing == ["aB_cD_eF_gH_000007_000017"]
        return
    with pytest.raises(ReproError, match=message):
        Kinetics(tmp_path, "val")


@pytest.mark.parametrize("number", ["{}.0", "{}.", "{}.000", "{:06d}", " {} "])
def test_times_as_other_tools_write_them(tmp_path, clip, number):
    """Pandas writes 10.0 where a row of the column is empty; a column may be padded."""
    rows = {(video, number.format(start), number.format(end)): label for (video, start, end), label in VIDEOS.items()}
    write_csv(lay(tmp_path, clip) / "val.csv", rows)
    check(Kinetics(tmp_path, "val"))


@pytest.mark.parametrize("video", ["#REF!", "#N/A", "#DIV/0!", "1E+10", "1.23457E+10", "-1,5E+09", "'a'", ".a"])
def test_ids_that_are_none_in_any_data_set(tmp_path, clip, video):
    write_csv(lay(tmp_path, clip) / "val.csv", {(video, 0, 10): "abseiling"})
    with pytest.raises(ReproError, match=r"val\.csv, line 2: .* is no video's id"):
        lists.read_list(tmp_path, "val", LABELS)
    write_csv(tmp_path / "val.csv", {("1E10 again", 0, 10): "abseiling"})
    assert list(lists.read_list(tmp_path, "val", LABELS)[1]) == ["1E10 again_000000_000010"]


@pytest.mark.parametrize(("written", "split"), [("validate", "val"), ("Val", "val"), ("", "val"), ("train", "train")])
def test_the_split_that_rows_state(tmp_path, clip, written, split):
    path = lay(tmp_path, clip, split) / f"{split}.csv"
    write_csv(path)
    path.write_text(path.read_text().replace(",val\n", f",{written}\n"))
    assert Kinetics(tmp_path, split).ids == IDS
    path.write_text(path.read_text().replace(f",{written}\n", ",test\n"))
    with pytest.raises(ReproError, match="line 2: it is of the split 'test'"):
        Kinetics(tmp_path, split)


def test_the_columns_of_activitynets_downloader(tmp_path, clip):
    path = lay(tmp_path, clip) / "val.csv"
    write_csv(path)
    text = path.read_text()
    path.write_text(text.replace("label,youtube_id,time_start,time_end", "label-name,video-id,start-time,end-time"))
    check(Kinetics(tmp_path, "val"))


def test_a_stray_quote_swallows_no_video(tmp_path, clip):
    path = lay(tmp_path, clip) / "val.csv"
    write_csv(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], '"' + lines[2], *lines[3:-1], lines[-1] + '"']))
    with pytest.raises(ReproError, match=r"val\.csv, line 3: a quote is not closed"):
        Kinetics(tmp_path, "val")


@pytest.mark.parametrize("name", ["val.csv", "kinetics400_val_list_videos.txt"])
def test_an_empty_list(tmp_path, clip, name):
    (lay(tmp_path, clip) / name).write_text("label,youtube_id,time_start,time_end\n" if name == "val.csv" else "\n")
    with pytest.raises(ReproError, match=rf"{name} lists no video"):
        Kinetics(tmp_path, "val")


@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_names_with_accents_in_either_spelling(tmp_path, clip, written):
    """A list and the file system may spell letters with accents differently."""
    other = {"NFC": "NFD", "NFD": "NFC"}[written]
    label, video = "dégustation", "été"
    directory = tmp_path / "val" / normalize(other, label)
    directory.mkdir(parents=True)
    shutil.copy(clip, directory / f"{normalize(other, video)}.mp4")
    from_directories = Kinetics(tmp_path, "val", labels=[label, "zumba"])
    listed = f"{normalize(written, label)}/{normalize(written, video)}.mp4 0\n"
    (tmp_path / "kinetics400_val_list_videos.txt").write_text(listed)
    from_list = Kinetics(tmp_path, "val", labels=[label, "zumba"])
    assert from_list.ids == from_directories.ids == [normalize("NFC", video)]
    assert from_list.annotations_sha256 == from_directories.annotations_sha256
    assert from_list.get_path(0).exists()


LINES = ["abseiling/video.mp4", "abseiling/video.mp4 400", "abseiling/video.mp4 one", "abseiling/v.mp4 " + "9" * 5000,
         "abseiling/video.mp4 \u0660"]  # fmt: skip


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[:30])
def test_a_damaged_list_of_mmaction2(tmp_path, clip, line):
    write_text(lay(tmp_path, clip, directory=DIRECTORIES["underscores"]))
    path = tmp_path / "kinetics400_val_list_videos.txt"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ReproError, match=r"line 6: .* is not a path and the number of one of the 400 classes"):
        Kinetics(tmp_path, "val")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("abseiling/ 0", "'abseiling/' is no video"),
        ("a\\b.mp4 0", r"'\\\\' is in it"),
        ("abseiling/Q0000000003_000007_000017 300 0", "_000017 300' is no video"),  # a list of directories of frames
        ("abseiling/Q0000000003_000007_000017.mp4 300 0", r"\.mp4 300' is no video"),
        ("abseiling/._Q0000000003_000007_000017.mp4 0", "is a hidden file"),
        (".Trash/Q0000000003_000007_000017.mp4 0", "is a hidden file"),
        ("'abseiling/Q0000000003.mp4' 0", r"\.mp4'\" is no video"),
        ("abseiling/Q000_000007_000017.mp4 0", "no video's id, of 11"),
    ],
)
def test_a_list_of_mmaction2_with_odd_names(tmp_path, clip, line, message):
    write_text(lay(tmp_path, clip, directory=DIRECTORIES["underscores"]))
    path = tmp_path / "kinetics400_val_list_videos.txt"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ReproError, match=rf"line 6: .*{message}"):
        Kinetics(tmp_path, "val")


# -- samples ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path, clip) -> Kinetics:
    lay(tmp_path, clip, directory=DIRECTORIES["underscores"])
    return Kinetics(tmp_path, "val", SMALL, AUGMENTATION)


def test_an_evaluation_sample(small):
    sample = small.sample(1)
    assert sample.clips.shape == (9, 3, 4, 24, 24)
    assert (sample.video_id, sample.label) == (IDS[1], TRUTH[IDS[1]])
    with Video(small.get_path(1), "x") as video:
        assert torch.equal(sample.clips, read_evaluation_clips(video, SMALL))
    assert torch.equal(sample.clips, small.sample(1, seed=4, epoch=2).clips)


def test_a_training_sample_is_a_function_of_seed_epoch_and_index(small):
    one = small.sample(0, seed=1, epoch=2, train=True)
    assert one.clips.shape == (1, 3, 4, 16, 16)
    assert torch.equal(one.clips, small.sample(0, seed=1, epoch=2, train=True).clips)
    # The file is the same for all indices.
    others = [small.sample(*o[:1], seed=o[1], epoch=o[2], train=True).clips for o in ((0, 1, 3), (0, 2, 2), (1, 1, 2))]
    assert not any(torch.equal(one.clips, other) for other in others)


def test_the_paper_s_views(tmp_path, clip):
    data = Kinetics(lay(tmp_path, clip, directory=DIRECTORIES["spaces"]), "val")
    assert data.preprocessing == CLIPS_TRAINED_HERE
    assert data.sample(0).clips.shape == (30, 3, 8, 256, 256)
    assert data.sample(0, train=True).clips.shape == (1, 3, 8, 224, 224)


@pytest.mark.parametrize("content", [b"", b"no video at all", None])
def test_damaged_videos_are_named(small, content):
    path = small.get_path(2)
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    for read in (lambda: small.sample(2), lambda: small.sample(2, train=True), lambda: small.check(2)):
        with pytest.raises(UnreadableVideo, match=f"{IDS[2]}.*{path.name}") as raised:
            read()
        assert raised.value.video_id == IDS[2]
    small.check(1)


def test_a_video_that_is_gone(small):
    small.get_path(0).unlink()
    with pytest.raises(UnreadableVideo, match="does not exist"):
        small.sample(0)


# -- repro data verify ------------------------------------------------------------------------------------------------


def verified(*arguments, expect=1):
    result = CliRunner().invoke(app, ["verify", "kinetics", *map(str, arguments)])
    assert result.exit_code == expect, (result.output, result.exception)
    return result.stdout


def test_verification_names_what_is_wrong(tmp_path, clip):
    lay(tmp_path, clip, "val", DIRECTORIES["underscores"], skip=("zz-9_123_45",))
    abseiling, skiing = tmp_path / "val" / "abseiling", tmp_path / "val" / "skiing_crosscountry"
    (abseiling / "Q0000000001_000007_000017.mp4").write_bytes(b"")
    shutil.move(abseiling / "Q0000000002_000007_000017.mp4", skiing)
    shutil.copy(clip, skiing / "stray.mp4")
    write_csv(tmp_path / "annotations" / "val.csv")
    (report,) = json.loads(verified("--root", tmp_path, "--split", "val", "--decode", "--json"))
    assert report["missing"] == ["zz-9_123_45_000120_000130"]
    assert report["unreadable"] == ["Q0000000001_000007_000017"]
    assert (report["images"], report["required"], report["classes"]) == (4, 19906, 3)
    text = verified("--root", tmp_path, "--split", "val", "--decode")
    for said in (
        "4 of 19906 videos, 3 classes",
        "videos all decoded",
        "val.csv has 5 videos, the official list 19906",
        "397 (air drumming, answering questions, applauding, ...) of 400 classes without a video",
        "1 (Q0000000002_000007_000017) in the directory of a class that the list does not give them",
        "files that the list does not have: 1 (skiing_crosscountry/stray.mp4)",
        "missing: 1 (zz-9_123_45_000120_000130)",
        "unreadable: 1 (Q0000000001_000007_000017)",
    ):
        assert said in text, said


def test_without_a_list_it_cannot_be_verified(tmp_path, clip):
    text = verified("--root", lay(tmp_path, clip, "val", DIRECTORIES["spaces"]), "--split", "val")
    assert "there is no list of the split" in text
    assert "no Kinetics videos" in verified("--root", tmp_path, "--split", "train")


def test_the_whole_split_is_verified(tmp_path, clip, monkeypatch):
    """With the official number set to 400, one of each class."""
    from repro.data import kinetics_verification

    for one in (module.OFFICIAL, kinetics_verification.OFFICIAL):
        monkeypatch.setitem(one, "val", 400)
    rows = {(f"V{number:010d}", 0, 10): label for number, label in enumerate(LABELS)}
    write_csv(tmp_path / "annotations" / "val.csv", rows)
    (tmp_path / "val").mkdir()
    for video, start, end in rows:
        (tmp_path / "val" / f"{video}_{start:06d}_{end:06d}.mp4").hardlink_to(clip)
    text = verified("--root", tmp_path, "--split", "val", "--decode", expect=0)
    assert "val: verified" in text
    assert "400 of 400 videos, 400 classes" in text

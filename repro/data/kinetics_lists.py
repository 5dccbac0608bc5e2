"""Lists of the videos of a split of Kinetics with their classes, and the names of their files.

Imports no torch.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from repro.errors import ReproError

#: {video id: number of the class}.
Listed = dict[str, int]

SOURCE = (
    "cvdfoundation/kinetics-dataset says where the archives and lists are (s3.amazonaws.com/kinetics/400: train, val, "
    "annotations)"
)

_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi")
_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
#: Names that the official list of a split has had; the second is that of the authors' own archive, kinetics400.tar.gz.
_CSV = {"train": ("train.csv", "kinetics_train.csv"), "val": ("val.csv", "validate.csv", "kinetics_val.csv")}
_TEXT = "kinetics400_{}_list_videos.txt"
_SECONDS = re.compile(r"_\d{6}_\d{6}$")


def find_directory(root: Path, split: str) -> Path:
    """Find the directory of a split's videos.

    Raises:
        ReproError: there is none; says where to get it.
    """
    places = [root / f"videos_{split}", root / split]
    for place in places:
        if place.is_dir():
            return place
    raise ReproError(
        f"no Kinetics videos: neither {places[0]}/ nor {places[1]}/ is there. {SOURCE}. Name another directory with "
        "--data-root or REPRO_DATA."
    )


def list_files(place: Path) -> list[str]:
    """List the video files in `place` and in its directories: relative paths, ascending. Hidden files are none."""
    paths = []
    for entry in os.scandir(place):
        names = [f"{entry.name}/{name}" for name in os.listdir(entry)] if entry.is_dir() else [entry.name]
        paths += [name for name in names if name.lower().endswith(_SUFFIXES) and not is_hidden(name)]
    return sorted(paths)


def is_hidden(path: str) -> bool:
    """Whether a file or one of its directories is hidden, as what systems add to others' files: `._x.mp4` of macOS."""
    return any(part.startswith(".") and part not in (".", "..") for part in path.split("/"))


def read_list(root: Path, split: str, classes: Sequence[str]) -> tuple[Path | None, Listed]:
    """Read the list of a split, the official CSV or mmaction2's text file, in `root` or its annotations/: (path, rows).

    Raises:
        ReproError: it is damaged, or has a class that is not in `classes`.
    """
    for names, read in ((_CSV[split], _read_csv), ((_TEXT.format(split),), _read_text)):
        for path in (place / name for name in names for place in (root / "annotations", root)):
            if path.is_file():
                return path, read(path, tuple(classes))
    return None, {}


def label_by_directories(paths: Iterable[str], place: Path, classes: Sequence[str]) -> Listed:
    """Label files by the directories that they are in.

    Raises:
        ReproError: a file is in no directory, or in one that is not named after a class; a video is there twice.
    """
    path_of_id: dict[str, str] = {}
    rows = {}
    for path in paths:
        name, stem = os.path.dirname(path), _remove_suffix(path)
        if not name:
            raise ReproError(
                f"{place}: {path} is in no directory of a class, and there is no list that tells what it shows. Put "
                f"the official {place.name.removeprefix('videos_')}.csv in {place.parent / 'annotations'}. {SOURCE}."
            )
        number = find_class(name, classes)
        if number is None:
            raise ReproError(f"{place}: {name} is none of the {len(classes)} classes: this is another data set")
        _add_once(path_of_id, stem, path, place)
        rows[stem] = number
    return rows


def match_files(paths: Iterable[str], rows: Listed, place: Path) -> dict[str, str]:
    """Match files with the list: {id: file}. A file is named by its id, or by the YouTube id alone.

    Raises:
        ReproError: a video is there twice.
    """
    videos: dict[str, list[str]] = {}
    for video_id in rows:
        videos.setdefault(_SECONDS.sub("", video_id), []).append(video_id)
    path_of_id: dict[str, str] = {}
    for path in paths:
        stem = _remove_suffix(path)
        segments = [stem] if stem in rows else videos.get(stem, [])
        if len(segments) == 1:  # with several segments of a video, the file could be any of them
            _add_once(path_of_id, segments[0], path, place)
    return path_of_id


def find_class(name: str, classes: Sequence[str]) -> int | None:
    """Find the number of a class by its name in a directory or a list, with or without punctuation and underscores."""
    return _number_classes(tuple(classes)).get(_simplify_name(name))


@lru_cache(maxsize=4)
def _number_classes(classes: tuple[str, ...]) -> dict[str, int]:
    numbers = {_simplify_name(name): number for number, name in enumerate(classes)}
    if len(numbers) < len(classes):
        raise ReproError("two classes have the same name but for punctuation and underscores")
    return numbers


def _simplify_name(name: str) -> str:
    """A class's name without what tools and file systems change in it: punctuation, underscores, case."""
    return " ".join(re.sub(r"[^\w ]", "", name).replace("_", " ").split()).casefold()


def _remove_suffix(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _add_once(path_of_id: dict[str, str], video_id: str, path: str, place: Path) -> None:
    if video_id in path_of_id:
        raise ReproError(f"{place}: {path_of_id[video_id]} and {path} are the same video, {video_id}. Delete one.")
    path_of_id[video_id] = path


def _read_csv(path: Path, classes: tuple[str, ...]) -> Listed:
    rows: Listed = {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.DictReader(file)
        absent = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if absent:
            raise ReproError(f"{path} is no list of Kinetics videos: it has no column {', '.join(absent)}")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            number = find_class(row["label"] or "", classes)
            if number is None:
                raise ReproError(f"{where}: {row['label']!r} is none of the {len(classes)} classes")
            try:
                seconds = [int(row[name]) for name in ("time_start", "time_end")]
            except (TypeError, ValueError):
                raise ReproError(f"{where}: no time segment; is the file cut short? Download it again.") from None
            _add_listed(rows, f"{row['youtube_id']}_{seconds[0]:06d}_{seconds[1]:06d}", number, where)
    return rows


def _read_text(path: Path, classes: tuple[str, ...]) -> Listed:
    """Read mmaction2's list, with a line "<class directory>/<file> <number of the class>" for each video."""
    rows: Listed = {}
    for line, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        where = f"{path}, line {line}"
        name, _, number = text.rpartition(" ")
        if not name or not number.isdecimal() or int(number) >= len(classes):
            raise ReproError(f"{where}: {text!r} is not a path and the number of one of the {len(classes)} classes")
        stated = os.path.basename(os.path.dirname(name))
        if stated and find_class(stated, classes) != int(number):
            raise ReproError(
                f"{where}: {stated} has the number {number}, but class {number} is {classes[int(number)]!r}: the list "
                "was numbered in another order. Delete it, and the directories tell the classes."
            )
        _add_listed(rows, _remove_suffix(name), int(number), where)
    return rows


def _add_listed(rows: Listed, video_id: str, number: int, where: str) -> None:
    if rows.setdefault(video_id, number) != number:
        raise ReproError(f"{where}: {video_id} is listed before, with another class")

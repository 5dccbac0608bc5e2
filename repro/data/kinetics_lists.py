"""Lists of the videos of a split of Kinetics with their classes, and the names of their files.

Imports no torch.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from repro.data.leftovers import is_hidden, leave_out_leftovers
from repro.errors import ReproError
from repro.files.csv_files import iterate_rows
from repro.files.places import is_directory, is_there
from repro.files.text_files import read_text, split_lines

#: {video id: number of the class}.
Listed = dict[str, int]

SOURCE = (
    "cvdfoundation/kinetics-dataset says where the archives and lists are (s3.amazonaws.com/kinetics/400: train, val, "
    "annotations)"
)

_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi")
#: The official lists' columns, and the names that ActivityNet's downloader of Kinetics gives them.
_COLUMNS = {
    "label": ("label", "label-name"),
    "youtube_id": ("youtube_id", "video-id"),
    "time_start": ("time_start", "start-time"),
    "time_end": ("time_end", "end-time"),
}
#: What the official lists, and copies of them, have in the column "split", if they have it.
_SPLITS = {"train": ("train", "training"), "val": ("val", "validate", "validation")}
_LIMIT = 1 << 28  # bytes of a list; the official ones have some 10 MB
#: Names that the official list of a split has had; the second is that of the authors' own archive, kinetics400.tar.gz.
_CSV = {"train": ("train.csv", "kinetics_train.csv"), "val": ("val.csv", "validate.csv", "kinetics_val.csv")}
_TEXT = "kinetics400_{}_list_videos.txt"
_SECONDS = re.compile(r"_\d{6}_\d{6}$")
_TIME = re.compile(r"([0-9]{1,6})(?:\.0*)?")
_NUMBER = re.compile(r"[0-9]{1,6}")
_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
#: What a spreadsheet makes of a text that begins with - or =, and of one that looks like a number.
_BY_SPREADSHEETS = re.compile(r"#\S*[?!]|#N/A|Err:[0-9]+|[+-]?[0-9]+(?:[.,][0-9]*)?E[+-]?[0-9]+", re.IGNORECASE)
_QUOTES = "'\"`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a"


def find_directory(root: Path, split: str) -> Path:
    """Find the directory of a split's videos.

    Raises:
        ReproError: there is none; says where to get it.
    """
    places = [root / f"videos_{split}", root / split]
    for place in places:
        if is_directory(place):
            return place
    raise ReproError(
        f"no Kinetics videos: neither {places[0]}/ nor {places[1]}/ is there. {SOURCE}. Name another directory with "
        "--data-root or REPRO_DATA."
    )


def list_files(place: Path) -> list[str]:
    """List the video files in `place` and in its directories: relative paths, ascending.

    Hidden files are none, nor what downloads did not finish.

    Raises:
        ReproError: one of the directories cannot be listed.
    """
    paths = []
    try:
        for entry in os.scandir(place):
            names = [f"{entry.name}/{name}" for name in os.listdir(entry)] if entry.is_dir() else [entry.name]
            paths += [name for name in names if not is_hidden(name)]
    except OSError as error:
        raise ReproError(f"{error.filename} cannot be listed: {error.strerror}") from None
    return [path for path in leave_out_leftovers(paths, place) if path.lower().endswith(_SUFFIXES)]


def read_list(
    root: Path, split: str, classes: Sequence[str], *, of_youtube: bool = False
) -> tuple[Path | None, Listed]:
    """Read the list of a split, the official CSV or mmaction2's text file, in `root` or its annotations/: (path, rows).

    Args:
        of_youtube: whether its videos have the ids of YouTube, as those of Kinetics.

    Raises:
        ReproError: it is damaged or empty, is of another split, or has a class that is not in `classes`, or an id that
            is none; file and line are named.
    """
    for names, read in ((_CSV[split], _read_csv), ((_TEXT.format(split),), _read_text)):
        for path in (place / name for name in names for place in (root / "annotations", root)):
            if is_there(path):
                rows = read(path, split, tuple(classes), of_youtube)
                if not rows:
                    raise ReproError(f"{path} lists no video: is it cut short? Download it again. {SOURCE}.")
                return path, rows
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
    name = unicodedata.normalize("NFC", name)  # or its accents would count as punctuation
    return " ".join(re.sub(r"[^\w ]", "", name).replace("_", " ").split()).casefold()


def _remove_suffix(path: str) -> str:
    """The name of a file without directory and suffix, in the normal form in which names are compared."""
    return unicodedata.normalize("NFC", os.path.splitext(os.path.basename(path))[0])


def _add_once(path_of_id: dict[str, str], video_id: str, path: str, place: Path) -> None:
    if video_id in path_of_id:
        raise ReproError(f"{place}: {path_of_id[video_id]} and {path} are the same video, {video_id}. Delete one.")
    path_of_id[video_id] = path


def _read_csv(path: Path, split: str, classes: tuple[str, ...], of_youtube: bool) -> Listed:
    rows: Listed = {}
    for line, row in iterate_rows(path, _LIMIT, _COLUMNS, {"split": ("split",)}):
        where = f"{path}, line {line}"
        number = find_class(row["label"], classes)
        if number is None:
            raise ReproError(f"{where}: {row['label'][:60]!r} is none of the {len(classes)} classes")
        video_id = _check_id(row["youtube_id"], where, of_youtube)
        if (stated := row.get("split", "")) and stated.casefold() not in _SPLITS[split]:
            raise ReproError(f"{where}: it is of the split {stated[:40]!r}, and the list is taken for that of {split}")
        start, end = (_read_seconds(row[name], name, where) for name in ("time_start", "time_end"))
        if end <= start:
            raise ReproError(f"{where}: the segment ends at {end} s, and begins at {start} s: is the file cut short?")
        _add_listed(rows, f"{video_id}_{start:06d}_{end:06d}", number, where)
    return rows


def _read_seconds(text: str, name: str, where: str) -> int:
    """Whole seconds, which pandas writes as 10.0 when a row of the column is empty."""
    match = _TIME.fullmatch(text)
    if not match:
        raise ReproError(
            f"{where}: {name} is {text[:40]!r}, no number of whole seconds; is the file cut short? Download it again."
        )
    return int(match[1])


def _read_text(path: Path, split: str, classes: tuple[str, ...], of_youtube: bool) -> Listed:
    """Read mmaction2's list, with a line "<class directory>/<file> <number of the class>" for each video."""
    rows: Listed = {}
    for line, text in enumerate(split_lines(read_text(path, _LIMIT)), 1):
        if not text.strip():
            continue
        where = f"{path}, line {line}"
        name, _, number = text.strip().rpartition(" ")
        if not name or not _NUMBER.fullmatch(number) or int(number) >= len(classes):
            raise ReproError(
                f"{where}: {text[:80]!r} is not a path and the number of one of the {len(classes)} classes"
            )
        if not name.lower().endswith(_SUFFIXES) or is_hidden(name):
            what = "a hidden file" if is_hidden(name) else f"no video: their names end in {', '.join(_SUFFIXES)}"
            raise ReproError(f"{where}: {name[:80]!r} is {what}. On each line stand the path of a video and a number.")
        stated = os.path.basename(os.path.dirname(name))
        if stated and find_class(stated, classes) != int(number):
            raise ReproError(
                f"{where}: {stated[:60]} has the number {number}, but class {number} is {classes[int(number)]!r}: the "
                "list was numbered in another order. Delete it, and the directories tell the classes."
            )
        _add_listed(rows, _check_id(_remove_suffix(name), where, of_youtube), int(number), where)
    return rows


def _check_id(video_id: str, where: str, of_youtube: bool) -> str:
    """A video's id, in the normal form in which the names of files are compared."""
    odd = next((character for character in video_id if not character.isprintable() or character in '/\\"'), None)
    if not video_id:
        raise ReproError(f"{where}: the video's id is empty")
    if odd:
        raise ReproError(f"{where}: {video_id[:60]!r} is no video's id: {odd!r} is in it (U+{ord(odd):04X})")
    if video_id[0] in _QUOTES or video_id[-1] in _QUOTES:
        raise ReproError(f"{where}: {video_id[:60]!r} is no video's id: a quote is part of it. Take the quotes away.")
    if video_id.startswith("."):
        raise ReproError(f"{where}: {video_id[:60]!r} is no video's id: hidden files are no videos")
    if _BY_SPREADSHEETS.fullmatch(video_id) or (of_youtube and not _YOUTUBE_ID.fullmatch(_SECONDS.sub("", video_id))):
        raise ReproError(
            f"{where}: {video_id[:60]!r} is no video's id{', of 11 letters, digits, - and _' if of_youtube else ''}. "
            "Spreadsheets change ids that begin with - or =, or look like numbers: get the list again."
        )
    return unicodedata.normalize("NFC", video_id)


def _add_listed(rows: Listed, video_id: str, number: int, where: str) -> None:
    if rows.setdefault(video_id, number) != number:
        raise ReproError(f"{where}: {video_id} is listed before, with another class")

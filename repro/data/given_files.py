"""Photographs and videos that a user names: files, and what lies in directories."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from repro.data.leftovers import leave_out_leftovers
from repro.data.pictures import DATA_SET_FORMATS
from repro.errors import ReproError
from repro.files.regular_files import describe_unreadable

PHOTOGRAPHS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
#: Pillow's names of what is tried for a photograph, whatever its file is called.
PHOTOGRAPH_FORMATS = (*DATA_SET_FORMATS, "BMP", "WEBP")
VIDEOS = (".mp4", ".mkv", ".webm", ".avi")


def holds_videos(paths: Sequence[Path], option: str = "") -> bool:
    """Whether files and directories hold videos. Files of neither kind are taken for photographs.

    Args:
        option: what they were named with, as messages begin: "--images: ".

    Raises:
        ReproError: they hold both kinds.
    """
    files = [file for path in paths for file in _list_place(path, option)]
    kinds = [[file for file in files if file.suffix.lower() in suffixes] for suffixes in (PHOTOGRAPHS, VIDEOS)]
    if all(kinds):
        raise ReproError(f"{option}{kinds[0][0]} is a photograph and {kinds[1][0]} a video: show one kind at a time")
    return bool(kinds[1])


def list_files(paths: Sequence[Path], suffixes: tuple[str, ...], option: str = "") -> list[Path]:
    """List files, and those files of directories that have one of `suffixes`, in the order of their names.

    Args:
        suffixes: `PHOTOGRAPHS` or `VIDEOS`.
        option: as of `holds_videos`.

    Raises:
        ReproError: a directory has none, a path cannot be read, or two files have one name.
    """
    listed = []
    for path in paths:
        files = _list_place(path, option)
        if files != [path]:
            names = leave_out_leftovers((file.name for file in files), path)
            files = [path / name for name in names if (path / name).suffix.lower() in suffixes]
        if not files:
            what = "videos" if suffixes == VIDEOS else "images"
            raise ReproError(f"{option}{path} has no {what}, that is, no files named {', '.join(suffixes)}")
        listed += files
    names = [path.name for path in listed]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        where = " and ".join(str(path) for path in listed if path.name == repeated)
        raise ReproError(f"two files have the same name, by which results are kept: {where}. Rename one.")
    return listed


def _list_place(path: Path, option: str) -> list[Path]:
    """The files of a directory in the order of their names, without hidden ones; or the path itself, if it is none."""
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            return [path]
        return sorted(file for file in path.iterdir() if not file.name.startswith("."))
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise describe_unreadable(path, error, option.strip()) from None

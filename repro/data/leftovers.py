"""What lies among the files of a data set and is no item: hidden files, and what downloads did not finish.

Where a list or annotations tell the items, such files are in none. Without one, each would count as an item.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable
from pathlib import Path

from repro.files.notices import tell

#: yt-dlp's streams before they are joined (`.f137`, `.f251-drc`, `.fhls-1080`), and what it and ffmpeg are writing.
_UNFINISHED = re.compile(
    r"\.(?:f(?:[0-9]+|hls|dash|https?)(?:-[\w-]+)?|temp|tmp|part|partial|incomplete|uncut)", re.IGNORECASE
)
#: What lies beside a file that is being written: of yt-dlp and Firefox, aria2, Chrome, Safari, WinSCP, Opera.
_BESIDE = (".part", ".ytdl", ".aria2", ".crdownload", ".download", ".filepart", ".opdownload")


def leave_out_leftovers(paths: Iterable[str], place: Path) -> list[str]:
    """List the files of a data set in ascending order, and tell which ones are left out: what downloads did not finish.

    Args:
        paths: of all files below `place`, whatever their suffix.
    """
    there = set(paths)
    leftovers = find_leftovers(there)
    if leftovers:
        few = f"{', '.join(sorted(leftovers)[:3])}{', ...' if len(leftovers) > 3 else ''}"
        tell(f"{place}: left out is what downloads did not finish, {len(leftovers)} of {len(there)} files: {few}")
    return sorted(there - leftovers)


def is_hidden(path: str) -> bool:
    """Whether a file or one of its directories is hidden, as what systems add to others' files: `._x.mp4` of macOS."""
    return any(part.startswith(".") and part not in (".", "..") for part in path.split("/"))


def find_leftovers(paths: Iterable[str]) -> set[str]:
    """Find the files that a download has not finished, by their names and by what lies beside them.

    >>> sorted(find_leftovers(["a.mp4", "a.f137.mp4", "a.temp.mp4", "b.mp4", "b.mp4.aria2"]))
    ['a.f137.mp4', 'a.temp.mp4', 'b.mp4']

    Args:
        paths: of all files, whatever their suffix.
    """
    there = set(paths)
    return {
        path
        for path in there
        if _UNFINISHED.fullmatch(os.path.splitext(os.path.splitext(path)[0])[1])
        or any(path + suffix in there for suffix in _BESIDE)
    }

"""Sizes of the index of an MP4 file: FFmpeg expands it in memory when the file is opened, whatever it claims."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

#: Boxes that hold boxes, on the way to those that are read here (ISO 14496-12).
_HOLDERS = {b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"udta"}
_MOST_BOXES = 100_000
_MOST_DEPTH = 10


@dataclass
class _Track:
    """What the boxes of a track state."""

    sound: bool = False
    samples: int = 0
    edits: int = 1
    steps: int = 0  #: of samples of constant duration
    step: int = 0  #: duration of the first

    def count_entries(self) -> int:
        """The entries of FFmpeg's index. Sound of one tick a sample has one for each chunk only."""
        return 0 if self.sound and (self.steps, self.step) == (1, 1) else self.samples * self.edits


def exceeds_file(file: int, size: int) -> bool:
    """Whether a file states more samples than it has bytes, or more when they are repeated as its edit list says.

    Args:
        file: its descriptor.
        size: how many bytes it has.
    """
    tracks = [_Track()]
    for name, place, length in list_boxes(file, 0, size):
        if name == b"trak":
            tracks.append(_Track())
        track, head = tracks[-1], os.pread(file, 16, place) if length >= 8 else b""
        numbers = [int.from_bytes(head[i : i + 4], "big") for i in range(0, 16, 4)]
        if name == b"hdlr" and head[8:12] in (b"soun", b"vide"):  # QuickTime's others tell where the data are
            track.sound = head[8:12] == b"soun"
        elif name == b"stsz":
            track.samples += numbers[2]
        elif name == b"stts":
            track.steps, track.step = numbers[1], numbers[3]
        elif name == b"elst":
            track.edits = max(1, numbers[1])
        elif name == b"trun":
            tracks[0].samples += numbers[1]
    return any(track.count_entries() > size for track in tracks)


def list_outer_boxes(file: int, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """List the boxes of a part of a file, not those in others: (name, place and length of its content)."""
    return list_boxes(file, begin, end, _MOST_DEPTH)


def list_boxes(file: int, begin: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """List the boxes of a file, also those in others: (name, place and length of its content)."""
    for _ in range(_MOST_BOXES):
        head = os.pread(file, 16, begin)
        length, start = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, start = int.from_bytes(head[8:], "big"), 16
        length = min(length or end, end - begin)
        if len(head) < 8 or length < start:
            return
        yield head[4:8], begin + start, length - start
        if head[4:8] in _HOLDERS and depth < _MOST_DEPTH:
            yield from list_boxes(file, begin + start, begin + length, depth + 1)
        begin += length

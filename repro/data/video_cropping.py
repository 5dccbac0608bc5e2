"""Which part of a video's pictures is to be shown, where its container says so: FFmpeg's decoder does not know it.

The parts are numbers of pixels to leave out on the left, on the right, at the top and at the bottom.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from repro.data.mp4_index import list_boxes
from repro.data.video_containers import read_element

Cropping = tuple[int, int, int, int]

#: Bytes of a box `stsd` before its first entry; of that before its width and height, and before its boxes (ISO
#: 14496-12, 8.5.2, 12.1.3).
_BEFORE_ENTRY, _BEFORE_SIZES, _BEFORE_BOXES = 8, 32, 86
#: Ids of elements on the way to a video track's (RFC 9559, 5.1.4), and of how many pixels it leaves out.
_SEGMENT, _TRACKS, _TRACK, _VIDEO, _KIND = b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae", b"\xe0", b"\x83"
_LEFT, _RIGHT, _TOP, _BOTTOM = b"\x54\xcc", b"\x54\xdd", b"\x54\xbb", b"\x54\xaa"
_PICTURES = 1  # the kind of a track
_MOST_ELEMENTS = 10_000


def read_mp4_cropping(file: int, size: int, track: int) -> Cropping:
    """Read the clean aperture of a track of an MP4 file (ISO 14496-12, 12.1.4): what is left out of its pictures.

    Args:
        file: its descriptor.
        size: how many bytes it has.
        track: the number that the file gives to the track.

    Raises:
        ValueError: the part is no part of the pictures, or does not begin and end between pixels.
    """
    number = -1
    for name, place, length in list_boxes(file, 0, size):
        if name == b"tkhd":
            head = os.pread(file, 24, place)
            start = 20 if head[:1] == b"\1" else 12
            number = int.from_bytes(head[start : start + 4], "big")
        elif name == b"stsd" and number == track:
            begin = place + _BEFORE_ENTRY
            entry = int.from_bytes(os.pread(file, 4, begin), "big")
            sizes = os.pread(file, 4, begin + _BEFORE_SIZES)
            for inner, at, extent in list_boxes(file, begin + _BEFORE_BOXES, min(begin + entry, place + length)):
                if inner == b"clap" and extent >= 32:
                    return _compute_cropping(struct.unpack(">8i", os.pread(file, 32, at)), *struct.unpack(">HH", sizes))
    return 0, 0, 0, 0


def _compute_cropping(aperture: tuple[int, ...], width: int, height: int) -> Cropping:
    """Width, height, and by how much the centre is moved to the right and down, each as two numbers of a fraction."""
    refusal = ValueError(f"a part of its pictures is to be shown that is none: {aperture} of {width} x {height}")
    if min(aperture[1::2]) <= 0:
        raise refusal
    sizes = Fraction(*aperture[:2]), Fraction(*aperture[2:4])
    moves = Fraction(*aperture[4:6]), Fraction(*aperture[6:])
    edges: list[int] = []
    for whole, part, move in zip((width, height), sizes, moves, strict=True):
        begin = (whole - part) / 2 + move
        end = whole - part - begin
        if part <= 0 or begin < 0 or end < 0 or begin.denominator != 1 or end.denominator != 1:
            raise refusal
        edges += [int(begin), int(end)]
    left, right, top, bottom = edges
    return left, right, top, bottom


def read_matroska_cropping(file: int, size: int) -> Cropping:
    """Read what is left out of the pictures of a Matroska file's first video track (RFC 9559, 5.1.4.1.28.8).

    Args:
        file: its descriptor.
        size: how many bytes it has.
    """
    for _, begin, end in _list_elements(file, 0, size, _SEGMENT):
        for _, first, last in _list_elements(file, begin, end, _TRACKS):
            for _, start, stop in _list_elements(file, first, last, _TRACK):
                inner = {name: (at, to) for name, at, to in _list_elements(file, start, stop)}
                if _VIDEO in inner and _read_number(file, *inner.get(_KIND, (0, 0))) == _PICTURES:
                    stated = {name: (at, to) for name, at, to in _list_elements(file, *inner[_VIDEO])}
                    left, right, top, bottom = (
                        _read_number(file, *stated.get(name, (0, 0))) for name in (_LEFT, _RIGHT, _TOP, _BOTTOM)
                    )
                    return left, right, top, bottom
    return 0, 0, 0, 0


def crop(pixels: np.ndarray, cropping: Cropping, coded: av.VideoFormat) -> np.ndarray:
    """Show a part of a picture (H, W, 3), as the command `ffmpeg` does: a view of `pixels`.

    Where several pixels share a colour, the part begins and has a size in multiples of these.

    Args:
        pixels: the picture as it is stored.
        cropping: what is left out.
        coded: how the decoder returned it.

    Raises:
        ValueError: nothing is left.
    """
    left, right, top, bottom = cropping
    height, width = pixels.shape[:2]
    across, down = 8 // coded.chroma_width(8), 8 // coded.chroma_height(8)
    columns, rows = (width - left - right) // across * across, (height - top - bottom) // down * down
    if columns <= 0 or rows <= 0:
        raise ValueError(f"of its pictures of {width} x {height} pixels nothing is to be shown")
    left, top = left // across * across, top // down * down
    return pixels[top : top + rows, left : left + columns]


def _read_number(file: int, begin: int, end: int) -> int:
    return int.from_bytes(os.pread(file, min(8, max(0, end - begin)), begin), "big")


def _list_elements(file: int, begin: int, end: int, wanted: bytes | None = None) -> Iterator[tuple[bytes, int, int]]:
    """List the elements of a part of a file, all or those of one id: (id, begin and end of the content)."""
    for _ in range(_MOST_ELEMENTS):
        if begin >= end:
            return
        element = read_element(os.pread(file, 12, begin), begin)
        if element is None:
            return
        name, start, stop = element
        stop = end if stop is None else min(stop, end)
        if wanted in (None, name):
            yield name, start, stop
        begin = stop

"""Which video files can be told from such that were cut: those in which something states where they end.

MP4, Matroska and AVI files do, as programs write them that can go back in a file. What was written into a pipe, and
other containers, do not: a part of such a file is another such file, and would be read as a shorter video.
"""

from __future__ import annotations

import os
import struct

from repro.data.mp4_index import list_outer_boxes
from repro.data.video_containers import (
    OUTERMOST_BOXES,
    has_riff_length_or_index,
    is_matroska,
    is_riff,
    read_claimed_bytes,
)

#: Of containers that are named where they are refused, how they begin.
_OTHERS = {
    b"FLV": "an FLV file",
    b"\x00\x00\x01\xba": "an MPEG program stream",
    b"OggS": "an Ogg file",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "an ASF file (WMV)",
}
_TRANSPORT_PACKETS = {188: 0, 192: 4}  #: bytes of an MPEG-TS packet, and where in it the mark is
_TRANSPORT_MARK = 0x47


def name_other_container(start: bytes) -> str | None:
    """Name the container of a file that begins so, if it is a video's and none that is read.

    Args:
        start: 1 KiB, or all of a smaller file.
    """
    for mark, name in _OTHERS.items():
        if start.startswith(mark):
            return name
    for length, place in _TRANSPORT_PACKETS.items():
        marks = [start[at] for at in range(place, len(start), length)]
        if len(marks) > 2 and set(marks) == {_TRANSPORT_MARK}:
            return "an MPEG transport stream"
    return None


def states_end(file: int, size: int) -> bool:
    """Whether an MP4, Matroska or AVI file states where it ends, other than by a duration.

    Args:
        file: its descriptor.
        size: how many bytes it has.
    """
    start = os.pread(file, 48, 0)
    if is_matroska(start):
        return read_claimed_bytes(file, size) is not None
    if is_riff(start):
        return has_riff_length_or_index(start)
    return _ends_fragments(file, size)


def read_indexed_bytes(file: int, size: int) -> int:
    """Read how many bytes an MP4 file has by an index of all of its fragments (`sidx`); 0 where there is none.

    Args:
        file: its descriptor.
        size: how many bytes it has.
    """
    if os.pread(file, 8, 0)[4:] not in OUTERMOST_BOXES:
        return 0
    for name, place, length in list_outer_boxes(file, 0, size):
        if name == b"moof":
            break
        if name == b"sidx" and (covered := _read_index(os.pread(file, min(length, 1 << 20), place))) is not None:
            return place + length + covered
    return 0


def _ends_fragments(file: int, size: int) -> bool:
    """Whether an MP4 file has no fragments, an index of them before the first, or the table that follows the last."""
    fragmented = ended = False
    for name, place, length in list_outer_boxes(file, 0, size):
        if name == b"moov":  # which may announce fragments, of which none is there
            fragmented |= any(inner == b"mvex" for inner, _, _ in list_outer_boxes(file, place, place + length))
        elif name == b"moof":
            fragmented, ended = True, False
        elif name == b"mfra":
            ended = True
    return not fragmented or ended or read_indexed_bytes(file, size) > 0


def _read_index(box: bytes) -> int | None:
    """How many bytes behind it an index covers (ISO 14496-12, 8.16.3); None: of one fragment, the next, alone."""
    wide = box[:1] == b"\x01"
    try:
        begin = struct.unpack_from(">Q" if wide else ">I", box, 20 if wide else 16)[0]
        at = 28 if wide else 20
        (count,) = struct.unpack_from(">H", box, at + 2)
        sizes = [struct.unpack_from(">I", box, at + 4 + 12 * number)[0] & 0x7FFFFFFF for number in range(count)]
    except struct.error:
        return None
    return begin + sum(sizes) if count > 1 else None

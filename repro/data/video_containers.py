"""Statements of video containers that the demuxer does not check: how much there is, where decoding can start."""

from __future__ import annotations

from pathlib import Path

import av

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # element ids (RFC 8794, RFC 9559)
#: Boxes that stand outermost in MP4 and QuickTime files (ISO 14496-12). Anything else is no part of the file.
_BOXES = {
    b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"meta", b"udta", b"pnot", b"styp", b"sidx", b"moof",
    b"mfra", b"emsg", b"prft", b"ssix", b"pdin",
}  # fmt: skip


def read_claimed_frames(stream: av.VideoStream) -> int:
    """Read how many pictures an AVI file should hold; 0: unknown. MP4 files may hold more, left out by an edit list."""
    return stream.frames if stream.container.format.name == "avi" else 0


def read_claimed_seconds(stream: av.VideoStream) -> float | None:
    """Read when a stream should end, by Matroska's tag or the header of a fragmented MP4 file."""
    if "DURATION" in stream.metadata:
        try:
            hours, minutes, seconds = stream.metadata["DURATION"].split(":")
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        except ValueError:
            return None
    if stream.duration is None or stream.time_base is None:
        return None
    if stream.frames or not stream.container.format.name.startswith("mov"):
        return None
    return float(stream.duration * stream.time_base)


def read_claimed_bytes(path: Path) -> int | None:
    """Read how many bytes an MP4 or Matroska file should have by the lengths of its outermost parts; None: unknown."""
    with path.open("rb") as file:
        start = file.read(4096)
        if start.startswith(_EBML):
            return _find_segment_end(start)
        if start[4:8] not in _BOXES:
            return None
        # Follow the boxes, wherever the last one ends. A box states its length before its name.
        end = 0
        while True:
            file.seek(end)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:], "big")
            if head[4:8] not in _BOXES or length < 8:  # the end of the file, or a box that reaches to it
                return end
            end += length


def _find_segment_end(start: bytes) -> int | None:
    header = _find_element_end(start, len(_EBML))
    if header is None or not start.startswith(_SEGMENT, header):
        return None
    return _find_element_end(start, header + len(_SEGMENT))


def _find_element_end(content: bytes, position: int) -> int | None:
    """The end of the EBML element whose length stands at `position`; None: unknown."""
    first = content[position]
    width = 9 - first.bit_length()  # leading zeros tell how many bytes the number has
    length = int.from_bytes(content[position : position + width], "big") & ((1 << 7 * width) - 1)
    return None if first == 0 or length == (1 << 7 * width) - 1 else position + width + length


def read_length_size(extradata: bytes | None) -> int:
    """Read how many bytes the length before each unit of an H.264 packet has (ISO 14496-15); 0: there is no length."""
    return (extradata[4] & 3) + 1 if extradata and len(extradata) > 4 and extradata[0] == 1 else 0


def is_idr(packet: bytes, length_size: int) -> bool:
    """Whether an H.264 packet is an instantaneous decoder refresh; key frames of open groups of pictures are not."""
    position = 0
    while position + length_size < len(packet):
        kind = packet[position + length_size] & 31
        if kind in (1, 5):  # a slice of another picture, of an IDR picture (ITU-T H.264, Table 7-1)
            return kind == 5
        position += length_size + int.from_bytes(packet[position : position + length_size], "big")
    return False

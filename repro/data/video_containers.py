"""Statements of video containers that the demuxer does not check: how much there is, where decoding can start."""

from __future__ import annotations

import os
import re

import av

_EBML, _SEGMENT, _VOID = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\xec"  # element ids (RFC 8794, RFC 9559)
#: Boxes that stand outermost in MP4 and QuickTime files (ISO 14496-12). Anything else is no part of the file.
OUTERMOST_BOXES = {
    b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"meta", b"udta", b"pnot", b"styp", b"sidx", b"moof",
    b"mfra", b"emsg", b"prft", b"ssix", b"pdin",
}  # fmt: skip
#: Parts of a file that are followed; beyond, nothing is known of its length.
_MOST_PARTS = 100_000
_HOURS = re.compile(r"(\d{1,6}):(\d{1,2}):(\d{1,2}(?:\.\d{1,12})?)")
#: Bytes that a RIFF header may claim too many: some writers count the header, or a last byte of padding.
_RIFF_HEADER = 8
_HAS_INDEX = 0x10  # AVIF_HASINDEX, of the flags in byte 44
_INDEX_LENGTH = 1 << 20  # of 65,000 frames
_NO_LENGTH = (bytes(4), b"\xff" * 4)


def read_claimed_seconds(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    """Read when a stream should end, by Matroska's tag or the header of a fragmented MP4 file; None: unknown.

    Programs that cut a Matroska file copy the tag of the whole: the file ends by the earlier of its tag and its header.
    """
    name = container.format.name
    if name.startswith("matroska"):
        stated = _HOURS.fullmatch(stream.metadata.get("DURATION", ""))
        if stated is None or not container.duration:
            return None
        hours, minutes, seconds = map(float, stated.groups())
        return min(hours * 3600 + minutes * 60 + seconds, container.duration / av.time_base)
    if stream.duration is None or stream.time_base is None or stream.frames or not name.startswith("mov"):
        return None
    return float(stream.duration * stream.time_base)


def lacks_index(file: int, size: int) -> bool:
    """Whether an AVI file of `size` bytes announces an index at its end, which is not there: its writer was stopped.

    Only where the header states no length. Elsewhere it tells whether the file is whole.
    """
    start = os.pread(file, 48, 0)
    if not is_riff(start) or start[4:8] not in _NO_LENGTH or not has_riff_length_or_index(start):
        return False
    end = os.pread(file, _INDEX_LENGTH, max(0, size - _INDEX_LENGTH))
    place = end.rfind(b"idx1")
    return place < 0 or place + 8 + int.from_bytes(end[place + 4 : place + 8], "little") > len(end)


def has_riff_length_or_index(start: bytes) -> bool:
    """Whether the first 48 bytes of an AVI file state a length, or announce an index at its end."""
    return start[4:8] not in _NO_LENGTH or bool(start[44:] and start[44] & _HAS_INDEX)


def is_matroska(start: bytes) -> bool:
    """Whether a Matroska or WebM file begins so."""
    return start.startswith(_EBML)


def read_claimed_bytes(file: int, size: int) -> int | None:
    """Read how many bytes an MP4, Matroska or AVI file should have by the lengths of its outermost parts.

    Args:
        file: its descriptor.
        size: how many bytes it has.

    Returns:
        The number, which is no more than a lower bound if parts follow that no reader knows; None: unknown.
    """
    start = os.pread(file, 12, 0)
    if is_matroska(start):
        return _find_segment_end(file, size)
    if is_riff(start):
        return _find_riff_end(file, size)
    return _find_boxes_end(file, size) if start[4:8] in OUTERMOST_BOXES else None


def _find_boxes_end(file: int, size: int) -> int:
    """Follow the boxes of an MP4 file, wherever the last one ends. A box states its length before its name."""
    end = 0
    for _ in range(_MOST_PARTS):
        head = os.pread(file, 16, end)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if head[4:8] not in OUTERMOST_BOXES or length < 8:  # the end of the file, or a box that reaches to it
            break
        end += length
        if end > size:  # by up to 2**64, where no file can be read
            break
    return end


def _find_riff_end(file: int, size: int) -> int | None:
    """Follow the parts of an AVI file, one for each gigabyte or so (OpenDML). One that states no length is unknown."""
    end = 0
    for _ in range(_MOST_PARTS):
        head = os.pread(file, 12, end)
        if not is_riff(head):
            break
        if head[4:8] in _NO_LENGTH:
            return None
        length = int.from_bytes(head[4:8], "little")
        end += 8 + length + length % 2
        if end > size:
            break
    return size if size < end <= size + _RIFF_HEADER else end


def is_riff(start: bytes) -> bool:
    """Whether an AVI file begins so, or a further part of one."""
    return start.startswith(b"RIFF") and start[8:12] in (b"AVI ", b"AVIX")


def _find_segment_end(file: int, size: int) -> int | None:
    """Follow the elements of a Matroska file to the end of the one that holds the video."""
    position = 0
    for _ in range(_MOST_PARTS):
        head = os.pread(file, 12, position)
        width = 1 if head.startswith(_VOID) else 4
        if width == 4 and head[:4] not in (_EBML, _SEGMENT):
            return None
        end = _find_element_end(head[width:], position + width)
        if end is None or head.startswith(_SEGMENT) or end > size:
            return end
        position = end
    return None


def _find_element_end(head: bytes, position: int) -> int | None:
    """The end of the EBML element whose length, which `head` begins with, stands at `position`; None: unknown."""
    if not head or not head[0]:
        return None
    width = 9 - head[0].bit_length()  # leading zeros tell how many bytes the number has
    length = int.from_bytes(head[:width], "big") & ((1 << 7 * width) - 1)
    return None if len(head) < width or length == (1 << 7 * width) - 1 else position + width + length


def read_element(head: bytes, position: int) -> tuple[bytes, int, int | None] | None:
    """Read the id of the EBML element that begins at `position`, which `head` begins with, and where its content is.

    Returns:
        (id, begin, end), where an end of None is unknown; None: there is no element.
    """
    width = 9 - head[0].bit_length() if head else 9
    if width > 4 or len(head) <= width or not head[width]:
        return None
    begin = position + width + 9 - head[width].bit_length()
    return head[:width], begin, _find_element_end(head[width:], position + width)


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

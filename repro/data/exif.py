"""How a picture file asks to be turned, as OpenCV's `imread` reads it, with which the authors' framework reads COCO.

EXIF data are a TIFF directory of entries: tag, type, count and value, or where the value is. OpenCV does not look at
the type of the orientation, and takes the first two bytes of its value for a number: of a long integer in big-endian
order it sees the upper half, 0, and turns nothing. Of several entries or parts the first one counts. At the first
damaged entry among those that it knows OpenCV stops: an orientation behind it is not seen. Nor is one in XMP.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

_JPEG, _EXIF = b"\xff\xd8", b"Exif\0\0"
_APP1, _START_OF_SCAN, _END = 0xE1, 0xDA, 0xD9
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}  # ITU-T T.81, Table B.1
_ORIENTATION = 274
#: Other tags whose values OpenCV reads: of text, and of so many fractions of eight bytes.
_TEXTS = {270, 271, 272, 305, 306, 33432}
_FRACTIONS = {282: 1, 283: 1, 318: 2, 319: 6, 529: 3, 532: 6}


def read_orientation(parts: Iterable[bytes]) -> int:
    """Read the first orientation that the EXIF data of a picture state; 1, which is upright, where there is none.

    Args:
        parts: each is a TIFF directory, without the mark of a JPEG file before it.
    """
    for part in parts:
        try:
            orientation = _read_first_directory(part)
        except struct.error:  # it ends too early
            orientation = None
        if orientation is not None:
            return orientation
    return 1


def list_jpeg_parts(content: bytes) -> Iterator[bytes]:
    """List the EXIF data of a JPEG file, those before its pixels."""
    return (content[begin:end] for begin, end in _find_jpeg_parts(content))


def hide_jpeg_parts(content: bytes) -> bytes:
    """A JPEG file without a mark before its EXIF data: of the same length, and to the same pixels.

    Pillow reads the resolution in them when it opens a file, and refuses the picture where that is no fraction.
    """
    parts = list(_find_jpeg_parts(content))
    if not parts:
        return content
    changed = bytearray(content)
    for begin, _ in parts:
        changed[begin - len(_EXIF) : begin] = bytes(len(_EXIF))
    return bytes(changed)


def _find_jpeg_parts(content: bytes) -> Iterator[tuple[int, int]]:
    """Find where the EXIF data of a JPEG file begin and end."""
    at = len(_JPEG)
    while True:
        at = content.find(b"\xff", at)
        while content[at : at + 1] == b"\xff" and at >= 0:
            at += 1
        if at < 0 or at + 3 > len(content) or content[at] in (_START_OF_SCAN, _END):
            return
        marker, at = content[at], at + 1
        if marker and marker not in _WITHOUT_LENGTH:
            end = at + max(2, int.from_bytes(content[at : at + 2], "big"))
            if marker == _APP1 and content.startswith(_EXIF, at + 2):
                yield at + 2 + len(_EXIF), end
            at = end


def _read_first_directory(data: bytes) -> int | None:
    order = "<" if data.startswith(b"II") else ">"  # b"MM", or anything
    if struct.unpack_from(f"{order}H", data, 2)[0] != 42:
        return None
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, _, length = struct.unpack_from(f"{order}HHI", data, entry)
        if tag == _ORIENTATION:
            return int(struct.unpack_from(f"{order}H", data, entry + 8)[0])
        if tag in _TEXTS or tag in _FRACTIONS:
            (place,) = struct.unpack_from(f"{order}I", data, entry + 8)
            if tag in _TEXTS and length <= 4:
                place = 8
            if place + (length if tag in _TEXTS else 8 * _FRACTIONS[tag]) > len(data):
                return None
    return None

"""What decoders do not look at in a picture file: whether it has all of its pixels, and how long it keeps them at work.

Pillow reads a PNG's pixels without their checksums, takes black for what a cut stream does not have, of two headers the
second, and gray for a palette that is missing; libpng, with which OpenCV reads, refuses all this.

A small file can ask for hours: each scan of a JPEG file goes over all of its pixels and takes ten bytes, and Pillow
looks at every part of a file, of which one has four bytes at least. No decoder bounds either.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

JPEG_SIGNATURE = b"\xff\xd8\xff"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
BMP_SIGNATURE = b"BM"
#: Channels by the colour type of a PNG header.
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PALETTE = 3
#: (first column, first row, step of columns, step of rows) of the passes of an interlaced PNG, and of one that is not.
_INTERLACED = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PLAIN = ((0, 0, 1, 1),)
#: Bytes of a BMP's file header, and of the header behind it from Windows 3 on.
_FILE_HEADER, _INFO_HEADER = 14, 40
#: Parts of a file at most. A PNG of the largest size that is read has 65,536 where each has 4 KiB of its pixels.
_MOST_PARTS = 100_000
#: Scans of a JPEG file at most, and pixels that all of them go over: of the largest picture 48. libjpeg writes 10.
_MOST_SCANS, _MOST_WORK = 500, 2**33
#: Bytes at most of a BMP file in run lengths, which Pillow decodes in Python: it has some 4 million in a second.
_MOST_RUN_LENGTHS = 2**24
_RUN_LENGTHS = (1, 2)  # the header's numbers for them, of pixels of 8 and of 4 bits

_START_OF_SCAN, _END = 0xDA, 0xD9
_NO_LENGTH = {0x01, 0xD8}  # ITU-T T.81, Table B.1; restarts, which are passed over among the pixels, have none either
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")


def check_jpeg_parts(content: bytes) -> None:
    """Check that a JPEG file has no more in front of its pixels than can be looked at in a second or two.

    Raises:
        ValueError: it has more parts, or bytes between them.
    """
    at, between = 2, 0
    for found in _iterate_markers(content):
        between += found.start() - at
        if between > _MOST_PARTS:
            raise ValueError(f"it has more than {_MOST_PARTS} bytes between its parts")
        if found[1][0] == _START_OF_SCAN:
            return
        at = _find_end(content, found)


def check_scans(content: bytes, width: int, height: int) -> None:
    """Check that a JPEG file has no more scans than can be decoded in some seconds.

    Args:
        width, height: the picture's, in pixels.

    Raises:
        ValueError: it has more.
    """
    most = min(_MOST_SCANS, _MOST_WORK // max(1, width * height))
    if content.count(bytes([0xFF, _START_OF_SCAN])) <= most:  # as nearly always; a preview in it has scans, too
        return
    scans = sum(found[1][0] == _START_OF_SCAN for found in _iterate_markers(content))
    if scans > most:
        raise ValueError(
            f"it has {scans} scans of {width} x {height} pixels, more than {most}: to decode them would take too long"
        )


def _iterate_markers(content: bytes) -> Iterator[re.Match[bytes]]:
    """Iterate over the markers of a JPEG file, in front of its pixels and among them, but for the first and the last.

    Raises:
        ValueError: there are too many.
    """
    found, parts = _MARKER.search(content, 2), 0
    while found and found[1][0] != _END:
        parts += 1
        if parts > _MOST_PARTS:
            raise ValueError(f"it has more than {_MOST_PARTS} parts")
        yield found
        found = _MARKER.search(content, _find_end(content, found))


def _find_end(content: bytes, found: re.Match[bytes]) -> int:
    """Where the part of a marker ends; that of a scan's own ends where its pixels begin."""
    if found[1][0] in _NO_LENGTH:
        return found.end()
    return found.end() + max(2, int.from_bytes(content[found.end() : found.end() + 2], "big"))


def check_png(content: bytes, most_pixels: int) -> None:
    """Check that a PNG file is whole: one header, at its beginning, right checksums, and data for all pixels.

    Args:
        most_pixels: what a picture has at most; no more than their bytes are unpacked.

    Raises:
        ValueError: it is not, or has more pixels.
    """
    chunks = list(_iterate_chunks(content))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise ValueError("it does not begin with a header")
    for kind in (b"IHDR", b"PLTE"):
        if sum(name == kind for name, _ in chunks) > 1:
            raise ValueError(f"it has two {kind.decode()} parts")
    width, height, depth, color, compression, filtering, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    if width * height > most_pixels:
        raise ValueError(f"it has {width} x {height} pixels, more than {most_pixels}")
    if color not in _CHANNELS or depth not in (1, 2, 4, 8, 16) or compression or filtering or interlaced > 1:
        raise ValueError("its header is damaged")
    names = [name for name, _ in chunks]
    if color == _PALETTE and b"PLTE" not in names[: names.index(b"IDAT") if b"IDAT" in names else None]:
        raise ValueError("it has no palette before its pixels")
    if any(name == b"PLTE" and len(data) % 3 for name, data in chunks):
        raise ValueError("its palette is damaged")
    expected = 0
    for column, row, columns, rows in _INTERLACED if interlaced else _PLAIN:
        across, down = -(-(width - column) // columns), -(-(height - row) // rows)
        if across > 0 and down > 0:
            expected += down * (1 + (across * depth * _CHANNELS[color] + 7) // 8)
    if _measure_pixels([data for name, data in chunks if name == b"IDAT"], expected) < expected:
        raise ValueError("it has not all of its pixels")


def find_exif(content: bytes) -> bytes:
    """Find the EXIF data of a whole PNG file: as in libpng, the first that begin as a TIFF file does, with 42."""
    parts = (bytes(data) for name, data in _iterate_chunks(content) if name == b"eXIf")
    return next((part for part in parts if part[:4] in (b"II*\0", b"MM\0*")), b"")


def check_bmp(content: bytes) -> int:
    """Check that a BMP file's pixels begin behind its header and palette; otherwise decoders guess, each differently.

    Returns:
        The number of colours in its palette, which every pixel has to be one of; 0 where there is none.

    Raises:
        ValueError: they do not, are in more run lengths than can be decoded in some seconds, or have 16 bits each,
            which each decoder makes 24 of in its own way.
        struct.error: it ends within its header.
    """
    begin, header = struct.unpack_from("<II", content, 10)
    if header < _INFO_HEADER:  # OS/2's
        bits, colors, bytes_each = struct.unpack_from("<H", content, 24)[0], 0, 3
    else:
        bits, colors, bytes_each = struct.unpack_from("<H", content, 28)[0], struct.unpack_from("<I", content, 46)[0], 4
        if struct.unpack_from("<I", content, 30)[0] in _RUN_LENGTHS and len(content) > _MOST_RUN_LENGTHS:
            raise ValueError(f"it has {len(content)} bytes in run lengths, more than {_MOST_RUN_LENGTHS}")
    if bits == 16:
        raise ValueError("its pixels have 16 bits, which are not read of a BMP file")
    entries = (colors or 2**bits) if bits <= 8 else 0
    if begin < _FILE_HEADER + header + entries * bytes_each:
        raise ValueError("its header is damaged: its pixels would begin within it")
    return entries


def _iterate_chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """The name and the data of each part of a PNG file, up to the end that it has to have."""
    view, at, name, parts = memoryview(content), len(PNG_SIGNATURE), b"", 0
    while name != b"IEND":
        parts += 1
        if parts > _MOST_PARTS:
            raise ValueError(f"it has more than {_MOST_PARTS} parts")
        if len(content) < at + 12:
            raise ValueError("it ends too early")
        length, name = struct.unpack_from(">I4s", content, at)
        end = at + 8 + length
        if len(content) < end + 4:
            raise ValueError("it ends too early")
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise ValueError(f"a checksum is wrong, that of the part at byte {at}")
        yield name, view[at + 8 : end]
        at = end + 4


def _measure_pixels(parts: list[memoryview], enough: int) -> int:
    """The number of bytes that a compressed stream in several parts has, counted no further than `enough`."""
    stream, size = zlib.decompressobj(), 0
    for part in parts:
        rest: bytes | memoryview = part
        while len(rest) and size < enough and not stream.eof:
            try:
                size += len(stream.decompress(rest, min(2**20, enough - size)))
            except zlib.error as error:
                raise ValueError(f"its pixels cannot be unpacked: {error}") from None
            rest = stream.unconsumed_tail
    return size

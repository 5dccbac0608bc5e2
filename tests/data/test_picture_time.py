"""Small picture files that ask for hours of a decoder: each is named, and none is decoded."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from imagenet_trees import encoded, photograph
from patience import cpu_limit
from PIL import Image

from repro.analysis.images import Photographs
from repro.data import picture_containers
from repro.data.pictures import UndecodablePicture, UnreadableImage, decode_image, decode_pixels, read_upright

COMMENT = b"\xff\xfe\0\2"
JPEG = photograph(0)
PNG = encoded(Image.open(io.BytesIO(JPEG)), "PNG")
WITH_PIXELS = np.asarray(Image.open(io.BytesIO(JPEG)))


def write_chunk(name: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def make_scans(side: int, scans: int) -> bytes:
    """A gray progressive JPEG file, of a square of which each scan but the first says that nothing changes.

    Made by ITU-T T.81: a Huffman code of one bit for each table, of a difference of 0, and of 2^14 blocks and more that
    end at once (G.1.2.2).
    """
    blocks = (-(-side // 8)) ** 2
    runs = ("0" + "1" * 14) * -(-blocks // (2**15 - 1))
    runs += "1" * (-len(runs) % 8)
    packed = int(runs, 2).to_bytes(len(runs) // 8, "big").replace(b"\xff", b"\xff\0")

    def write_scan(first: int, last: int, pixels: bytes) -> bytes:
        return b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, first, last, 0) + pixels

    tables = [
        b"\xff\xc4" + struct.pack(">HB", 20, kind) + b"\1" + bytes(15) + symbol
        for kind, symbol in ((0x00, b"\0"), (0x10, b"\xe0"))
    ]
    return b"".join([
        b"\xff\xd8\xff\xdb" + struct.pack(">HB", 67, 0) + b"\1" * 64,
        b"\xff\xc2" + struct.pack(">HBHHBBBB", 11, 8, side, side, 1, 1, 0x11, 0),
        *tables,
        write_scan(0, 0, bytes(-(-blocks // 8))),
        *[write_scan(1, 63, packed)] * scans,
        b"\xff\xd9",
    ])  # fmt: skip


def require_named(content: bytes, message: str, seconds: float = 3.0) -> None:
    with cpu_limit(seconds):
        for read in (decode_image, decode_pixels):
            with pytest.raises(UndecodablePicture, match=message):
                read(content)


@pytest.mark.parametrize(("side", "scans", "most"), [(16, 600, 500), (13_000, 60, 50)])
def test_progressive_jpegs_with_many_scans(side, scans, most, tmp_path):
    """Of 2000 x 2000 pixels, a file of 24 kB with a thousand scans takes libjpeg a second, and one of 24 MB an hour."""
    message = f"it has {scans + 1} scans of {side} x {side} pixels, more than {most}: to decode them would take"
    require_named(make_scans(side, scans), message)
    path = tmp_path / "000000000139.jpg"
    path.write_bytes(make_scans(side, scans))
    with pytest.raises(UnreadableImage, match=rf"139\.jpg is corrupt: {message}"):
        read_upright(path, "139")


def test_as_many_scans_as_a_picture_may_have():
    assert (np.asarray(decode_image(make_scans(64, 499))) == 128).all()
    assert (decode_pixels(make_scans(64, 499)) == 128).all()


def test_scans_of_a_preview_and_behind_the_end_do_not_count():
    """Phones put a preview into a picture, and a film behind it."""
    preview = b"\xff\xe1" + struct.pack(">H", 2 + 1200) + b"\xff\xda" * 600
    for content in (JPEG[:2] + preview + JPEG[2:], JPEG + b"\xff\xda" * 600):
        np.testing.assert_array_equal(np.asarray(decode_image(content)), WITH_PIXELS)
        np.testing.assert_array_equal(decode_pixels(content), WITH_PIXELS)


def test_an_ordinary_progressive_jpeg_has_ten_scans():
    content = photograph(1, progressive=True)
    found = [marker[1] for marker in picture_containers._iterate_markers(content)]
    assert found.count(b"\xda") == 10
    with pytest.raises(ValueError, match="10 scans of 2000000 x 30000 pixels, more than 0"):
        picture_containers.check_scans(content, 2_000_000, 30_000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (JPEG[:2] + COMMENT * 1500 + JPEG[2:], "more than 1000 parts"),
        (JPEG[:2] + b"\xff" * 1500 + JPEG[2:], "more than 1000 bytes between its parts"),
        (JPEG[:2] + b"\xff\0" * 750 + JPEG[2:], "more than 1000 bytes between its parts"),
        (PNG[:33] + write_chunk(b"tEXt", b"a\0b") * 1200 + PNG[33:], "more than 1000 parts"),
        (PNG[:-12] + write_chunk(b"IDAT") * 1200 + PNG[-12:], "more than 1000 parts"),
    ],
    ids=["comments", "fill bytes", "stuffed bytes", "texts", "empty pixels"],
)
def test_files_of_very_many_parts(content, message, monkeypatch):
    """Of 256 MB, which a file may have, Pillow looks at the parts for five minutes and more."""
    monkeypatch.setattr(picture_containers, "_MOST_PARTS", 1000)
    with pytest.raises(UndecodablePicture, match=message):
        decode_image(content, upright=True)


def test_looking_for_markers_takes_time_in_proportion_to_the_file():
    content = b"\xff\xd8" + b"\xff" * (1 << 22) + b"\0"
    with cpu_limit(1):
        assert list(picture_containers._iterate_markers(content)) == []


def test_a_picture_that_is_a_line():
    """OpenCV refuses a side of more than 2^20 pixels; Pillow takes half a minute for 178 million rows of one."""
    header = struct.pack(">IIBBBBB", 1, 2**20 + 1, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(2 * (2**20 + 1)))
    content = PNG[:8] + write_chunk(b"IHDR", header) + write_chunk(b"IDAT", pixels) + write_chunk(b"IEND")
    require_named(content, "it has 1 x 1048577 pixels; a side has at most 1048576")


def test_run_lengths_of_a_bmp(monkeypatch, tmp_path):
    """Pillow decodes them in Python: a line's end, which takes two bytes, as often as the file has room for it."""
    header = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 8, 1, 0, 0, 0, 0, 0)
    palette = b"".join(bytes([value, value, value, 0]) for value in range(256))
    begin = 14 + len(header) + len(palette)
    pixels = b"\x08\x40\0\0" * 8
    path = tmp_path / "photograph.bmp"
    for ends, whole in ((10, True), (600, False)):
        content = struct.pack("<2sIHHI", b"BM", 0, 0, 0, begin) + header + palette + pixels + b"\0\0" * ends + b"\0\1"
        path.write_bytes(content)
        monkeypatch.setattr(picture_containers, "_MOST_RUN_LENGTHS", 2000)
        if whole:
            assert (Photographs([path], 32, 64).pixels(0) == 64).all()
        else:
            with pytest.raises(UnreadableImage, match=f"{len(content)} bytes in run lengths, more than 2000"):
                Photographs([path], 32, 64).pixels(0)

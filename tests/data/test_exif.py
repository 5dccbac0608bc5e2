"""Orientations that EXIF data state in odd ways: read as OpenCV reads them, with which the authors read COCO."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from exif_data import ORIENTATION, make_exif, put_into_jpeg, put_into_png

from repro.data.pictures import decode_image

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: `nox -s tests` installs requirements-peers.lock")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's, of data that it does not use here

VALUES = {"<": b"\x06\0\0\0", ">": b"\0\x06\0\0"}


def assert_as_opencv(content: bytes) -> tuple[int, int]:
    """Width and height of the picture, which is OpenCV's."""
    ours = np.asarray(decode_image(content, upright=True))
    np.testing.assert_array_equal(ours, cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1])
    return ours.shape[1], ours.shape[0]


def short(order: str, number: int) -> tuple[int, int, int, bytes]:
    return ORIENTATION, 3, 1, struct.pack(f"{order}HH", number, 0)


@pytest.mark.parametrize("put", [put_into_jpeg, put_into_png])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", range(15))
def test_every_type_of_entry(put, order, kind):
    """1 is BYTE, 3 SHORT, 4 LONG; 0, 13 and 14 have no meaning, or one that TIFF does not know."""
    for value in ("HH", 6, 0), ("I", 6), ("BBBB", 6, 0, 0, 0), ("HH", 0, 6), ("BBBB", 0, 6, 0, 0):
        packed = struct.pack(order + value[0], *value[1:])
        turned = assert_as_opencv(put(make_exif(order, [(ORIENTATION, kind, 1, packed)]))) == (30, 40)
        assert turned == (packed[:2] == VALUES[order][:2])


ODD = {
    "two parts": put_into_jpeg(make_exif("<", [short("<", 6)]), make_exif("<", [short("<", 3)])),
    "an empty part first": put_into_jpeg(make_exif("<", []), make_exif("<", [short("<", 6)])),
    "a damaged part first": put_into_jpeg(b"XX", make_exif("<", [short("<", 6)])),
    "two parts of a PNG": put_into_png(make_exif("<", []), make_exif("<", [short("<", 6)])),
    "a damaged part of a PNG first": put_into_png(b"II*\1\10\0\0\0\0\0", make_exif("<", [short("<", 6)])),
    "a PNG's part in no byte order first": put_into_png(b"MM*\0\0\0\0\10\0\0", make_exif("<", [short("<", 6)])),
    "a JPEG's mark in a PNG": put_into_png(b"Exif\0\0" + make_exif("<", [short("<", 6)])),
    "another mark": put_into_jpeg(make_exif("<", [short("<", 6)]), mark=b"Exif\0\1"),
    "an unknown byte order": put_into_jpeg(b"XY" + make_exif(">", [short(">", 6)])[2:]),
    "two entries": put_into_jpeg(make_exif("<", [short("<", 0), short("<", 6)])),
    "fewer entries than claimed": put_into_jpeg(make_exif("<", [short("<", 6)], count=9)),
    "more entries than claimed": put_into_jpeg(make_exif("<", [short("<", 6)], count=0)),
    "cut behind its number": put_into_jpeg(make_exif("<", [short("<", 6)])[:-6]),
    "cut within its number": put_into_jpeg(make_exif("<", [short("<", 6)])[:-7]),
    "no values": put_into_jpeg(make_exif("<", [(ORIENTATION, 3, 0, VALUES["<"])])),
    "nine values": put_into_jpeg(make_exif("<", [(ORIENTATION, 3, 9, VALUES["<"])])),
} | {
    f"tag {tag} before it is damaged": put_into_jpeg(make_exif("<", [(tag, 2, 400, b"\xff\xff\0\0"), short("<", 6)]))
    for tag in (256, 270, 271, 272, 282, 283, 296, 305, 306, 315, 318, 319, 529, 531, 532, 33432, 34665, 34853)
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_odd_directories(case):
    assert_as_opencv(ODD[case])

"""EXIF data of any kind, whole and damaged, and picture files that hold them."""

from __future__ import annotations

import io
import random
import struct
import zlib

from damaged_bytes import damage_bytes
from imagenet_trees import encoded, photograph
from PIL import Image

PHOTOGRAPH = photograph(5)
DRAWING = encoded(Image.open(io.BytesIO(PHOTOGRAPH)), "PNG")
ORIENTATION = 274
#: The orientation and its neighbours: texts, fractions, numbers, other directories, and tags that nobody knows.
_TAGS = [ORIENTATION] * 6 + [270, 271, 272, 282, 296, 305, 306, 318, 319, 529, 531, 532, 33432, 34665, 34853, 500]

#: (tag, type, count, value in four bytes)
Entry = tuple[int, int, int, bytes]


def make_exif(
    order: str, entries: list[Entry], *, count: int | None = None, begin: int = 8, after: bytes = b""
) -> bytes:
    """A TIFF directory of `entries` that claims `count` of them; `order` is "<" or ">"."""
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, begin)
    directory = struct.pack(f"{order}H", len(entries) if count is None else count)
    for tag, kind, length, value in entries:
        directory += struct.pack(f"{order}HHI", tag, kind, length) + value
    return head.ljust(begin, b"\0") + directory + bytes(4) + after


def put_into_jpeg(*parts: bytes, mark: bytes = b"Exif\0\0") -> bytes:
    segments = (b"\xff\xe1" + struct.pack(">H", len(mark + part) + 2) + mark + part for part in parts)
    return PHOTOGRAPH[:2] + b"".join(segments) + PHOTOGRAPH[2:]


def put_into_png(*parts: bytes) -> bytes:
    chunks = (struct.pack(">I", len(p)) + b"eXIf" + p + struct.pack(">I", zlib.crc32(b"eXIf" + p)) for p in parts)
    return DRAWING[:33] + b"".join(chunks) + DRAWING[33:]


def make_odd_picture(generator: random.Random) -> bytes:
    """A whole picture whose EXIF data are of random entries, every third of them damaged."""
    parts = [_make_odd_exif(generator) for _ in range(generator.choice((1, 1, 2)))]
    if generator.random() < 0.5:
        return put_into_png(*parts)
    return put_into_jpeg(*parts, mark=generator.choice([b"Exif\0\0"] * 5 + [b"Exif\0\1", b"http:/"]))


def _make_odd_exif(generator: random.Random) -> bytes:
    order = generator.choice("<>")
    entries: list[Entry] = []
    for _ in range(generator.randrange(1, 5)):
        number = generator.randrange(10)
        values = struct.pack(f"{order}HH", number, 0), struct.pack(f"{order}I", number), generator.randbytes(4)
        length = generator.choice((0, 1, 2, 3, 4, 5, 8, 40))
        entries.append((generator.choice(_TAGS), generator.randrange(14), length, generator.choice(values)))
    count = generator.choice((None, None, None, len(entries) + 1, 60_000))
    after = generator.randbytes(generator.choice((0, 8, 60)))
    exif = make_exif(order, entries, count=count, begin=generator.choice((8, 8, 8, 10, 12)), after=after)
    return damage_bytes(generator, exif) if generator.random() < 0.3 else exif

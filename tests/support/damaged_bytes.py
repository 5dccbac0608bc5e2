"""Bytes damaged at random, for files of every kind."""

from __future__ import annotations

import random
import struct

NUMBERS = [
    0,
    1,
    2,
    3,
    4,
    8,
    24,
    48,
    96,
    127,
    128,
    255,
    256,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63,
]


def draw_bytes(random: random.Random) -> bytes:
    kind = random.choice(["B", "<H", "<I", "<Q", ">I"])
    size = struct.calcsize(kind)
    return (random.choice(NUMBERS) % 256**size).to_bytes(size, "big" if kind.startswith(">") else "little")


def damage_bytes(random: random.Random, content: bytes, begin: int = 0, end: int | None = None) -> bytes:
    """Change one to three places between `begin` and `end`."""
    for _ in range(random.randint(1, 3)):
        last = len(content) if end is None else min(end, len(content))
        at, length = random.randrange(begin, max(last, begin + 1)), random.randint(1, 16)
        part = content[at : at + length]
        kind = random.choice(["flip", "set", "drop", "repeat", "number", "copy", "cut"])
        if kind == "flip" and part:
            content = content[:at] + bytes([part[0] ^ 1 << random.randrange(8)]) + content[at + 1 :]
        elif kind == "set":
            content = content[:at] + bytes([random.randrange(256)]) + content[at + 1 :]
        elif kind == "drop":
            content = content[:at] + content[at + length :]
        elif kind == "repeat":
            content = content[:at] + part + content[at:]
        elif kind == "number":
            number = draw_bytes(random)
            content = content[:at] + number + content[at + len(number) :]
        elif kind == "copy":
            source = random.randrange(begin, max(last, begin + 1))
            content = content[:at] + content[source : source + length] + content[at + length :]
        elif kind == "cut" and random.random() < 0.1:
            content = content[:at]
    return content

"""Picture files damaged at random, each a function of its number alone; a PNG's checksums are mostly right again."""

from __future__ import annotations

import io
import random
import struct
import zlib

import numpy as np
from damaged_bytes import damage_bytes
from exif_data import make_odd_picture
from imagenet_trees import encoded, photograph
from PIL import Image

SCENE = Image.open(io.BytesIO(photograph(0)))
PALETTE = SCENE.convert("P", palette=Image.Palette.ADAPTIVE, colors=32)
ALPHA = np.random.default_rng(0).integers(0, 256, (30, 40), np.uint8)
DEEP = Image.fromarray(np.random.default_rng(1).integers(0, 2**16, (30, 40), np.uint16))
TURNED = Image.Exif()
TURNED[274] = 6
TURNED[271] = "a camera"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n%%EndComments\n0 0 moveto 40 30 lineto\nshowpage\n"

#: By the name of the kind, what is damaged.
PICTURES = {
    "JPEG": [
        *(photograph(1, mode=mode) for mode in ("RGB", "L", "CMYK")),
        photograph(2, progressive=True),
        photograph(3, subsampling=0, restart_marker_rows=1),
        photograph(4, exif=TURNED),
        encoded(SCENE, "MPO", save_all=True, append_images=[SCENE]),
    ],
    "PNG": [
        encoded(SCENE, "PNG", exif=TURNED),
        encoded(PALETTE, "PNG", transparency=bytes(range(0, 256, 8))),
        encoded(Image.merge("RGBA", (*SCENE.split(), Image.fromarray(ALPHA))), "PNG"),
        encoded(SCENE.convert("1"), "PNG"),
        encoded(DEEP, "PNG"),
        encoded(SCENE, "PNG", save_all=True, append_images=[SCENE.transpose(Image.Transpose.ROTATE_180)]),
    ],
    "BMP": [encoded(SCENE, "BMP"), encoded(PALETTE, "BMP"), encoded(SCENE.convert("1"), "BMP")],
    "WEBP": [
        encoded(SCENE, "WEBP", quality=70, exif=TURNED),
        encoded(Image.merge("RGBA", (*SCENE.split(), Image.fromarray(ALPHA))), "WEBP", lossless=True),
        encoded(SCENE, "WEBP", save_all=True, append_images=[SCENE.transpose(Image.Transpose.ROTATE_180)]),
    ],
    "EXIF": [],  # made anew each time
    "others": [
        EPS,
        *(encoded(SCENE, kind) for kind in ("GIF", "TIFF", "PPM", "ICO", "TGA", "AVIF") if kind in Image.SAVE),
    ],
}


def make_damaged(kind: str, number: int) -> bytes:
    """Make the file of this number from one of `PICTURES[kind]`; of every other one, the first 400 bytes change."""
    generator = random.Random(f"{kind} {number}")
    if kind == "EXIF":
        return make_odd_picture(generator)
    content = generator.choice(PICTURES[kind])
    if kind == "PNG" and generator.random() < 0.8:
        return _damage_chunks(generator, content)
    if kind == "others" and generator.random() < 0.2:  # a file that begins as one that is opened
        start = generator.choice(PICTURES[generator.choice(["JPEG", "PNG", "BMP", "WEBP"])])
        content = start[: generator.randint(2, 40)] + content
    return damage_bytes(generator, content, end=400 if generator.random() < 0.5 else None)


def _damage_chunks(generator: random.Random, content: bytes) -> bytes:
    """Change a chunk, or their order, and write their checksums anew."""
    chunks, at = [], 8
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += length + 12
    index = generator.randrange(len(chunks))
    name, body = chunks[index]
    change = generator.choice(["body", "body", "pixels", "drop", "repeat", "move", "name"])
    if change == "body":
        chunks[index] = name, damage_bytes(generator, body)
    elif change == "pixels" and name == b"IDAT":
        chunks[index] = name, zlib.compress(damage_bytes(generator, zlib.decompress(body)))
    elif change == "drop":
        del chunks[index]
    elif change == "repeat":
        chunks.insert(index, chunks[index])
    elif change == "move":
        chunks.insert(generator.randrange(len(chunks)), chunks.pop(index))
    else:
        chunks[index] = generator.choice([b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"iCCP", b"acTL", b"zTXt"]), body
    return content[:8] + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )

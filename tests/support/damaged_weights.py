"""Weights files damaged at random, each a function of its number alone; checksums are mostly right again."""

from __future__ import annotations

import io
import itertools
import json
import pickletools
import random
import struct
import warnings
import zipfile
from collections.abc import Callable

import safetensors.torch
import torch
from damaged_bytes import NUMBERS, damage_bytes
from weights_files import STATE, detectron2, mmcv, pickle_of, torch_0_1, torch_legacy, torch_zip

VIEWS = torch.arange(12.0).reshape(3, 4)
VALUES = [
    STATE,
    mmcv(),
    {"model": {"w": VIEWS, "t": VIEWS.t(), "part": VIEWS[1:, ::2], "p": torch.nn.Parameter(VIEWS)}, "epoch": 3},
    {"half": torch.ones(3).half(), "b": torch.ones(2, dtype=torch.bfloat16), "flags": torch.tensor([True, False])},
    {"d": torch.ones(2, dtype=torch.float64), "i": torch.arange(3), "s": torch.tensor(2, dtype=torch.int16)},
    {"model": STATE, "ema": {"module": {key: value + 0 for key, value in STATE.items()}}},
]
FLOATS = {key: value for key, value in STATE.items() if value.is_floating_point()}
ZIPS = [torch_zip(value) for value in VALUES]
PICKLES = [pickle_of(content) for content in ZIPS]
LEGACIES = [*(torch_legacy(value) for value in VALUES), torch_0_1(FLOATS)]
ARRAYS = [detectron2(protocol=protocol, iteration=3) for protocol in (2, 3, 4)]
SAFETENSORS = [
    safetensors.torch.save({key: value.clone().contiguous() for key, value in state.items()}, metadata)
    for state, metadata in ((dict(STATE), None), (VALUES[3], {"format": "pt"}), (VALUES[4], None))
]


def damage_pickle(random: random.Random, program: bytes, other: bytes) -> bytes:
    """Drop, repeat, move, exchange or change whole instructions; or bytes."""
    if random.random() < 0.2:
        return damage_bytes(random, program)
    parts, others = _split(program), _split(other)
    for _ in range(random.randint(1, 3)):
        at, length = random.randrange(len(parts)), random.choice([1, 1, 1, 2, 3, 8])
        part = parts[at : at + length]
        kind = random.choice(["drop", "repeat", "move", "exchange", "number", "from another", "Python 2", "byte"])
        if kind == "drop":
            del parts[at : at + length]
        elif kind == "repeat":
            parts[at:at] = part
        elif kind == "move":
            del parts[at : at + length]
            to = random.randrange(len(parts) + 1)
            parts[to:to] = part
        elif kind == "exchange":
            to = random.randrange(len(parts))
            parts[at], parts[to] = parts[to], parts[at]
        elif kind == "number":
            numbers = [i for i, p in enumerate(parts) if p[:1] in b"KMJ"]
            if numbers:
                value = random.choice(NUMBERS) % 2**31
                parts[random.choice(numbers)] = b"J" + struct.pack("<i", value if random.random() < 0.8 else -value)
        elif kind == "from another":
            start = random.randrange(len(others))
            parts[at:at] = others[start : start + length]
        elif kind == "Python 2" and part and part[0][:1] == b"X" and len(part[0]) < 200:
            text = part[0][5:] + random.choice([b"", b"\xc3\xa9", b"\xe9"])
            parts[at] = b"U" + bytes([len(text)]) + text
        elif part:
            parts[at] = damage_bytes(random, parts[at])
        if not parts:
            return b""
    return b"".join(parts)


def _split(program: bytes) -> list[bytes]:
    positions = [position for _, _, position in pickletools.genops(program)] + [len(program)]
    return [program[begin:end] for begin, end in itertools.pairwise(positions)]


def damage_zip(random: random.Random) -> bytes:
    """Entries added, renamed, exchanged, marked or damaged and written with right checksums; or headers damaged."""
    content = random.choice(ZIPS)
    if random.random() < 0.3:
        headers = [at for at in range(len(content)) if content[at : at + 2] == b"PK"]
        at = random.choice(headers)
        return damage_bytes(random, content, at, at + 60)
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [[entry.filename, archive.read(entry), 0] for entry in archive.infolist()]
    for _ in range(random.randint(1, 2)):
        entry, other = random.choice(entries), random.choice(entries)
        kind = random.choice(["pickle", "pickle", "rename", "capitals", "mark", "exchange", "damage", "add", "drop"])
        if kind == "pickle":
            for found in entries:
                if found[0].endswith("data.pkl"):
                    found[1] = damage_pickle(random, random.choice(PICKLES), random.choice(PICKLES))
        elif kind == "rename":
            entry[0] = random.choice([other[0], entry[0] + "/", "x/" + entry[0], "archive/data/9", "archive/data.pkl"])
        elif kind == "capitals":
            entries.append([entry[0].upper(), other[1], 0])
        elif kind == "mark":
            entry[2] = random.choice([0x10, 0x41ED0010, 1 << 30])
        elif kind == "exchange":
            entry[1], other[1] = other[1], entry[1]
        elif kind == "damage":
            entry[1] = damage_bytes(random, entry[1])
        elif kind == "add":
            entries.insert(random.randrange(len(entries)), [entry[0], other[1], 0])
        elif len(entries) > 1:
            entries.remove(entry)
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")  # of names that stand twice
        for name, data, attributes in entries:
            written = zipfile.ZipInfo(name)
            written.external_attr = attributes
            archive.writestr(written, data)
    written_content = stream.getvalue()
    return damage_bytes(random, written_content) if random.random() < 0.1 else written_content


def damage_legacy(random: random.Random) -> bytes:
    content = random.choice(LEGACIES)
    stream = io.BytesIO(content)
    ends = []
    for _ in range(5):
        for _ in pickletools.genops(stream):
            pass
        ends.append(stream.tell())
    if random.random() < 0.5:
        program = damage_pickle(random, content[ends[2] : ends[3]], random.choice(PICKLES))
        return content[: ends[2]] + program + content[ends[3] :]
    return damage_bytes(random, content, 0, random.choice([ends[2], ends[3], ends[4], ends[4] + 8, len(content)]))


def damage_arrays(random: random.Random) -> bytes:
    return damage_pickle(random, random.choice(ARRAYS), random.choice([*ARRAYS, *PICKLES]))


def damage_safetensors(random: random.Random) -> bytes:
    content = random.choice(SAFETENSORS)
    (length,) = struct.unpack_from("<Q", content)
    if random.random() < 0.3:
        return damage_bytes(random, content, 0, 8 + length)
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    for _ in range(random.randint(1, 2)):
        name = random.choice(list(header))
        kind = random.choice(["offsets", "shape", "dtype", "rename", "drop", "add", "swap", "data", "value"])
        entry = header[name] if isinstance(header[name], dict) else {}
        if kind == "offsets" and "data_offsets" in entry:
            entry["data_offsets"] = list(entry["data_offsets"])
            entry["data_offsets"][random.randrange(2)] = random.choice([*NUMBERS, -1, 1.5, True, None, "1"])
        elif kind == "shape" and "shape" in entry:
            entry["shape"] = random.choice(
                [[], [0], [1], [2, 3], [24], [3, 2, 2, 2], [-1], [2**62, 4], [1.0], None, "2"]
            )
        elif kind == "dtype" and "dtype" in entry:
            entry["dtype"] = random.choice(
                ["F64", "F32", "F16", "BF16", "I64", "I32", "U8", "BOOL", "U16", "F8_E4M3", "f32"]
            )
        elif kind == "rename":
            header[random.choice(["", "w", "__metadata__", "a" * 300, "\ud800", "model"])] = header.pop(name)
        elif kind == "drop":
            del header[name]
        elif kind == "add":
            header["more"] = json.loads(json.dumps(entry))
        elif kind == "swap":
            other = random.choice(list(header))
            header[name], header[other] = header[other], header[name]
        elif kind == "data":
            data = damage_bytes(random, data)
        else:
            header[name] = random.choice([None, [], {}, 3, "x", {"dtype": "F32"}])
        if not header:
            break
    text = json.dumps(header).encode()
    if random.random() < 0.1:
        text = text.replace(b'"w"', b'"conv1.weight"').ljust(random.choice([128, 2048]))
    return struct.pack("<Q", len(text)) + text + data


READERS: dict[str, tuple[str, Callable[[random.Random], bytes]]] = {
    "zip": ("weights.pth", damage_zip),
    "legacy": ("weights.pth", damage_legacy),
    "arrays": ("weights.pkl", damage_arrays),
    "safetensors": ("weights.safetensors", damage_safetensors),
}


def make_damaged(reader: str, number: int) -> bytes:
    """The damaged file of this number."""
    return READERS[reader][1](random.Random(f"{reader} {number}"))

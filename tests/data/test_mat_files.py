"""Structure arrays as scipy reads them, from files that MATLAB wrote and from scipy's, and no file that ends us."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import imagenet_trees as trees
import numpy as np
import pytest
import scipy.io

from repro.data.mat_files import read_structures

WNIDS = {f"n{number:08d}": 1 + (7 * number) % 50 for number in range(50)}
META = trees.devkit(WNIDS, tuple(WNIDS))["data/meta.mat"]
FIELDS = ("ILSVRC2012_ID", "WNID", "num_children")
MATLABS = sorted((Path(scipy.io.matlab.__file__).parent / "tests" / "data").glob("test*.mat"))


def compress(content: bytes) -> bytes:
    """The same file, as MATLAB writes it by default since version 7."""
    packed = zlib.compress(content[128:])
    return content[:128] + struct.pack("<II", 15, len(packed)) + packed


def read_as_scipy_does(content: bytes) -> list[dict[str, object]]:
    synsets = scipy.io.loadmat(io.BytesIO(content), squeeze_me=True, variable_names=["synsets"])["synsets"]
    return [
        {"ILSVRC2012_ID": int(one["ILSVRC2012_ID"]), "WNID": str(one["WNID"]), "num_children": int(one["num_children"])}
        for one in synsets.ravel()
    ]


@pytest.mark.parametrize("content", [META, compress(META)], ids=["plain", "compressed"])
def test_the_devkits_structures(content):
    expected = read_as_scipy_does(content)
    assert len(expected) == 51
    assert read_structures(content, "synsets", FIELDS) == expected


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint32, np.int64, np.float32, np.float64])
def test_numbers_of_every_type(kind):
    rows = np.array([(kind(3), "é"), (kind(120), "n1")], dtype=[("number", object), ("text", object)])
    content = io.BytesIO()
    scipy.io.savemat(content, {"other": np.eye(3), "rows": rows})
    expected = [{"number": 3, "text": "é"}, {"number": 120, "text": "n1"}]
    assert read_structures(content.getvalue(), "rows", ("number", "text")) == expected


@pytest.mark.skipif(not MATLABS, reason="scipy is installed without its tests' files")
def test_files_that_matlab_wrote():
    """Of both byte orders, compressed and not: each field that holds a text or a whole number, as scipy reads it."""
    compared = set()
    for path in MATLABS:
        try:
            variables = scipy.io.loadmat(path, squeeze_me=True)
        except (NotImplementedError, ValueError, TypeError):
            continue
        for name, value in variables.items():
            if type(value) is not np.ndarray or not value.dtype.names:  # a function or an object is another type
                continue
            for field in value.dtype.names:
                found = [one[field] for one in value.ravel()]
                found = [one.item() if isinstance(one, np.ndarray) and one.size == 1 else one for one in found]
                whole = [isinstance(one, str) or (isinstance(one, int | float) and one == int(one)) for one in found]
                if all(whole):
                    ours = [one[field] for one in read_structures(path.read_bytes(), name, (field,))]
                    assert ours == found
                    compared.add(path.name)
    assert {name.split("_")[1] for name in compared} >= {"6.1", "7.4"}  # SOL2 is big-endian, 7.4 compressed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no MATLAB file"),
        (META[:130], "ends too early"),
        (META[:-200], "ends within an element"),
        (META[:128], "no variable synsets"),
        (META.replace(b"synsets", b"synsetz"), "no variable synsets"),
        (META.replace(b"WNID", b"wnid"), "0 fields WNID"),
        (META.replace(b"gloss\0", b"WNID\0\0"), "2 fields WNID"),
        (META[:128] + struct.pack("<II", 14, 2**32 - 1) + META[136:], "ends within an element of 4294967295"),
        (compress(META)[:-30], "ends within an element"),
        (compress(META)[:128] + struct.pack("<II", 15, 8) + compress(META)[136:144], "cut short"),
        (compress(META)[:-1] + b"x", "damaged"),
        (compress(META[:128] + bytes(200 << 20)), "more than 67108864 bytes"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_damage_is_named(content, message):
    with pytest.raises(ValueError, match=message):
        read_structures(content, "synsets", FIELDS)

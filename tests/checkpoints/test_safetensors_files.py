"""Safetensors: what the format's own library writes is read alike, and what its rules forbid is refused."""

from __future__ import annotations

import json
import struct

import pytest
import safetensors
import safetensors.torch
import torch
from weights_files import STATE, assert_state

from repro.checkpoints.weight_files import read
from repro.errors import ReproError


def pack(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def describe(begin: int = 0, end: int = 4, shape: object = (1,), dtype: str = "F32", **others: object) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **others}


@pytest.fixture
def read_bytes(tmp_path):
    def write_and_read(content: bytes, name: str = "model.safetensors"):
        (tmp_path / name).write_bytes(content)
        return read(tmp_path / name)

    return write_and_read


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth", "model.pkl"])
def test_a_state_dict(read_bytes, name):
    contents = read_bytes(safetensors.torch.save(dict(STATE), metadata={"format": "pt"}), name)
    assert_state(contents, {key: STATE[key] for key in contents.tensors})
    assert set(contents.tensors) == set(STATE)
    assert contents.container == "safetensors"
    assert contents.meta == {"format": "pt"}


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
        torch.uint8, torch.bool,
    ],
)  # fmt: skip
def test_every_type_is_read_as_the_library_reads_it(read_bytes, dtype):
    state = {"w": torch.arange(6).reshape(2, 1, 3).to(dtype), "one": torch.ones((), dtype=dtype), "z": torch.ones(0, 3)}
    content = safetensors.torch.save(state)
    expected = safetensors.torch.load(content)
    contents = read_bytes(content)
    assert_state(contents, {key: expected[key] for key in contents.tensors})
    assert set(contents.tensors) == set(expected)


def test_a_header_of_128_bytes_is_no_pickle(read_bytes):
    """Its first byte is that of a pickle."""
    header = json.dumps({"w": describe()}).encode()
    content = pack(header.ljust(128), struct.pack("<f", 2.0))
    assert content[:1] == b"\x80"
    assert_state(read_bytes(content), {"w": torch.tensor([2.0])})


DATA = bytes(8)
REFUSED = {
    "name twice": (pack(b'{"a":%s,"a":%s}' % ((json.dumps(describe()).encode(),) * 2), DATA[:4]), "'a' is there twice"),
    "field twice": (
        pack(b'{"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}}', DATA[:4]),
        "the key 'dtype' is there twice",
    ),
    "overlap": (pack({"a": describe(), "b": describe()}, DATA[:4]), "overlap"),
    "gap": (pack({"a": describe(), "b": describe(8, 12)}, bytes(12)), "belong to none"),
    "bytes behind": (pack({"a": describe()}, DATA), "claim 4 bytes, where the file has 8"),
    "cut short": (pack({"a": describe(0, 8, (2,))}, DATA[:4]), "claim 8 bytes, where the file has 4"),
    "huge": (pack({"a": describe(0, 2**62, (2**60,))}, DATA), "claim 4611686018427387904 bytes"),
    "another size": (pack({"a": describe(0, 8)}, DATA), "too few or too many bytes"),
    "negative": (pack({"a": describe(0, 4, (-1, -1))}, DATA[:4]), "as the format wants it"),
    "backwards": (pack({"a": describe(4, 0)}, DATA[:4]), "too few or too many bytes"),
    "a float for a length": (pack({"a": describe(0, 4, (1.0,))}, DATA[:4]), "as the format wants it"),
    "a boolean for a length": (pack({"a": describe(0, 4, (True,))}, DATA[:4]), "as the format wants it"),
    "more fields": (pack({"a": describe(more=1)}, DATA[:4]), "as the format wants it"),
    "a list": (pack({"a": []}, b""), "as the format wants it"),
    "an unknown type": (pack({"a": describe(0, 1, (1,), "F8_E4M3")}, DATA[:1]), "of the type 'F8_E4M3'"),
    "metadata": (pack({"__metadata__": {"a": 1}, "a": describe()}, DATA[:4]), "metadata are not texts"),
    "no JSON": (pack(b"{]"), "damaged"),
    "UTF-16": (pack(b"{" + '"a":1}'.encode("utf-16")), "damaged"),
    "NaN": (pack(b'{"a":NaN}'), "as the format wants it"),
    "half a character": (pack(b'{"\\ud800":%s}' % json.dumps(describe()).encode(), DATA[:4]), "damaged"),
    "deep": (pack(b'{"a":' * 100_000), "damaged|as the format wants it"),
    "nothing": (pack({}), "no tensors"),
    "many dimensions": (pack({"a": describe(0, 4, (1,) * 17)}, DATA[:4]), "short list"),
    "a boolean of 2": (pack({"a": describe(0, 1, (1,), "BOOL")}, b"\x02"), "other bytes than 0 and 1"),
    "infinite": (pack({"w": describe()}, struct.pack("<f", float("inf"))), "not finite"),
    "infinite in float32": (pack({"w": describe(0, 8, (1,), "F64")}, struct.pack("<d", 1e300)), "infinite in float32"),
    "negative variance": (pack({"bn.running_var": describe()}, struct.pack("<f", -1.0)), "negative values"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_the_format_forbids_is_refused(read_bytes, kind):
    content, reason = REFUSED[kind]
    with pytest.raises(ReproError, match=reason):
        read_bytes(content)


def test_a_file_that_was_cut_short_is_refused_wherever_it_was_cut(read_bytes):
    content = safetensors.torch.save(dict(STATE))
    for length in range(len(content)):
        with pytest.raises(ReproError):
            read_bytes(content[:length])

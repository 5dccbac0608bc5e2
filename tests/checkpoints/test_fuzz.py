"""Damaged and made-up weights files and registries: a `ReproError` or a sound result, no code, no memory."""

from __future__ import annotations

import copy
import resource
import struct
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from weights_files import (
    STATE,
    code,
    detectron2,
    integer,
    legacy_of,
    mmcv,
    pickle_of,
    text,
    torch_0_1,
    torch_legacy,
    torch_zip,
    with_pickle,
)

from repro.checkpoints import registry
from repro.checkpoints.weight_files import read
from repro.errors import ReproError

FUZZ = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=250,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@pytest.fixture(scope="module")
def canary(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "canary"


@pytest.fixture(scope="module", autouse=True)
def little_memory():
    """One GiB of address space to spare, so that a forged size is not only refused by luck."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    statm = Path("/proc/self/statm")
    if statm.exists():
        in_use = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def read_soundly(content: bytes, name: str, canary: Path) -> bool:
    """Whether `content` is accepted; asserts what must hold of any file."""
    path = canary.with_name(name)
    path.write_bytes(content)
    problem = contents = None
    try:
        contents = read(path)
    except ReproError as error:
        problem = str(error)
    assert not canary.exists()
    if contents is None:
        assert str(path) in problem
        assert "emory" not in problem
        assert "\n" not in problem
        return False
    assert contents.tensors
    for key, tensor in contents.tensors.items():
        key.encode()
        assert type(tensor) is torch.Tensor
        assert not tensor.requires_grad
        assert tensor.isfinite().all()
    assert sum(tensor.nbytes for tensor in contents.tensors.values()) <= 2 * len(content)
    assert all(isinstance(value, (str, int, float, tuple)) for value in contents.meta.values())
    return True


# -- mutations of whole files

FLOATS = {key: value for key, value in STATE.items() if value.is_floating_point()}
FILES = {
    "zip.pth": torch_zip(mmcv()),
    "legacy.pth": torch_legacy(mmcv()),
    "2017.pth": torch_0_1(FLOATS),
    "protocol2.pkl": detectron2(),
    "protocol4.pkl": detectron2(protocol=4),
}
INTERESTING = [
    struct.pack(kind, value)
    for kind, largest in (("<H", 2**15), ("<i", 2**30), ("<q", 2**62), (">q", 2**62))
    for value in (0, 1, 127, largest - 1, largest // 2**10, *([-1] if largest > 2**15 else []))
]
MUTATION = st.tuples(
    st.sampled_from(["flip", "cut", "drop", "repeat", "overwrite", "splice"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 64),
    st.sampled_from(INTERESTING),
    st.sampled_from(sorted(FILES)),
)


def mutated(content: bytes, mutations: list) -> bytes:
    for kind, where, length, value, other in mutations:
        at = int(where * len(content))
        before, part, after = content[:at], content[at : at + length], content[at + length :]
        if kind == "flip":
            content = before + bytes([part[0] ^ 1 << length % 8]) + part[1:] + after if part else content
        elif kind == "cut":
            content = before
        elif kind == "drop":
            content = before + after
        elif kind == "repeat":
            content = before + part + part + after
        elif kind == "overwrite":
            content = before + value + content[at + len(value) :]
        else:
            source = FILES[other]
            start = int(where * len(source))
            content = before + source[start : start + length] + after
    return content


@FUZZ
@given(name=st.sampled_from(sorted(FILES)), mutations=st.lists(MUTATION, min_size=1, max_size=4))
def test_a_damaged_weights_file(canary, name, mutations):
    read_soundly(mutated(FILES[name], mutations), name, canary)


@FUZZ
@given(mutations=st.lists(MUTATION, min_size=1, max_size=3))
def test_a_damaged_pickle_in_a_whole_zip(canary, mutations):
    """Checksums are right, as in a file that was made so."""
    read_soundly(with_pickle(mutated(pickle_of(FILES["zip.pth"]), mutations), mmcv()), "zip.pth", canary)


def test_the_files_are_read_when_nothing_is_damaged(canary):
    for name, content in FILES.items():
        assert read_soundly(content, name, canary)


# -- pickles made by a grammar

NAMES = [
    "collections OrderedDict", "_codecs encode", "torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter", "torch.nn.parameter Parameter", "torch FloatTensor", "torch FloatStorage",
    "torch LongStorage", "numpy dtype", "numpy ndarray", "numpy.core.multiarray _reconstruct",
    "numpy._core.multiarray scalar", "builtins exec", "builtins getattr", "os system", "builtins bytearray",
    "torch UntypedStorage", "torch._utils _rebuild_meta_tensor_no_storage", "torch.serialization load",
]  # fmt: skip
NAME = st.sampled_from(["c{}\n{}\n".format(*name.split()).encode() for name in NAMES])
NUMBER = st.sampled_from([0, 1, 2, 4, 6, 24, -1, 2**31, 2**40, 2**63, 2**2000]).map(integer)
LEAF = st.one_of(
    st.sampled_from([b"N", b"\x88", b"\x89", b")", b"]", b"}", b"G\x7f\xf8" + bytes(6)]),
    NUMBER,
    st.sampled_from(["storage", "0", "cpu", "latin1", "f4", "O8", "<", "state_dict", "model", "w", "_metadata"]).map(
        text
    ),
    st.binary(max_size=24).map(lambda data: b"U" + bytes([len(data)]) + data),
    NAME,
    st.sampled_from([b"h\x00", b"h\x01", b"2", b"0"]),
)


def tupled(parts: list[bytes]) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def storage(key: bytes, numel: bytes) -> bytes:
    return tupled([text("storage"), b"ctorch\nFloatStorage\n", key, text("cpu"), numel]) + b"Q"


def composed(value: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    parts = st.lists(value, max_size=4)
    shape = st.lists(NUMBER, max_size=3).map(tupled)
    tensor = st.builds(
        lambda numel, offset, size, stride: b"ctorch._utils\n_rebuild_tensor\n"
        + tupled([storage(text("0"), numel), offset, size, stride]) + b"R",
        NUMBER, NUMBER, shape, shape,
    )  # fmt: skip
    return st.one_of(
        parts.map(tupled),
        parts.map(lambda items: b"](" + b"".join(items) + b"e"),
        st.lists(st.tuples(LEAF | value, value), max_size=3).map(lambda kv: b"}(" + b"".join(map(b"".join, kv)) + b"u"),
        st.builds(lambda name, arguments: name + tupled(arguments) + b"R", NAME | value, parts),
        st.builds(lambda name, arguments: name + tupled(arguments) + b"\x81", NAME, parts),
        st.builds(lambda target, state: target + state + b"b", value, value),
        value.map(lambda identity: identity + b"Q"),
        value.map(lambda kept: kept + b"q\x00"),
        tensor,
        tensor.map(lambda made: b"}" + text("state_dict") + b"}" + text("w") + made + b"ss"),
    )


PROGRAM = st.builds(
    lambda beginning, parts: beginning + b"".join(parts) + b".",
    st.sampled_from([b"\x80\x02", b"\x80\x04", b""]),
    st.lists(st.recursive(LEAF, composed, max_leaves=12), min_size=1, max_size=3),
)


@FUZZ
@given(program=PROGRAM, container=st.sampled_from(["zip", "legacy", "keys", "plain"]))
def test_a_made_up_pickle(canary, program, container):
    contents = {
        "zip": with_pickle(program),
        "legacy": legacy_of(program, storages=struct.pack("<q", 4) + bytes(16)),
        "keys": legacy_of(b"\x80\x02}.", keys=program),
        "plain": program,
    }
    read_soundly(contents[container], "made.pkl" if container == "plain" else "made.pth", canary)


@FUZZ
@given(data=st.data(), container=st.sampled_from(["zip", "legacy", "plain"]))
def test_code_among_mutations(canary, data, container):
    """Pieces of pickles that would run code, spliced into a sound one."""
    evil = data.draw(st.sampled_from(sorted(code(canary).items())))[1]
    sound = pickle_of(FILES["zip.pth"]) if container != "plain" else FILES["protocol2.pkl"]
    at = data.draw(st.integers(2, len(sound) - 1))
    program = sound[:at] + evil[2:-1] + sound[at:]
    wrap = {"zip": lambda p: with_pickle(p, mmcv()), "legacy": legacy_of, "plain": lambda p: p}
    assert not read_soundly(wrap[container](program), "made.pkl" if container == "plain" else "made.pth", canary) or (
        evil[2:-1] in program  # it fell into a text or into the numbers of an array
    )


# -- the registry

WHOLE = registry.CHECKPOINTS.read_bytes()
SMALL = yaml.safe_load(WHOLE)
SMALL["entries"] = [SMALL["entries"][0], SMALL["entries"][-1]]
SMALL["hosts"] = {name: SMALL["hosts"][name] for name in ("open-mmlab-s3", "onedrive-2019-04")}
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8) | st.binary(max_size=4)
    | st.sampled_from(["https://", "https://[", "https://a/\x1b[2J", "open-mmlab-s3:", "http://a/b", "../x"])
    | st.dates(),
    lambda value: st.lists(value, max_size=3)
    | st.dictionaries(st.text(max_size=5) | st.integers() | st.booleans() | st.none(), value, max_size=3),
    max_leaves=6,
)  # fmt: skip


def load_registry(content: bytes, directory: Path) -> None:
    path = directory / "checkpoints.yaml"
    path.write_bytes(content)
    registry.load.cache_clear()
    problem, entries = str(path), ()
    try:
        entries = registry.load(path).entries
    except ReproError as error:
        problem = str(error)
    assert str(path) in problem
    for entry in entries:
        assert "/" not in entry.file_name
        assert ".." not in entry.file_name


@pytest.fixture(scope="module")
def registry_directory(canary):
    yield canary.parent
    registry.load.cache_clear()


def places(value: object) -> list[tuple]:
    """Every container of `value` with each of its keys."""
    found = []
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inside:
        found += [(value, key), *places(part)]
    return found


WHERE = st.floats(0, 1, exclude_max=True)
CHANGE = st.tuples(WHERE, st.sampled_from(["set", "delete", "add"]), st.text(max_size=5), JUNK)


@FUZZ
@given(changes=st.lists(CHANGE, min_size=1, max_size=3))
def test_a_registry_with_other_values(registry_directory, changes):
    content = copy.deepcopy(SMALL)
    for where, kind, name, value in changes:
        if not (found := places(content)):
            break
        container, key = found[int(where * len(found))]
        if kind == "delete":
            del container[key]
        else:
            container[name if kind == "add" and isinstance(container, dict) else key] = value
    load_registry(yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "surrogatepass"), registry_directory)


SNIPPETS = [
    b"!!python/object/apply:os.system [touch canary]", b"&a [*a]", b"*b", b"{", b"}", b"[" * 5000, b"- " * 3000,
    b"<<: 3\n", b"? [1]\n: 2\n", b"!!binary |\n ==\n", b"0x" + b"f" * 9000, b"9" * 9000, b"1e999", b".nan", b"''",
    b"2019-13-45", b"12:61:99", b"\t", b"\x00", b"\xff", b"\xed\xa0\x80", b"%YAML 9.9\n---\n", b"--- a\n--- b\n", b"~",
    b"!!set {a}", b"!!timestamp 99999", b"!!int x", b"!!float x", b"!!omap [1]", b"&a {<<: *a}", b"? {a: 1}\n",
]  # fmt: skip
EDIT = st.tuples(WHERE, st.integers(0, 40), st.sampled_from([b"", *SNIPPETS]) | st.binary(max_size=3))


@FUZZ
@given(edits=st.lists(EDIT, min_size=1, max_size=3))
def test_a_registry_with_damaged_text(registry_directory, edits):
    content = yaml.safe_dump(SMALL).encode()
    for where, length, snippet in edits:
        at = int(where * len(content))
        content = content[:at] + snippet + content[at + length :]
    load_registry(content, registry_directory)

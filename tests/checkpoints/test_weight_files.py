"""What weights files give, and that whatever else is in a file is refused, does not run, and takes no memory."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from weights_files import (
    MAGIC,
    STATE,
    assert_state,
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

from repro.checkpoints.weight_files import Contents, read
from repro.errors import ReproError

SAVERS = [torch_zip, torch_legacy]


@pytest.fixture
def read_bytes(tmp_path):
    def write_and_read(content: bytes, name: str = "weights.pth") -> Contents:
        (tmp_path / name).write_bytes(content)
        return read(tmp_path / name)

    return write_and_read


# -- what is read


@pytest.mark.parametrize(("save", "container"), [(torch_zip, "torch zip"), (torch_legacy, "torch legacy")])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state"])
def test_a_state_dict_of_torch(read_bytes, save, container, wrapper):
    contents = read_bytes(save(STATE if wrapper is None else {wrapper: STATE, "epoch": 3}))
    assert_state(contents)
    assert contents.container == container
    assert contents.meta == ({} if wrapper is None else {"epoch": 3})


@pytest.mark.parametrize("save", SAVERS)
def test_a_checkpoint_of_mmcv_with_its_meta_and_optimizer(read_bytes, save):
    contents = read_bytes(save(mmcv()))
    assert_state(contents)
    assert contents.meta["CLASSES"] == ("person", "bicycle")
    assert contents.meta["config"].startswith("model = dict(")
    assert (contents.meta["epoch"], contents.meta["iter"]) == (12, 87960)
    assert (contents.meta["lr"], contents.meta["best"]) == (0.02, 0.25)  # numpy's scalars
    assert {type(value) for value in contents.meta.values()} <= {str, int, float, tuple}


@pytest.mark.parametrize("save", SAVERS)
def test_what_torch_itself_reads_without_code_beside_the_weights(read_bytes, save):
    """As torch.load(weights_only=True): schedulers keep a Counter, and people add sizes, devices and types."""
    scheduler = torch.optim.lr_scheduler.MultiStepLR(torch.optim.SGD([torch.zeros(1)], lr=0.1), milestones=[8, 11])
    value = {
        "model": STATE, "lr_scheduler": scheduler.state_dict(), "shape": torch.Size([2, 3]),
        "where": torch.device("cuda", 1), "device": torch.device("cpu"), "dtype": torch.bfloat16,
    }  # fmt: skip
    content = save(value)
    assert torch.load(io.BytesIO(content), weights_only=True)["lr_scheduler"]["milestones"] == {8: 1, 11: 1}
    contents = read_bytes(content)
    assert_state(contents)
    assert contents.meta == {"shape": (2, 3), "where": "cuda:1", "device": "cpu"}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_of_detectron2(read_bytes, protocol):
    contents = read_bytes(detectron2(protocol=protocol, iteration=np.int64(9)), "model.pkl")
    assert_state(contents)
    assert contents.container == "detectron2 pickle"
    assert contents.meta == {"__author__": "Detectron2 Model Zoo", "iteration": 9}


@pytest.mark.parametrize("protocol", [2, 5])
def test_arrays_of_detectron2_in_any_order_of_bytes_and_axes(read_bytes, protocol):
    expected = np.arange(6.0).reshape(2, 3)
    arrays = {"big": expected.astype(">f8"), "fortran": np.asfortranarray(expected), "half": expected.astype("f2")}
    contents = read_bytes(pickle.dumps({"model": arrays}, protocol=protocol), "model.pkl")
    for tensor in contents.tensors.values():
        assert tensor.is_contiguous()
        assert torch.equal(tensor.double(), torch.from_numpy(expected))
    assert contents.tensors["half"].dtype == torch.float16


def test_a_pickle_of_python_2(read_bytes):
    """Python 2 wrote the bytes of an array, and every text, as a str without encoding."""
    data = np.array([1.0, -2.0], np.float32).tobytes()

    def string(value: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(value)) + value

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
        b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    )
    program = b"\x80\x02}U\x05model}" + string(b"conv1_w") + array + string(data) + b"tbss."
    assert list(pickle.loads(program, encoding="latin1")["model"]) == ["conv1_w"]  # the file is as Python reads it
    contents = read_bytes(program, "model.pkl")
    assert torch.equal(contents.tensors["conv1_w"], torch.tensor([1.0, -2.0]))


def test_a_state_dict_of_torch_0_1(read_bytes):
    """torchvision's files of 2017 hold parameters with a state."""
    state = {key: value for key, value in STATE.items() if value.is_floating_point()}
    assert_state(read_bytes(torch_0_1(state)), state)


@pytest.mark.parametrize("save", SAVERS)
def test_parameters_views_and_tied_weights(read_bytes, save):
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    state = {
        "parameter": torch.nn.Parameter(weight), "transposed": weight.t(), "part": weight[1:3, ::2], "tied": weight,
        "scalar": torch.tensor(2.5), "empty": torch.empty(0, 3),
    }  # fmt: skip
    assert_state(read_bytes(save(state)), state)


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32, torch.uint8, torch.bool])
def test_dtypes_stay(read_bytes, save, dtype):
    state = {"w": torch.tensor([0, 1, 1]).to(dtype)}
    assert_state(read_bytes(save(state)), state)


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "store").write_bytes(torch_zip(STATE))
    (tmp_path / "weights.pth").symlink_to("store")
    assert_state(read(tmp_path / "weights.pth"))


# -- code


def torchscript() -> bytes:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    stream = io.BytesIO()
    torch.jit.save(torch.jit.trace(Net(), torch.ones(1)), stream)
    return stream.getvalue()


def archived(program: bytes) -> bytes:
    """The tar archive that torch wrote before 0.2."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(program)
            archive.addfile(entry, io.BytesIO(program))
    return stream.getvalue()


CONTAINERS = {
    "plain pickle": ("weights.pth", lambda program: program),
    "Detectron2 pickle": ("weights.pkl", lambda program: program),
    "torch zip": ("weights.pth", with_pickle),
    "torch zip named pkl": ("weights.pkl", with_pickle),
    "legacy value": ("weights.pth", lambda program: legacy_of(program)),
    "legacy header": ("weights.pth", lambda program: pickle.dumps(MAGIC, protocol=2) + program),
    "legacy keys": ("weights.pth", lambda program: legacy_of(pickle.dumps({}, protocol=2), keys=program)),
    "tar": ("weights.pth", archived),
    "tar in disguise": ("weights.tar", archived),
    "gzip": ("weights.pth", gzip.compress),
}


def test_the_pickles_do_hold_code(tmp_path):
    """The control of the tests below: Python's own unpickler runs each of them."""
    canary = tmp_path / "canary"
    for kind, program in code(canary).items():
        with contextlib.suppress(Exception):  # some of them fail after the code has run
            pickle.loads(program)
        assert canary.exists(), kind
        canary.unlink()


@pytest.mark.parametrize("container", CONTAINERS)
def test_code_is_refused_and_does_not_run(tmp_path, container):
    name, contain = CONTAINERS[container]
    canary = tmp_path / "canary"
    for kind, program in code(canary).items():
        (tmp_path / name).write_bytes(contain(program))
        with pytest.raises(ReproError) as error:
            read(tmp_path / name)
        assert str(tmp_path / name) in str(error.value), kind
        assert "Nothing in the file was run" in str(error.value), kind
        assert not canary.exists(), kind


@pytest.mark.parametrize(
    ("content", "name"), [(torch_zip(mmcv()), "a.pth"), (torch_legacy(mmcv()), "a.pth"), (detectron2(), "a.pkl")]
)
def test_no_other_reader_sees_the_file(read_bytes, monkeypatch, content, name):
    def load(*arguments: object, **options: object) -> None:
        raise AssertionError("read by another reader too")

    for module, function in ((torch, "load"), (pickle, "loads"), (pickle, "load"), (zipfile.ZipFile, "open")):
        monkeypatch.setattr(module, function, load)
    assert_state(read_bytes(content, name))


def test_code_is_named(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(with_pickle(code(tmp_path / "canary")["script"]))
    with pytest.raises(ReproError, match=r"its pickle asks for 'runpy\.run_path' \(byte \d+\)"):
        read(path)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_torchscript_archive_is_refused(read_bytes):
    with pytest.raises(ReproError, match="TorchScript archive, which holds code"):
        read_bytes(torchscript())


def test_a_pickle_of_arrays_is_no_torch_file(read_bytes):
    with pytest.raises(
        ReproError, match=r"plain pickle, which only Detectron2's weights are, whose names end in \.pkl"
    ):
        read_bytes(detectron2())


# -- what is no weights file


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"\n <!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (gzip.compress(b"weights", mtime=0), "compressed with gzip"),
        (b"random text", "begins with b'random t'"),
        (b"PK\x03\x04 and no more", "damaged"),
        (torch_zip([torch.ones(2)]), "holds a list, no state dict"),
        (torch_zip({}), "no tensors"),
        (torch_zip({"epoch": 3}), "its entry 'epoch' is of type int"),
        (torch_zip({1: torch.ones(2)}), "its entry 1 is of type Tensor"),
        (torch_zip({("a",): torch.ones(2)}), "a dict has a key of type tuple"),
        (torch_zip({"state_dict": STATE, "model": STATE}), r"several state dicts, state_dict and model"),
        (torch_zip({"w": torch.tensor([1.0, float("nan")])}), "the weight 'w' has values that are not finite"),
        (torch_legacy({"a": torch.ones(1), "w": torch.tensor([-float("inf")])}), "the weight 'w' has values"),
        (torch_zip({"w": torch.ones(2, dtype=torch.complex64)}), "ComplexFloatStorage"),
        (torch_zip({"w": torch.ones(2).to_sparse()}), "sparse"),
        (with_pickle(b"\x80\x02ctorch._utils\n_rebuild_qtensor\n)R."), "qtensor"),
        (torch_zip({"w": torch.empty(2**40, device="meta")}), "meta"),
        (torch_zip({"w": torch.ones(2), "x": slice(1)}), "slice"),
    ],
)
def test_other_files_are_refused_with_the_reason(read_bytes, content, reason):
    with pytest.raises(ReproError, match=reason):
        read_bytes(content)


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"weights"), torch_zip({"w": torch.tensor([float("nan")])}), torch_zip({"m": STATE, "ema": STATE})],
    ids=["gzip", "nan", "ema"],  # the first one's bytes tell the time
)
def test_what_another_copy_would_not_help_is_not_to_be_fetched_again(read_bytes, content):
    with pytest.raises(ReproError) as error:
        read_bytes(content)
    assert "Fetch it again" not in str(error.value)


def test_a_machine_with_too_little_memory_is_no_damaged_file(read_bytes, monkeypatch):
    def fail(content: bytes) -> None:
        raise MemoryError

    monkeypatch.setattr("repro.checkpoints.torch_files.parse_zip", fail)
    with pytest.raises(ReproError, match=r"there is not enough memory\. Close other programs") as error:
        read_bytes(torch_zip(STATE))
    assert "Fetch it again" not in str(error.value)


def test_paths_that_are_no_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for path in (tmp_path, tmp_path / "fifo", tmp_path / "zero"):
        with pytest.raises(ReproError, match="is no regular file"):
            read(path)
    for name in ("missing", "dangling", "loop"):
        with pytest.raises(ReproError, match=r"does not exist|leads back to itself"):
            read(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "weights.pth").write_bytes(torch_zip(STATE))
    (tmp_path / "weights.pth").chmod(0)
    with pytest.raises(ReproError, match="Permission denied"):
        read(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("content", "name"),
    [(torch_zip(mmcv()), "a.pth"), (torch_legacy(mmcv()), "a.pth"), (detectron2(), "a.pkl")],
    ids=["zip", "legacy", "detectron2"],
)
def test_a_file_that_was_cut_short_is_refused_wherever_it_was_cut(read_bytes, content, name):
    for length in range(0, len(content) - 1, len(content) // 60):
        with pytest.raises(ReproError):
            read_bytes(content[:length], name)


def test_a_bit_that_flipped_in_a_weight_is_seen(read_bytes):
    content = bytearray(torch_zip(STATE))
    content[content.find(STATE["conv1.weight"].numpy().tobytes()) + 5] ^= 1
    with pytest.raises(ReproError, match="checksum"):
        read_bytes(bytes(content))


# -- forged claims


def tensor_program(storage_numel: int, size: tuple, stride: tuple, offset: int = 0, repeat: int = 1) -> bytes:
    """The pickle of a state dict whose keys all are one tensor, with any claims."""
    shape = [b"(" + b"".join(map(integer, numbers)) + b"t" for numbers in (size, stride)]
    storage = (
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + integer(storage_numel) + b"tQ"
    )
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + storage + integer(offset) + b"".join(shape) + b"tRq\x01"
    return (
        b"\x80\x02}" + text("w0") + tensor + b"s" + b"".join(text(f"w{i}") + b"h\x01s" for i in range(1, repeat)) + b"."
    )


def array_program(shape: tuple, data: bytes, code: bytes = b"f4") -> bytes:
    """The pickle of a Detectron2 model with one array, with any claims."""
    dtype = (
        b"cnumpy\ndtype\nU"
        + bytes([len(code)])
        + code
        + b"K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01("
    sides = b"".join(map(integer, shape)) + b"t"
    return b"\x80\x02}U\x05model}U\x01w" + array + sides + dtype + b"\x89" + data + b"tbss."


def deflated(size: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickle_of(torch_zip(STATE)))
        archive.writestr("a/data/0", bytes(size))
    return stream.getvalue()


def overlapping(count: int) -> bytes:
    """A zip whose directory lists one stored entry many times under other names."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", bytes(100_000))
        entry = archive.infolist()[0]
        for number in range(count):
            copied = zipfile.ZipInfo(f"a/data/{number}")
            copied.header_offset, copied.CRC = entry.header_offset, entry.CRC
            copied.file_size = copied.compress_size = entry.file_size
            archive.filelist.append(copied)
    return stream.getvalue()


HUGE = 2**40
FLOATS = b"\x00" * 40
FORGED = {
    "zip: storage": ("a.pth", with_pickle(tensor_program(HUGE, (4,), (1,))), "claim 4398046511104 bytes"),
    "zip: negative storage": ("a.pth", with_pickle(tensor_program(-4, (0,), (1,))), "reaches beyond|claim -16 bytes"),
    "zip: expanded view": ("a.pth", with_pickle(tensor_program(24, (HUGE,), (0,))), "reaches beyond its storage of 24"),
    "zip: view beyond": ("a.pth", with_pickle(tensor_program(24, (4,), (8,))), "reaches beyond its storage of 24"),
    "zip: offset": ("a.pth", with_pickle(tensor_program(24, (4,), (1,), offset=21)), "reaches beyond its storage"),
    "zip: negative stride": ("a.pth", with_pickle(tensor_program(24, (4,), (-1,))), "non-negative"),
    "zip: many dimensions": ("a.pth", with_pickle(tensor_program(24, (2**2000,) * 9000, (0,) * 9000)), "short list"),
    "zip: one weight 40000 times": (
        "a.pth", with_pickle(tensor_program(24, (24,), (1,), repeat=40_000)), "claim to be larger than the file"
    ),
    "zip: compressed": ("a.pth", deflated(50_000_000), "compressed or encrypted zip archive"),
    "zip: overlapping entries": ("a.pth", overlapping(3000), "lies over another one"),
    "legacy: storage": ("a.pth", legacy_of(tensor_program(HUGE, (4,), (1,)), b"\x80\x02]" + text("0") + b"a.",
        struct.pack("<q", HUGE) + FLOATS), "claim 4398046511104 bytes in storage '0', where the file has 40"),
    "legacy: negative storage": ("a.pth", legacy_of(tensor_program(0, (0,), (1,)), b"\x80\x02]" + text("0") + b"a.",
        struct.pack("<q", -(2**62)) + FLOATS), "claim 0 bytes"),
    "legacy: storage not listed": ("a.pth", legacy_of(tensor_program(10, (10,), (1,)), storages=FLOATS), "it lists"),
    "legacy: file of another length": ("a.pth", legacy_of(tensor_program(10, (10,), (1,)),
        b"\x80\x02]" + text("0") + b"a.", struct.pack("<q", 9) + FLOATS), "claim 40 bytes"),
    "pkl: shape": ("a.pkl", array_program((HUGE, HUGE), b"U\x28" + FLOATS), "claims a shape of another number"),
    "pkl: negative shape": ("a.pkl", array_program((-1, 10), b"U\x28" + FLOATS), "claims a shape of another number"),
    "pkl: objects": ("a.pkl", array_program((1,), b"]Na", b"O8"), "no real numbers"),
    "pkl: long text": ("a.pkl", array_program((1,), b"U\x28" + FLOATS, b"U9999999"), "no real numbers"),
    "pkl: list of objects": ("a.pkl", array_program((1,), b"]"), "not as numpy writes"),
    "pkl: subarrays": ("a.pkl", array_program((1,), b"U\x28" + FLOATS, b"(99999999,)f4"), "no real numbers"),
    "pkl: long string": ("a.pkl", b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"x", "damaged"),
    "pkl: long bytes": ("a.pkl", b"\x80\x04\x8e" + struct.pack("<Q", HUGE) + b"x", "damaged"),
    "pkl: long bytearray": ("a.pkl", b"\x80\x05\x96" + struct.pack("<Q", HUGE) + b"x", "damaged"),
    "pkl: long integer": ("a.pkl", b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x", "damaged"),
    "pkl: long frame": ("a.pkl", b"\x80\x04\x95" + struct.pack("<Q", HUGE) + b"}.", "no tensors"),
    "pkl: far memo": ("a.pkl", b"\x80\x02}r" + struct.pack("<I", 2**32 - 1) + b".", "no tensors"),
    "pkl: bytearray of a size": ("a.pkl", b"\x80\x02cbuiltins\nbytearray\n" + integer(HUGE) + b"\x85R.", "bytearray"),
    "zip: tensor of a size": (
        "a.pth", with_pickle(b"\x80\x02}" + text("w") + b"ctorch\nFloatTensor\n" + integer(HUGE) + b"\x85Rs."),
        "damaged",
    ),
    "pkl: many dicts": ("a.pkl", b"\x80\x02" + b"}" * 1_000_000 + b".", "more than 500000 instructions"),
    "pkl: deep lists": ("a.pkl", b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".", "holds a list"),
    "zip: deep tuples": ("a.pth", with_pickle(b"\x80\x02)" + b"\x85" * 150_000 + b"."), "holds a tuple"),
    "zip: deep tuple as a key": ("a.pth", with_pickle(b"\x80\x02})" + b"\x85" * 150_000 + b"K\x01s."), "of type tuple"),
    "zip: doubling tuple as a key": (
        "a.pth", with_pickle(b"\x80\x02})" + b"q\x01h\x01\x86" * 200 + b"K\x01s."), "of type tuple"
    ),
    "pkl: doubling list as a dtype": (
        "a.pkl", b"\x80\x02cnumpy\ndtype\n)" + b"q\x01h\x01\x86" * 200 + b"\x85R.", "no real numbers"
    ),
    "pkl: doubling tuple called": ("a.pkl", b"\x80\x02)" + b"q\x01h\x01\x86" * 200 + b")R.", "no function"),
    "zip: doubling tuple as a state": (
        "a.pth", with_pickle(b"\x80\x02ccollections\nOrderedDict\n)R)" + b"q\x01h\x01\x86" * 200 + b"b."),
        "sets attributes",
    ),
    "pkl: one text encoded often": (
        "a.pkl", b"\x80\x02(c_codecs\nencode\nq\x02" + text("x" * 1_000_000) + text("latin1") + b"\x86q\x01"
        + b"h\x02h\x01R" * 9000 + b"t.", "several times the size of the file"
    ),
    "pkl: one list made a dict often": (
        "a.pkl", b"\x80\x02ccollections\nOrderedDict\nq\x02](" + b"".join(integer(i) + b"N\x86" for i in range(9000))
        + b"e\x85q\x01(" + b"h\x02h\x01R" * 9000 + b"t.", "several times the size of the file"
    ),
    "legacy: attributes of a dict": (
        "a.pth", legacy_of(b"\x80\x02ccollections\nOrderedDict\n)R}" + text("items") + b"K\x01sb."), "sets attributes"
    ),
}  # fmt: skip


@pytest.mark.parametrize("forged", FORGED)
def test_forged_claims_are_refused(read_bytes, forged):
    name, content, reason = FORGED[forged]
    with pytest.raises(ReproError, match=reason):
        read_bytes(content, name)


IN_LITTLE_MEMORY = """
import resource, sys
import torch
from pathlib import Path
from repro.checkpoints import weight_files
from repro.checkpoints.weight_files import read
from repro.errors import ReproError

read(Path(sys.argv[1]))
address_space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (address_space + 2**28,) * 2)
read(Path(sys.argv[1]))
for path in sys.argv[2:]:
    try:
        read(Path(path))
    except ReproError as error:
        assert "emory" not in str(error), error
    else:
        raise AssertionError(path)
try:
    torch.empty(2**28 // 4)
except RuntimeError:
    print("limited")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc and its limit of address space")
def test_forged_claims_take_no_memory(tmp_path):
    """Every forged file is refused in an address space with 256 MiB to spare, whatever it claims."""
    paths = [tmp_path / "whole.pth"]
    paths[0].write_bytes(torch_zip(mmcv()))
    for number, (name, content, _) in enumerate(FORGED.values()):
        paths.append(tmp_path / f"{number}{name}")
        paths[-1].write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", IN_LITTLE_MEMORY, *map(str, paths)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "limited\n"

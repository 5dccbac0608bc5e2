"""Small weights files of every kind that is read, and files that hold code, for the tests of reading."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import pickle
import runpy
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

from repro.checkpoints import hub_directories
from repro.checkpoints.safetensors_files import serialise
from repro.checkpoints.weight_files import Contents

STATE = OrderedDict(
    {
        "conv1.weight": torch.linspace(-1, 1, 24).reshape(2, 3, 2, 2),
        "bn1.running_var": torch.tensor([0.5, 2.0]),
        "bn1.num_batches_tracked": torch.tensor(7),
    }
)
MAGIC = 0x1950A86A20F9469CFC6C


def assert_state(contents: Contents, state=STATE) -> None:
    assert list(contents.tensors) == list(state)
    for key, expected in state.items():
        tensor = contents.tensors[key]
        assert type(tensor) is torch.Tensor
        assert tensor.dtype == expected.dtype
        assert tensor.device.type == "cpu"
        assert not tensor.requires_grad
        assert torch.equal(tensor, expected.detach())


def mmcv(state: dict = STATE) -> dict:
    """What mmcv's save_checkpoint writes for a model and its optimizer."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.02, momentum=0.9)
    weight.sum().backward()
    optimizer.step()
    state = OrderedDict(state)
    state._metadata = OrderedDict({"": {"version": 1}, "bn1": {"version": 2}})
    meta = {
        "mmdet_version": "1.0rc0+d3ca926", "config": "model = dict(\n    depth=50)\n", "epoch": 12, "iter": 87960,
        "CLASSES": ("person", "bicycle"), "mmcv_version": "0.2.10", "time": "Mon Jun  3 10:00:00 2019",
        "lr": np.float64(0.02), "best": np.float32(0.25), "env_info": "linux", "hook_msgs": {"last": np.int64(3)},
    }  # fmt: skip
    return {"meta": meta, "state_dict": state, "optimizer": optimizer.state_dict()}


def torch_zip(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def torch_legacy(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def detectron2(state: dict = STATE, protocol: int = 2, **beside: object) -> bytes:
    model = {key: value.numpy() for key, value in state.items()}
    return pickle.dumps({"model": model, "__author__": "Detectron2 Model Zoo", **beside}, protocol=protocol)


def torch_0_1(state: dict) -> bytes:
    """The file of a state dict as torch 0.1 wrote it: float parameters that are Python objects with a state."""
    stream = io.BytesIO()
    for header in (MAGIC, 1001, {"protocol_version": 1001, "little_endian": True}):
        pickle.dump(header, stream, protocol=2)
    stream.write(b"\x80\x02ccollections\nOrderedDict\n)R(")
    for number, (key, value) in enumerate(state.items()):
        stream.write(text(key) + b"ctorch.nn.parameter\nParameter\n)\x81(ctorch._utils\n_rebuild_tensor\n(")
        stream.write(b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(str(number)) + text("cpu"))
        stream.write(integer(value.numel()) + b"NtQ" + integer(0))
        for numbers in (value.shape, value.stride()):
            stream.write(b"(" + b"".join(map(integer, numbers)) + b"t")
        stream.write(b"tRNccollections\nOrderedDict\n)R\x88\x89tb")
    stream.write(b"u.")
    pickle.dump([str(number) for number in range(len(state))], stream, protocol=2)
    for value in state.values():
        stream.write(struct.pack("<q", value.numel()) + value.numpy().tobytes())
    return stream.getvalue()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value: int) -> bytes:
    """The instruction for an integer of any size up to 254 bytes."""
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def with_pickle(program: bytes, value: object = STATE) -> bytes:
    """The zip that torch.save writes for `value`, its pickle replaced; checksums are right."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(torch_zip(value))) as old, zipfile.ZipFile(stream, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, program if entry.filename.endswith("data.pkl") else old.read(entry))
    return stream.getvalue()


def pickle_of(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def legacy_of(program: bytes, keys: bytes = b"\x80\x02].", storages: bytes = b"") -> bytes:
    """A file of torch before 1.6 whose value is `program`."""
    return b"".join(pickle.dumps(part, protocol=2) for part in (MAGIC, 1001, {})) + program + keys + storages


class Calls:
    """An object that is pickled as a call."""

    def __init__(self, function: object, *arguments: object):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def code(canary: Path) -> dict[str, bytes]:
    """Pickles that make the file `canary` when `pickle` loads them, each in another way."""
    make = f"open({str(canary)!r}, 'w').close()"
    touch = f"touch {canary}"
    script = canary.with_suffix(".script")
    script.write_text(make)
    run = b"cbuiltins\nexec\n" + text(make) + b"\x85R"
    script.with_suffix(".pth").write_bytes(torch_legacy(Calls(exec, make)))
    load = functools.partial(torch.load, weights_only=False)
    simple = pickle.dumps(Calls(exec, make), protocol=2)
    return {
        "reduce": pickle.dumps(Calls(os.system, touch), protocol=2),
        "reduce, as torch.save's protocol 4": pickle.dumps(Calls(os.system, touch), protocol=4),
        "text protocol": pickle.dumps(Calls(exec, make), protocol=0),
        "Python 2 name": b"\x80\x02c__builtin__\neval\n" + text(make) + b"\x85R.",
        "instance": b"(S" + repr(make).encode() + b"\nibuiltins\nexec\n.",
        "object": b"\x80\x02(cbuiltins\nexec\n" + text(make) + b"o.",
        "getattr chain": b"\x80\x02cbuiltins\ngetattr\ncbuiltins\n__import__\n" + text("os") + b"\x85R" + text("system")
        + b"\x86R" + text(touch) + b"\x85R.",
        "another loader": pickle.dumps(Calls(pickle.loads, simple), protocol=2),
        "torch.load": pickle.dumps(Calls(load, script.with_suffix(".pth")), protocol=2),
        "script": pickle.dumps(Calls(runpy.run_path, str(script)), protocol=2),
        "in a state dict": pickle.dumps({"state_dict": {"w": Calls(exec, make)}}, protocol=2),
        "as a key": b"\x80\x02}" + run + b"K\x01s.",
        "in a tensor's arguments": b"\x80\x02ctorch._utils\n_rebuild_tensor\n(" + run + b"K\x00))t0.",
        "in an attribute": b"\x80\x02ccollections\nOrderedDict\n)R}" + text("_metadata") + run + b"sb.",
        "as the name of a storage": b"\x80\x02(" + text("storage") + run + text("0") + text("cpu") + b"K\x01t0.",
        "dropped at once": b"\x80\x02" + run + b"0}.",
    }  # fmt: skip


def write_exported(
    directory: Path,
    state: dict,
    experiment: str = "imagenet-r50-gc-r16",
    profile: str = "mini",
    network: str = "0" * 64,
) -> Path:
    """Write a directory as `repro export hub` does, without card and record."""
    weights = serialise(state)
    config = hub_directories.HubConfig(
        architectures=["ResNet"],
        id2label={"0": "one"},
        gcnet_repro=hub_directories.ExportedWeights(
            package="gcnet-repro 1.0", experiment=experiment, profile=profile, engine="torchvision", seed=3,
            network_sha256=network, trained_sha256="1" * 64, weights_sha256=hashlib.sha256(weights).hexdigest(),
        ),
    )  # fmt: skip
    directory.mkdir()
    (directory / hub_directories.WEIGHTS).write_bytes(weights)
    (directory / hub_directories.CONFIG).write_text(config.model_dump_json())
    return directory

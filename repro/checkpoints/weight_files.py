"""Weights files, read without executing anything that they hold and without memory beyond what their size justifies.

Two kinds are read: what `torch.save` writes (since 1.6 a zip, before that a sequence of pickles: the authors' files of
2019), and Detectron2's `.pkl`, a pickle of numpy arrays. Each pickle is interpreted as data first (`pickles`), and what
it claims is compared with what the file holds; only then `torch.load(weights_only=True)` makes the tensors of a torch
file.
"""

from __future__ import annotations

import io
import mmap
import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from repro.checkpoints.pickle_standins import NUMPY, ArrayStandin, Refused, StorageStandin
from repro.checkpoints.pickles import interpret
from repro.errors import UNREADABLE, ReproError

if TYPE_CHECKING:
    from torch import Tensor

_DAMAGE = (*UNREADABLE, ArithmeticError, zipfile.BadZipFile)
_LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)  # the number with which torch.save began before 1.6
_WRAPPERS = ("state_dict", "model", "model_state")  # OpenMMLab; Detectron2 and torchvision; pytorchvideo
_OTHERS = {
    b"<": "an HTML or XML page: the download gave a web page (a login, an error, a preview) instead of the file",
    b"version https://git-lfs": "a git-lfs pointer: the file itself is fetched with `git lfs pull`",
    b"\x1f\x8b": "compressed with gzip: unpack it first",
    b"BZh": "compressed with bzip2: unpack it first",
    b"\xfd7zXZ": "compressed with xz: unpack it first",
    b"\x89HDF": "an HDF5 file, which is not read here",
}


@dataclass(frozen=True)
class Contents:
    """What a weights file holds.

    `tensors` are on the CPU, of the file's dtype (half precision is not widened), finite, without gradient, by
    parameter name in the file's order; some may share memory as they did when saved. `meta` has what else the file
    states in plain numbers, text, and tuples of them (its "meta" and its top level; optimizer states are left out).
    """

    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    container: str  #: "torch zip", "torch legacy" or "detectron2 pickle"


def read(path: Path) -> Contents:
    """Read the weights in `path`. Nothing that the file holds is executed.

    Symbolic links to files are followed. The state dict is the file's top level or its "state_dict", "model" or
    "model_state".

    Raises:
        ReproError: the file is missing, no regular file, damaged, of another format, asks for anything but numbers,
            text and tensors, claims more than it holds, or has a weight that is not finite.
    """
    path = Path(path)
    if not path.is_file():
        reason = "is no regular file" if path.exists() else "does not exist"
        raise ReproError(f"weights {path} cannot be read: the path {reason}. Give the path of the weights file itself.")
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                raise Refused("the file is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                value, container = _load(file, content, path.suffix)
        return _build_contents(value, container, path.stat().st_size)
    except Refused as error:
        reason = str(error)
    except OSError as error:
        reason = error.strerror or str(error)
    except MemoryError:
        reason = "there is not enough memory"
    except _DAMAGE as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        reason = f"it is damaged ({''.join(filter(str.isprintable, first))})"
    raise ReproError(
        f"weights {path} cannot be read: {reason}. Nothing in the file was run. Fetch it again from its publisher, or "
        "give a file of a state dict that torch.save wrote."
    )


def _load(file: BinaryIO, content: mmap.mmap, suffix: str) -> tuple[Any, str]:
    """The value in the file and the name of its format."""
    if content[:4] == b"PK\x03\x04":
        _check_zip(file, len(content))
        return _torch_load(file), "torch zip"
    if content[: len(_LEGACY)] == _LEGACY:
        _check_legacy(content)
        return _torch_load(file), "torch legacy"
    if content[:1] == b"\x80":
        if suffix != ".pkl":
            raise Refused("it is a plain pickle, which only Detectron2's weights are, whose names end in .pkl")
        return interpret(content, len(content), tensors=False)[0], "detectron2 pickle"
    if content[257:262] == b"ustar":
        raise Refused("it is a tar archive (torch wrote such files before 0.2), which cannot be read safely")
    for beginning, meaning in _OTHERS.items():
        if content[:64].lstrip().startswith(beginning):
            raise Refused(f"it is {meaning}")
    raise Refused(f"it begins with {bytes(content[:8])!r}, as no torch file and no pickle does")


def _torch_load(file: BinaryIO) -> Any:
    import torch

    file.seek(0)
    with warnings.catch_warnings(), torch.serialization.safe_globals([(call, name) for name, call in NUMPY.items()]):
        warnings.simplefilter("ignore")  # of pickle protocols
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # its message recommends to load the file unsafely
            raise Refused("its pickle is not as torch.save writes it") from None


def _check_zip(file: BinaryIO, size: int) -> None:
    """Refuse a zip that is not as torch.save writes it: entries stored plainly, each tensor's bytes all there."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if len(entries) != len(archive.infolist()) or len({name.split("/")[0] for name in entries}) != 1:
            raise Refused("it is a zip archive with two entries of one name or several folders, not a torch file")
        top = next(iter(entries)).split("/")[0]
        if f"{top}/constants.pkl" in entries or any(name.startswith(f"{top}/code/") for name in entries):
            raise Refused("it is a TorchScript archive, which holds code; a state dict is needed")
        if f"{top}/data.pkl" not in entries:
            raise Refused("it is a zip archive without a data.pkl, not a torch file")
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries.values()):
            raise Refused("it is a compressed or encrypted zip archive, which torch.save does not write")
        if sum(entry.file_size for entry in entries.values()) > size:
            raise Refused("its entries claim to be larger than the file")
        damaged = archive.testzip()  # torch does not compare the checksums of tensors
        if damaged is not None:
            raise Refused(f"the checksum of its entry {damaged!r} is wrong: it is damaged")
        with archive.open(f"{top}/data.pkl") as stream:
            _, storages = interpret(io.BytesIO(stream.read()), size, tensors=True)
        for storage in storages.values():
            entry = entries.get(f"{top}/data/{storage.key}")
            if entry is None or entry.file_size != storage.numel * storage.itemsize:
                raise _describe_short(storage, 0 if entry is None else entry.file_size)


def _check_legacy(content: mmap.mmap) -> None:
    """Refuse a file of torch before 1.6 without its parts: number, version, system, value, storage keys, storages."""
    size = len(content)
    for _ in range(3):
        interpret(content, size, tensors=False)
    _, storages = interpret(content, size, tensors=True)
    keys, _ = interpret(content, size, tensors=False)
    if type(keys) is not list or not all(type(key) is str for key in keys) or sorted(keys) != sorted(storages):
        raise Refused("the storages that it lists are not those that its tensors use")
    for key in keys:
        storage, (numel,) = storages[key], struct.unpack("<q", content.read(8))
        held = min(numel * storage.itemsize, size - content.tell())
        if numel < 0 or held != storage.numel * storage.itemsize:
            raise _describe_short(storage, held)
        content.seek(held, 1)


def _describe_short(storage: StorageStandin, held: int) -> Refused:
    claimed = storage.numel * storage.itemsize
    return Refused(f"its tensors claim {claimed} bytes in storage {storage.key!r:.40}, where the file has {held}")


def _build_contents(value: object, container: str, size: int) -> Contents:
    """The state dict and what is stated beside it, from the whole value of a file of `size` bytes."""
    if not isinstance(value, dict):
        raise Refused(f"it holds a {type(value).__name__}, no state dict (a mapping of parameter names to tensors)")
    wrappers = [name for name in _WRAPPERS if isinstance(value.get(name), dict)]
    if len(wrappers) > 1:
        raise Refused(f"it holds several state dicts ({', '.join(wrappers)})")
    state, beside = (value[wrappers[0]], value) if wrappers else (value, {})
    tensors = {key: _to_tensor(key, entry) for key, entry in _check_size(state, size)}
    if not tensors:
        raise Refused("it holds no tensors")
    meta = beside.get("meta")
    stated = {**beside, **meta} if isinstance(meta, dict) else beside
    plain = {key: _to_plain(entry) for key, entry in stated.items() if isinstance(key, str)}
    return Contents(tensors, {key: entry for key, entry in plain.items() if entry is not None}, container)


def _check_size(state: dict, size: int) -> Iterator[tuple[str, Tensor | ArrayStandin]]:
    """Yield the items of a state dict, if they are tensors and not much more than a file of `size` bytes holds."""
    import torch

    for key, entry in state.items():
        if not isinstance(key, str) or not key or not isinstance(entry, (torch.Tensor, ArrayStandin)):
            raise Refused(
                f"its entry {key!r:.100} is of type {type(entry).__name__}: not a state dict (a mapping of parameter "
                "names to tensors)"
            )
    if (
        sum(entry.value.nbytes if isinstance(entry, ArrayStandin) else entry.nbytes for entry in state.values())
        > 2 * size
    ):
        raise Refused("its tensors claim to be larger than the file")  # 2: some weights are tied
    yield from state.items()


def _to_tensor(key: str, entry: Tensor | ArrayStandin) -> Tensor:
    import torch

    if isinstance(entry, ArrayStandin):
        tensor = torch.from_numpy(np.array(entry.value, dtype=entry.value.dtype.newbyteorder("="), order="C"))
    else:
        tensor = entry.detach()
    if not torch.isfinite(tensor).all():
        raise Refused(f"the weight {key!r:.100} has values that are not finite (NaN or infinity)")
    return tensor


def _to_plain(value: object) -> str | int | float | tuple | None:
    """`value` if it is text or a number; a list or tuple of these as a tuple; None for anything else."""
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(part, (str, int, float)) for part in value):
        return tuple(value)
    return None

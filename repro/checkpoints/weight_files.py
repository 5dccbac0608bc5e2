"""Weights files, read without executing anything that they hold and without memory beyond what their size justifies.

Three kinds are read: what `torch.save` writes (since 1.6 a zip, before that a sequence of pickles: the authors' files
of 2019), safetensors, and Detectron2's `.pkl`, a pickle of numpy arrays. A file is read into memory once. Its hash is
that of the bytes in memory, each pickle in them is interpreted as data (`pickles`), what it claims is compared with
what the file holds, and the tensors are copies of these very bytes: nobody else reads the file, and nobody reads it
again. At most twice the file's size is in memory at a time, 2.4 times for arrays in a pickle of protocol 2.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.checkpoints import LIMIT, safetensors_files, state_dicts, torch_files
from repro.checkpoints.pickle_standins import ArrayStandin, Refused, TensorStandin, VariableStandin
from repro.checkpoints.pickles import interpret, require_end
from repro.checkpoints.prefixes import find_second_set
from repro.checkpoints.tensors import build_tensors, require_sound
from repro.errors import UNREADABLE, ReproError
from repro.files.regular_files import describe_unreadable, read_regular

if TYPE_CHECKING:
    from torch import Tensor

_DAMAGE = (*UNREADABLE, ArithmeticError, zipfile.BadZipFile)
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

    `tensors` are on the CPU, of the file's dtype (half precision is not widened), finite in float32 too, without
    gradient, by parameter name in the file's order; some may share memory as they did when saved. `meta` has what else
    the file states in plain numbers, text, and tuples of them (its "meta" and its top level; optimizer states are left
    out).
    """

    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    container: str  #: "torch zip", "torch legacy", "safetensors" or "detectron2 pickle"
    sha256: str  #: of the bytes that the tensors were made of
    size: int  #: bytes of the file


def read(path: Path, digest: str | None = None, part: str | None = None) -> Contents:
    """Read the weights in `path`. Nothing that the file holds is executed.

    Symbolic links to files are followed. The state dict is the file's top level or its "state_dict", "model" or
    "model_state", if it is the only one.

    Args:
        part: the name of the state dict, where there are several or it has another name.
        digest: what the file was recognised by ("sha256:..." or "md5:...", or how it begins); another file in its
            place is refused.

    Raises:
        ReproError: the file is missing, no regular file, damaged, of another format or hash, asks for anything but
            numbers, text and tensors, claims more than it holds, holds two sets of weights and none is named, or has a
            weight that is not finite in float32 or a variance below zero.
    """
    content = read_regular(Path(path), LIMIT, "weights")
    size, sha256 = len(content), hashlib.sha256(content).hexdigest()
    if digest is not None:
        kind, expected = digest.split(":")
        actual = sha256 if kind == "sha256" else hashlib.new(kind, content, usedforsecurity=False).hexdigest()
        if not actual.startswith(expected):
            raise ReproError(
                f"weights {path} were exchanged while they were in use: their {kind} is {actual} now, and they were "
                f"recognised by {digest}. Run the same command again, while nothing else writes the file."
            )
    try:
        value, storages, container = _parse(content, Path(path).suffix)
        del content  # of a pickle of arrays nothing refers to it any more
        tensors, meta = _build_contents(value, storages, size, part)
        return Contents(tensors, meta, container, sha256, size)
    except Refused as error:
        reason, advice = str(error), error.advice
    except MemoryError as error:
        raise describe_unreadable(Path(path), error, "weights") from None
    except _DAMAGE as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        damage = Refused(f"it is damaged ({''.join(filter(str.isprintable, first))})")
        reason, advice = str(damage), damage.advice
    raise ReproError(f"weights {path} cannot be read: {reason}. Nothing in the file was run. {advice}".rstrip())


def _parse(content: bytes, suffix: str) -> tuple[Any, Mapping[str, memoryview], str]:
    """The value in the file, the bytes of its storages, and the name of its format."""
    if not content:
        raise Refused("the file is empty")
    if safetensors_files.recognise(content):
        return *safetensors_files.parse(content), "safetensors"
    if content.startswith(torch_files.ZIP):
        return *torch_files.parse_zip(content), "torch zip"
    if content.startswith(torch_files.LEGACY):
        return *torch_files.parse_legacy(content), "torch legacy"
    if content[:1] == b"\x80":
        if suffix != ".pkl":
            raise Refused(
                "it is a plain pickle, which only Detectron2's weights are, whose names end in .pkl",
                advice="If it is Detectron2's, let its name end so.",
            )
        stream = BytesIO(content)
        value, _ = interpret(stream, len(content), tensors=False)
        require_end(stream)
        return value, {}, "detectron2 pickle"
    if content[257:262] == b"ustar":
        raise Refused("it is a tar archive (torch wrote such files before 0.2), which cannot be read safely")
    for beginning, meaning in _OTHERS.items():
        if content[:64].lstrip().startswith(beginning):
            raise Refused(f"it is {meaning}", advice="")
    raise Refused(f"it begins with {content[:8]!r}, as no torch file, no safetensors file and no pickle does")


def _build_contents(
    value: object, storages: Mapping[str, memoryview], size: int, part: str | None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, and what is stated beside them, from the whole value of a file of `size` bytes."""
    if not isinstance(value, dict):
        raise Refused(f"it holds a {_name_type(value)}, no state dict (a mapping of parameter names to tensors)")
    state, beside = state_dicts.select(value, part)
    entries = {key: _require_tensor(key, entry) for key, entry in state.items()}
    if not entries:
        raise Refused("it holds no tensors")
    if sum(entry.nbytes for entry in entries.values()) > 2 * size:
        raise Refused("its tensors claim to be larger than the file")  # 2: some weights are tied
    tensors = dict(build_tensors(entries, storages))
    if twins := find_second_set({key: tuple(tensor.shape) for key, tensor in tensors.items()}):
        raise Refused(
            f"its state dict holds two sets of weights, and which is meant changes the result: {twins[0]!r:.100} is "
            f"there, and {twins[1]!r:.100} of the same shape, and so are most others",
            advice="Save the set that you want as a file of its own, under the weights' own names.",
        )
    for key, tensor in tensors.items():
        require_sound(key, tensor)
    meta = beside.get("meta")
    stated = {**beside, **meta} if isinstance(meta, dict) else beside
    plain = {key: _to_plain(entry) for key, entry in stated.items() if isinstance(key, str)}
    return tensors, {key: entry for key, entry in plain.items() if entry is not None}


def _require_tensor(key: object, entry: object) -> TensorStandin | ArrayStandin:
    tensor = entry.tensor if isinstance(entry, VariableStandin) else entry
    if not isinstance(key, str) or not key or not isinstance(tensor, (TensorStandin, ArrayStandin)):
        raise Refused(
            f"its entry {key!r:.100} is of type {_name_type(entry)}: not a state dict (a mapping of parameter names to "
            "tensors)"
        )
    return tensor


def _name_type(value: object) -> str:
    """The type of a value, by the name of what a stand-in stands for."""
    return type(value).__name__.removesuffix("Standin")


def _to_plain(value: object) -> str | int | float | tuple | None:
    """`value` if it is text or a number; a list or tuple of these as a tuple; None for anything else."""
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(part, (str, int, float)) for part in value):
        return tuple(value)
    return None

"""What a generated data set consists of: hashed while it is drawn, kept beside its files, and checked before each use.

Two hashes. The first is of what the generator drew: names, pixels, annotations. It is the same on every machine, stands
in the code (`repro.experiments.mini`) and in cache keys. The second is of the files: encoders of other builds give
other bytes for the same pixels, and what H.264 gives back is not what was drawn.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from repro.errors import ReproError
from repro.experiments import digest
from repro.files.json_files import load_json
from repro.files.regular_files import read_regular, sha256

if TYPE_CHECKING:
    from torch import Tensor

#: The file in the data set's directory that names its contents.
NAME = "content.json"
_LIMIT = 16 << 20  # bytes of it; a file of the set takes about 100
#: Of a set that is drawn on demand, every so many images are hashed.
SAMPLED_EVERY = 100


@dataclass(frozen=True)
class GeneratedContent:
    """The hashes of a generated data set, hex."""

    drawn: str  #: sha256 of what was drawn, the same on every machine
    files: str  #: sha256 of the files' names and bytes


class DrawingHash:
    """The sha256 of what a generator draws, in the order in which it draws."""

    def __init__(self) -> None:
        self._total = hashlib.sha256()

    def add(self, name: str, content: np.ndarray | bytes) -> None:
        """Add an item: an array, with its type and shape, or bytes."""
        if isinstance(content, bytes):
            kind = f"{len(content)} bytes"
        else:
            kind, content = f"{content.dtype.name} {content.shape}", content.tobytes()
        self._total.update(f"{name}: {kind}\n".encode())
        self._total.update(content)

    def hexdigest(self) -> str:
        return self._total.hexdigest()


class SampledData(Protocol):
    """A set of images with tags that is drawn on demand: both are tensors, which give arrays."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> tuple[Tensor, Tensor]: ...


def hash_samples(data: SampledData, hashed: DrawingHash) -> None:
    """Add some of a set to pre-train on, which no file holds, to what is hashed."""
    for index in range(0, len(data), SAMPLED_EVERY):
        image, tags = data.sample(index)
        hashed.add(f"image {index} to pre-train on", image.numpy())
        hashed.add(f"tags {index}", tags.numpy())


def describe(directory: Path, drawn: DrawingHash) -> bytes:
    """The content of `content.json` for a data set that was just written to `directory`."""
    files = {name: sha256(directory / name) for name in sorted(_list_files(directory))}
    return json.dumps({"drawn": drawn.hexdigest(), "files": files}, indent=0).encode()


def check(directory: Path, expected: str) -> GeneratedContent:
    """Make sure that a data set is what this version draws, and that its files are those that were written.

    Hidden files, which file managers leave behind and no reader of the data looks at, do not count.

    Args:
        expected: the sha256 of what this version draws.

    Raises:
        ReproError: it is not; says what to do.
    """
    again = f"Delete the directory {directory}: it is generated again."
    drawn, files = _read(directory, again)
    if drawn != expected:
        raise ReproError(
            f"{directory} does not hold what this version expects: its content has sha256 {drawn}, not {expected}. "
            f"{again} If that does not help, NumPy or Pillow draw something else here: install requirements.lock."
        )
    present = {name: sha256(directory / name) for name in _list_files(directory)}
    changed = sorted(name for name in files.keys() | present.keys() if files.get(name) != present.get(name))
    if changed:
        few = f"{', '.join(changed[:3])}{', ...' if len(changed) > 3 else ''}"
        raise ReproError(
            f"{directory} is not as it was generated: {len(changed)} of {len(files)} files were changed, removed or "
            f"added ({few}). {again}"
        )
    return GeneratedContent(drawn, digest(files))


def _read(directory: Path, again: str) -> tuple[str, Mapping[str, str]]:
    """What was drawn, and the sha256 of each file."""
    try:
        content = load_json(read_regular(directory / NAME, _LIMIT))
        drawn, files = content["drawn"], content["files"]
        if isinstance(drawn, str) and isinstance(files, dict) and files:
            return drawn, files
        reason = "it does not name its files"
    except ReproError as error:
        reason = str(error).rstrip(".")
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        reason = f"{directory / NAME} is damaged: {error}"
    raise ReproError(f"what {directory} holds cannot be checked: {reason}. {again}")


def _list_files(directory: Path) -> Iterator[str]:
    """Names below `directory`, with `/` between directories; without hidden ones and `content.json`."""

    def refuse(error: OSError) -> None:
        raise ReproError(f"{error.filename} cannot be read: {error.strerror}")

    for place, directories, names in os.walk(directory, onerror=refuse):
        directories[:] = [name for name in directories if not name.startswith(".")]
        above = Path(place).relative_to(directory)
        for name in names:
            if not name.startswith(".") and (above / name).as_posix() != NAME:
                yield (above / name).as_posix()

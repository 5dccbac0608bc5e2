"""Which images or videos a classifier gets right, and a small file of that: all that a paired test needs."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repro.errors import ReproError
from repro.evaluation.array_files import REMEDY, open_arrays
from repro.paths import write_atomically

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Correctness:
    """Whether each of n items is right at top-1 and at top-5."""

    predictions_sha256: str
    item_ids: np.ndarray  #: str (n,), ascending
    right: np.ndarray  #: bool (n, 2): top-1, top-5


def save_correctness(correctness: Correctness, path: Path) -> None:
    """Write to `path` (.npz, no pickle). Equal contents give equal bytes.

    Raises:
        ReproError: the file cannot be written.
    """
    content = io.BytesIO()
    np.savez_compressed(
        content,
        allow_pickle=False,
        format=np.array(_FORMAT),
        predictions_sha256=np.array(correctness.predictions_sha256),
        item_ids=np.array(correctness.item_ids, dtype=np.str_),
        right=np.packbits(correctness.right.astype(bool), axis=0),
    )
    write_atomically(path, content.getvalue())


def load_correctness(path: Path) -> Correctness:
    """Read what `save_correctness` wrote.

    Raises:
        ReproError: the file is missing, damaged, or of another version.
    """
    with open_arrays(path, _FORMAT) as file:
        ids, packed = file["item_ids"], file["right"]
        right = np.unpackbits(packed, axis=0, count=len(ids)).astype(bool)
        loaded = Correctness(str(file["predictions_sha256"]), ids, right)
    if loaded.right.shape != (len(ids), 2) or len(set(ids.tolist())) != len(ids):
        raise ReproError(f"{path} is damaged: its parts do not fit each other. {REMEDY}")
    return loaded

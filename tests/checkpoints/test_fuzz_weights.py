"""Damaged weights files by the thousand: refused with one message, or read as their format's own library reads them.

`REPRO_FUZZ_WEIGHTS=N` tries N files of each kind instead of a few; numbers are always the same files.
"""

from __future__ import annotations

import io
import os
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from damaged_weights import READERS, make_damaged

from repro.checkpoints.pickle_standins import NUMPY
from repro.checkpoints.weight_files import read
from repro.errors import ReproError

COUNT = int(os.environ.get("REPRO_FUZZ_WEIGHTS", "0"))
#: Of each kind, about ten seconds together.
COUNTS = {"zip": 3000, "legacy": 3000, "arrays": 3000, "safetensors": 5000}


class OfNumpy(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" in {*NUMPY, "_codecs.encode"}:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(name)


def read_as_its_library_does(reader: str, content: bytes) -> dict[str, torch.Tensor]:
    if reader == "safetensors":
        return safetensors.torch.load(content)
    if reader == "arrays":
        value = OfNumpy(io.BytesIO(content), encoding="latin1").load()
    else:
        with torch.serialization.safe_globals([(call, name) for name, call in NUMPY.items()]):
            value = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    for wrapper in ("state_dict", "model", "model_state"):
        if isinstance(value.get(wrapper), dict):
            value = value[wrapper]
            break
    return {key: torch.from_numpy(np.array(entry)) if reader == "arrays" else entry for key, entry in value.items()}


def describe_difference(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], ordered: bool) -> str | None:
    if list(ours) != list(theirs) if ordered else set(ours) != set(theirs):
        return f"keys {list(ours)} and {list(theirs)}"
    for key, tensor in ours.items():
        other = theirs[key].detach()
        if tensor.dtype != other.dtype or tensor.shape != other.shape or not torch.equal(tensor, other):
            return f"{key}: {tensor} and {other}"
    return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reader", READERS)
def test_damaged_files(tmp_path: Path, reader: str, capsys: pytest.CaptureFixture[str]) -> None:
    path, wrong, tracebacks = tmp_path / READERS[reader][0], [], []
    accepted, alone, slowest = 0, [], 0.0
    for number in range(COUNT or COUNTS[reader]):
        content = make_damaged(reader, number)
        path.write_bytes(content)
        begun = time.monotonic()
        try:
            contents = read(path)
        except ReproError:
            continue
        except Exception as error:
            tracebacks.append(f"{number}: {error!r}")
            continue
        finally:
            slowest = max(slowest, time.monotonic() - begun)
        accepted += 1
        try:
            theirs = read_as_its_library_does(reader, content)
        except Exception as error:
            alone.append(f"{number}: {type(error).__name__} {str(error)[:150]}")
            continue
        if difference := describe_difference(contents.tensors, theirs, ordered=reader != "safetensors"):
            wrong.append(f"{number}: {difference}")
    with capsys.disabled():
        if COUNT:
            print(f"\n{reader}: {COUNT} files, {accepted} accepted ({len(alone)} of them by this reader alone), "
                  f"{len(tracebacks)} tracebacks, {len(wrong)} wrong readings, slowest {slowest:.2f} s")  # fmt: skip
            print("\n".join(alone[:30]))
    assert not tracebacks, tracebacks[:10]
    assert not wrong, wrong[:10]
    assert accepted  # or else nothing was compared
    assert slowest < 5

"""Damaged weights files by the thousand: refused with one message, or read as their format's own library reads them."""

from __future__ import annotations

import io
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from damaged_weights import READERS, make_damaged
from fuzzing import number_inputs, try_inputs

from repro.checkpoints.pickle_standins import NUMPY
from repro.checkpoints.weight_files import read
from repro.errors import ReproError

#: Of each kind, files in some seconds together, and its share of a reader's time.
FEW = {"zip": (1000, 1), "legacy": (1000, 1 / 3), "arrays": (1000, 1 / 3), "safetensors": (1500, 1 / 3)}


class OfNumpy(pickle._Unpickler):  # the one in C takes as much memory as a damaged number asks for
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
def test_damaged_files(tmp_path: Path, reader: str, capfd: pytest.CaptureFixture[str]) -> None:
    path, few, share = tmp_path / READERS[reader][0], *FEW[reader]

    def read_written(content: bytes) -> dict[str, torch.Tensor]:
        path.write_bytes(content)
        return read(path).tensors

    def compare(content: bytes, ours: dict[str, torch.Tensor]) -> str | None:
        return describe_difference(ours, read_as_its_library_does(reader, content), ordered=reader != "safetensors")

    numbers, make = number_inputs(few, share), partial(make_damaged, reader)
    assert try_inputs(reader, numbers, make, read_written, ReproError, compare, capfd, named=str(path))

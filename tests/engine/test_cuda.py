"""What is missing where CUDA cannot be used, by what a driver answers; and the same answer as PyTorch's."""

from __future__ import annotations

import ctypes
import socket
from types import SimpleNamespace

import pytest
import torch

from repro.engine import cuda
from repro.engine.launch import LostProcess


def pretend(version: int, *, initialises: int = 0, devices: int = 1) -> SimpleNamespace:
    """A driver that answers so; `version` is 1000 * major + 10 * minor, as cuda.h has it."""

    def answer(number: int):
        def write(reference) -> int:
            ctypes.cast(reference, ctypes.POINTER(ctypes.c_int)).contents.value = number
            return 0

        return write

    return SimpleNamespace(
        cuDriverGetVersion=answer(version), cuInit=lambda flags: initialises, cuDeviceGetCount=answer(devices)
    )


@pytest.fixture(autouse=True)
def forget():
    cuda.explain_missing_cuda.cache_clear()
    yield
    cuda.explain_missing_cuda.cache_clear()


def test_it_agrees_with_pytorch():
    assert (cuda.explain_missing_cuda() is None) == torch.cuda.is_available()


def test_the_versions_are_pytorchs_own():
    versions = cuda.read_torch_versions()
    assert versions["__version__"] == str(torch.__version__)
    assert versions["cuda"] == torch.version.cuda
    assert versions["hip"] == torch.version.hip


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        (pretend(12040), ["too old", "CUDA 12.4", "CUDA 13.2"]),
        (pretend(13000, initialises=100), ["finds no GPU"]),
        (pretend(13000, devices=0), ["finds no GPU"]),
        (pretend(13000, initialises=803), ["different versions"]),
        (pretend(13000, initialises=999), ["999"]),
        (pretend(13000), None),  # of the same major version; cuda.h promises that minor ones go together
        (pretend(14010), None),
    ],
)
def test_what_the_driver_says(driver, words, monkeypatch):
    monkeypatch.setattr(cuda, "read_torch_versions", lambda: {"cuda": "13.2", "hip": None})
    monkeypatch.setattr(cuda.ctypes, "CDLL", lambda name: driver)
    said = cuda.explain_missing_cuda()
    assert said is None if words is None else all(word in said for word in words)


def test_hidden_devices_are_named(monkeypatch):
    monkeypatch.setattr(cuda, "read_torch_versions", lambda: {"cuda": "13.2"})
    monkeypatch.setattr(cuda.ctypes, "CDLL", lambda name: pretend(13000, initialises=100))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES is ''" in cuda.explain_missing_cuda()


def test_no_driver_and_no_cuda_are_two_things(monkeypatch):
    def fail(name):
        raise OSError("cannot open shared object file")

    monkeypatch.setattr(cuda.ctypes, "CDLL", fail)
    monkeypatch.setattr(cuda, "read_torch_versions", lambda: {"cuda": "13.2"})
    assert "no NVIDIA driver" in cuda.explain_missing_cuda()
    cuda.explain_missing_cuda.cache_clear()
    monkeypatch.setattr(cuda, "read_torch_versions", lambda: {"cuda": None, "__version__": "2.15.0+cpu"})
    assert "2.15.0+cpu" in cuda.explain_missing_cuda()


@pytest.mark.parametrize(
    ("said", "broken"),
    [
        ("CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might be reported later", True),
        ("CUDA error: uncorrectable NVLink error detected during the execution", True),
        ("CUDA error: an illegal memory access was encountered", False),
        ("CUDA error: unspecified launch failure", False),
        ("CUDA error: device-side assert triggered", False),
        ("the annotations speak of an uncorrectable ECC error", False),
    ],
)
def test_a_broken_device_is_told_apart_from_what_would_fail_everywhere(said, broken):
    with pytest.raises(RuntimeError if not broken else LostProcess) as raised, cuda.report_broken_devices():
        raise RuntimeError(said)
    assert isinstance(raised.value, LostProcess) is broken
    if broken:
        assert socket.gethostname() in str(raised.value)
        assert "the same command goes on from there" in str(raised.value)

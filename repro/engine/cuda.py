"""Whether a CUDA device can be used here, and what is missing if not. Imports no torch, which takes seconds."""

from __future__ import annotations

import ast
import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from repro.engine.launch import LostProcess

#: Results of the driver's functions: CUresult of cuda.h.
_SUCCESS, _NO_DEVICE, _WRONG_DRIVER = 0, 100, 803
_DRIVER = "libcuda.so.1"
#: What CUDA says of a device, or a link between two, that is broken: cudaErrorECCUncorrectable (214),
#: cudaErrorNvlinkUncorrectable (220), cudaErrorHardwareStackError (714), cudaErrorContained (721) and
#: cudaErrorSystemNotReady (802) of driver_types.h. Not among them is what a wrong program causes as well, such as an
#: illegal address or a launch failure: it would fail on every node.
_BROKEN = (
    "uncorrectable ECC error", "uncorrectable NVLink error", "hardware stack error",
    "Invalid access of peer GPU memory over nvlink or a hardware error", "system not yet initialized",
)  # fmt: skip


@cache
def explain_missing_cuda() -> str | None:
    """Explain why PyTorch can use no CUDA device in this process; None where it can."""
    versions = read_torch_versions()
    if versions.get("hip"):  # ROCm's devices are CUDA devices to PyTorch, and have another driver
        import torch

        return None if torch.cuda.is_available() else "PyTorch, built for ROCm, finds no device"
    built = versions.get("cuda")
    if built is None:
        return f"this PyTorch ({versions.get('__version__')}) is built without CUDA: install one that is built with it"
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return f"no NVIDIA driver is installed: there is no {_DRIVER}"
    return _ask_driver(driver, built)


def _ask_driver(driver: Any, built: str) -> str | None:
    """Ask the driver for its version and its devices.

    Args:
        driver: functions of libcuda.
        built: the version of CUDA that PyTorch is built for, such as "13.2".
    """
    version, devices = ctypes.c_int(), ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(version)) == _SUCCESS and version.value:
        major, minor = version.value // 1000, version.value % 1000 // 10
        if major < int(built.split(".")[0]):
            return (
                f"the NVIDIA driver is too old: it supports CUDA {major}.{minor}, and this PyTorch is built for CUDA "
                f"{built}. Update the driver, or install a PyTorch that is built for CUDA {major}"
            )
    code = driver.cuInit(0)
    if code == _WRONG_DRIVER:
        return "the NVIDIA driver in the kernel and its library are of different versions: restart after an update"
    if code not in (_SUCCESS, _NO_DEVICE):
        return f"the NVIDIA driver could not be initialised: error {code} of cuInit"
    if code == _NO_DEVICE or driver.cuDeviceGetCount(ctypes.byref(devices)) != _SUCCESS or not devices.value:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hidden = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
        return f"the NVIDIA driver finds no GPU{hidden}"
    return None


def read_torch_versions() -> dict[str, str | None]:
    """Read the versions of PyTorch and of what it is built for in torch/version.py; empty where there is no torch."""
    package = find_spec("torch")
    if package is None or package.origin is None:
        return {}
    tree = ast.parse((Path(package.origin).parent / "version.py").read_text(encoding="utf-8"))
    versions: dict[str, str | None] = {}
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
            versions[target.id] = value.value if isinstance(value.value, str) else None
    return versions


@contextmanager
def report_broken_devices() -> Iterator[None]:
    """Report that a device failed, and not what ran on it: on another node it may go well.

    Raises:
        LostProcess: it did.
    """
    try:
        yield
    except RuntimeError as error:
        found = next((text for text in _BROKEN if text.lower() in str(error).lower()), None)
        if found is None or "cuda" not in str(error).lower():
            raise
        raise LostProcess(
            f"a GPU of {socket.gethostname()} is broken, or the link between two: CUDA reports {found!r}. What was "
            "saved stays, and the same command goes on from there on another one; tell whoever runs this machine."
        ) from error

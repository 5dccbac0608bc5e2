"""The ImageNet classification weights that the full profile's networks start from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import UNREADABLE, ReproError, unknown
from repro.paths import sha256

if TYPE_CHECKING:
    from torch import Tensor

#: id -> URL. The eight hex digits at the end of a name are the beginning of the file's sha256.
#: resnet50-19c8e357 and resnet101-5d3b4d8f are what "modelzoo://" meant in the authors' configurations of 2019.
SOURCES = {
    "torchvision/resnet50-19c8e357": "https://download.pytorch.org/models/resnet50-19c8e357.pth",
    "torchvision/resnet101-5d3b4d8f": "https://download.pytorch.org/models/resnet101-5d3b4d8f.pth",
    "openmmlab/resnext101_32x4d-a5af3160": (
        "https://download.openmmlab.com/pretrain/third_party/resnext101_32x4d-a5af3160.pth"
    ),
}


def cached(weights: str) -> Path:
    """Where torch hub, and so torchvision, keeps the file of this id."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch"
    return Path(home) / "hub" / "checkpoints" / _url(weights).rsplit("/", 1)[1]


def sha256_prefix(weights: str) -> str:
    """How the sha256 of the file of this id begins: all that its publishers state of it."""
    return weights.rsplit("-", 1)[1]


def fetch(weights: str) -> Path:
    """The path of the file, downloaded into torch hub's cache if it is not there yet.

    Raises:
        ReproError: the download failed, or the file's sha256 does not begin as its name says.
    """
    path, url = cached(weights), _url(weights)
    if not path.exists():
        from http.client import HTTPException

        from torch.hub import download_url_to_file

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            download_url_to_file(url, str(path), hash_prefix=sha256_prefix(weights))
        except (OSError, RuntimeError, HTTPException) as error:
            raise ReproError(
                f"initial weights {weights} could not be downloaded from {url}: {error}. Fetch the file by "
                f"hand and pass it with --init FILE, or pass --init random (recorded as a deviation)."
            ) from None
    if not sha256(path).startswith(sha256_prefix(weights)):
        raise ReproError(
            f"{path} is not {weights}: its sha256 is {sha256(path)}, not {sha256_prefix(weights)}... Delete it and try "
            "again."
        )
    return path


def load(path: Path) -> dict[str, Tensor]:
    """The state dict in `path`, read without running any code that the file may hold.

    Raises:
        ReproError: the file is missing, truncated, holds anything but tensors in plain containers, or is no state dict.
    """
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols: the error says it better
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ReproError(
            f"weights {path} cannot be read: {reason}. The file is damaged or not a weights file."
        ) from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ReproError(f"weights {path} are not a state dict (a mapping of parameter names to tensors).")
    return content


def _url(weights: str) -> str:
    if weights not in SOURCES:
        raise unknown("initial weights", weights, SOURCES)
    return SOURCES[weights]

"""The ImageNet classification weights that the full profile's networks start from, by id of `checkpoints.yaml`."""

from __future__ import annotations

import os
from pathlib import Path

from repro.checkpoints import download, fetching, registry
from repro.checkpoints.registry import CheckpointEntry
from repro.errors import ReproError
from repro.paths import sha256


def locate(weights: str) -> Path:
    """Where the file of this id is: in this project's cache, else, if anywhere, in torch hub's (so torchvision's)."""
    return download.find_cached(get_sha256_prefix(weights)) or _locate_in_torch_hub(weights)


def get_sha256_prefix(weights: str) -> str:
    """How the sha256 of the file of this id begins: often all that its publishers state of it."""
    return registry.load().get_initial(weights).sha256


def fetch(weights: str) -> Path:
    """The path of the file: torch hub's if that is whole, else this project's own, downloaded if it is not there yet.

    Raises:
        ReproError: no URL gives a file whose sha256 begins as published.
    """
    path = _locate_in_torch_hub(weights)
    if path.exists() and sha256(path).startswith(get_sha256_prefix(weights)):
        return path
    try:
        return fetching.fetch(registry.load().get_initial(weights)).path
    except ReproError as error:
        raise ReproError(
            f"initial weights {weights}: {error}\nFetch the file by hand and pass it with --init FILE, or pass "
            "--init random (recorded as a deviation)."
        ) from None


def fetch_given(text: str) -> Path:
    """The file that --init names: its path, or an id of the registry, fetched.

    Raises:
        ReproError: it is neither, or cannot be fetched.
    """
    path = Path(text)
    return path if path.is_file() else fetching.fetch(_get_entry(text)).path


def identify_given(text: str) -> str:
    """What stands in cache keys for the weights that --init names: the sha256 of the file, as far as it is known.

    Raises:
        ReproError: as of `fetch_given`, but nothing is fetched.
    """
    path = Path(text)
    return sha256(path) if path.is_file() else _get_entry(text).sha256 or text


def _get_entry(text: str) -> CheckpointEntry:
    known = registry.load()
    if text not in {entry.id for entry in known.entries}:
        raise ReproError(f"--init {text}: no such file, and no id of checkpoints.yaml (`repro checkpoints list`)")
    return known.get(text)


def _locate_in_torch_hub(weights: str) -> Path:
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch"
    return Path(home) / "hub" / "checkpoints" / registry.load().get_initial(weights).file_name

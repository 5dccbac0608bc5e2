"""The ImageNet classification weights that the full profile's networks start from, by id of `checkpoints.yaml`."""

from __future__ import annotations

import os
from pathlib import Path

from repro.checkpoints import download, fetching, hub_directories, registry
from repro.checkpoints.registry import CheckpointEntry
from repro.checkpoints.weight_names import add_part, is_path, split_part
from repro.errors import ReproError
from repro.files.regular_files import sha256


def locate(weights: str) -> Path:
    """The path of the file with this id in this project's cache or else, whether it exists or not, in torch hub's."""
    return download.find_cached(get_sha256_prefix(weights)) or _locate_in_torch_hub(weights)


def get_sha256_prefix(weights: str) -> str:
    """The first digits of the sha256 of the file with this id, or all of them where they are published.

    Raises:
        ReproError: no recipe starts from such weights, or no sha256 of them is published.
    """
    digits = registry.load().get_initial(weights).sha256
    if digits is None:
        raise ReproError(f"initial weights {weights}: checkpoints.yaml has no sha256 of them")
    return digits


def fetch(weights: str) -> Path:
    """The path of the file: in torch hub's cache if it is whole there, else in this project's, downloaded if needed.

    Raises:
        ReproError: no URL gives a file whose sha256 begins as published.
    """
    path = _locate_in_torch_hub(weights)
    if os.path.isfile(path) and sha256(path).startswith(get_sha256_prefix(weights)):
        return path
    try:
        return fetching.fetch(registry.load().get_initial(weights)).path
    except ReproError as error:
        raise ReproError(
            f"initial weights {weights}: {error}\nFetch the file by hand and pass it with --init FILE, or pass "
            "--init random (recorded as a deviation)."
        ) from None


def fetch_given(text: str) -> tuple[Path, str | None]:
    """The path of the file that --init names, fetched if `text` is an id of the registry, and which state dict of it.

    Of a directory that `repro export hub` wrote, it is the file of weights.

    Raises:
        ReproError: it is neither, or cannot be fetched.
    """
    named, part = split_part(text)
    return _find_file(named) if _names_file(named) else fetching.fetch(_get_entry(named)).path, part


def identify_given(text: str) -> str:
    """What stands in cache keys for the weights that --init names: the sha256 of the file, as far as it is published.

    Nothing is fetched.

    Raises:
        ReproError: `text` is neither a file nor an id of the registry.
    """
    named, part = split_part(text)
    return add_part(sha256(_find_file(named)) if _names_file(named) else _get_entry(named).sha256 or named, part)


def _find_file(named: str) -> Path:
    """The file that is meant: of a directory that `repro export hub` wrote, its weights."""
    exported = hub_directories.find(named)
    if exported is None:
        return Path(named)
    exported.hash_weights()
    return exported.weights


def _names_file(text: str) -> bool:
    return is_path(text, {entry.id for entry in registry.load().entries})


def _get_entry(text: str) -> CheckpointEntry:
    known = registry.load()
    if text not in {entry.id for entry in known.entries}:
        raise ReproError(f"--init {text}: no such file, and no id of checkpoints.yaml (`repro checkpoints list`)")
    return known.get(text)


def _locate_in_torch_hub(weights: str) -> Path:
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch"
    return Path(home) / "hub" / "checkpoints" / registry.load().get_initial(weights).file_name

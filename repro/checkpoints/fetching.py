"""The file of an entry of the registry, from the cache or from its publisher. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from repro.checkpoints import download
from repro.checkpoints.download import Fetched
from repro.checkpoints.registry import CheckpointEntry
from repro.errors import ReproError


def fetch(entry: CheckpointEntry, progress: Callable[[int, int | None], None] | None = None) -> Fetched:
    """Fetch the file of `entry` and compare it with the published hash.

    Args:
        progress: called with the number of bytes that are here and the total, if known.

    Raises:
        ReproError: something stands in the way, no address gives the file, or its hash is another.
    """
    if entry.obstacle or not entry.digest:
        raise ReproError(f"weights {entry.id} cannot be fetched: {entry.obstacle}")
    return download.fetch(
        entry.fetchable,
        name=entry.file_name,
        sha256=entry.sha256,
        md5=entry.md5,
        size=entry.size,
        progress=progress,
    )


def store(entry: CheckpointEntry, path: Path) -> Fetched:
    """Put a copy of the file of `entry` into the cache, after it was compared with the published hash.

    Raises:
        ReproError: something stands in the way of its use, the file is another one, or the cache cannot be written.
    """
    if entry.obstacle or not entry.digest:
        raise ReproError(
            f"weights {entry.id} are not taken from the cache: {entry.obstacle}. `--weights {entry.id}=FILE` names a "
            "copy where they can be used."
        )
    return download.store(
        path, entry.fetchable, name=entry.file_name, sha256=entry.sha256, md5=entry.md5, size=entry.size
    )

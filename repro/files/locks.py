"""Directories that one process at a time works in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from repro.paths import unwritable


@contextmanager
def hold_directory_lock(directory: Path) -> Iterator[None]:
    """At most one process works in `directory`, which is made if need be; the others wait for it.

    Raises:
        ReproError: the directory cannot be made or written.
    """
    lock = FileLock(directory / ".lock")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise unwritable(directory, error) from error
    try:
        yield
    finally:
        lock.release()

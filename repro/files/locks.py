"""Locks of directories in which one process at a time works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from repro.paths import unwritable


@contextmanager
def hold_directory_lock(directory: Path) -> Iterator[None]:
    """Hold the lock of `directory`, which is created if it does not exist; wait while another process holds it.

    Raises:
        ReproError: the directory cannot be created or written.
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

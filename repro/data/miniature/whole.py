"""Generated data sets appear under their names only when they are complete."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from repro.paths import unwritable


def write_whole(directory: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill an empty place, which then gets the name `directory`; of two processes one writes, one waits.

    A directory that exists is left as it is.

    Raises:
        ReproError: the directory cannot be written.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{directory}.lock"):
            if directory.exists():
                return
            with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.") as temporary:
                whole = Path(temporary) / "whole"
                write(whole)
                os.replace(whole, directory)
    except OSError as error:
        raise unwritable(directory, error) from error

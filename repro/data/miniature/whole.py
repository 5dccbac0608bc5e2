"""Generated data sets appear under their names only when they are complete."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from repro.data.miniature import content
from repro.files.locks import hold_lock
from repro.files.places import is_there
from repro.paths import unwritable


def write_whole(directory: Path, write: Callable[[Path, content.DrawingHash], None]) -> None:
    """Let `write` fill an empty place, which then gets the name `directory`; of two processes one writes, one waits.

    A directory that exists is left as it is: whether it is what was generated, `content.check` finds out.

    Args:
        write: called with the place, and with what everything that is drawn has to be added to.

    Raises:
        ReproError: the directory cannot be written.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with hold_lock(Path(f"{directory}.lock"), str(directory)):
            if is_there(directory):
                return
            with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.") as temporary:
                whole = Path(temporary) / "whole"
                drawn = content.DrawingHash()
                write(whole, drawn)
                (whole / content.NAME).write_bytes(content.describe(whole, drawn))
                os.replace(whole, directory)
    except OSError as error:
        raise unwritable(directory, error) from error

"""What is at a path: an answer, or one message of why it cannot be told.

`Path.exists` and its like answer "no" for some errors (a link that leads back to itself) and raise others (a directory
that may not be entered, a name longer than the system allows); which is which depends on Python's version.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from repro.errors import ReproError
from repro.files.regular_files import describe_kind, describe_unreadable, find_dangling_link


def is_there(path: Path) -> bool:
    """Whether there is a file, a directory or anything else at `path`, where a link leads to it.

    Raises:
        ReproError: it cannot be told, or it is a link to nothing or back to itself.
    """
    return _look(path) is not None


def is_file(path: Path) -> bool:
    """Whether there is a regular file; a directory is none.

    Raises:
        ReproError: as `is_there`; or it is neither, but a named pipe or a device.
    """
    mode = _look(path)
    if mode is None or stat.S_ISDIR(mode):
        return False
    if not stat.S_ISREG(mode):
        raise ReproError(f"{path} cannot be read: it is no regular file but {describe_kind(mode)}.")
    return True


def is_directory(path: Path) -> bool:
    """Whether there is a directory.

    Raises:
        ReproError: as `is_there`.
    """
    mode = _look(path)
    return mode is not None and stat.S_ISDIR(mode)


def list_directory(directory: Path) -> list[Path]:
    """List what is in a directory, in the order of the names; nothing where there is no such directory.

    Raises:
        ReproError: as `is_there`; or it is no directory, or may not be listed.
    """
    mode = _look(directory)
    if mode is None:
        return []
    if not stat.S_ISDIR(mode):
        kind = "a file" if stat.S_ISREG(mode) else describe_kind(mode)
        raise ReproError(f"{directory} cannot be listed: it is no directory but {kind}.")
    try:
        return sorted(directory / name for name in os.listdir(directory))
    except OSError as error:
        raise describe_unreadable(directory, error) from None


def look_anew(directory: Path) -> None:
    """Make this machine ask the file server what is in a directory, instead of remembering it.

    Clients of NFS remember for up to a minute which files there are and which are not. What is changed in a directory
    makes them ask again, and so a file is created and deleted. Where that cannot be done, nothing happens.
    """
    name = directory / f".look.{os.urandom(8).hex()}"
    with suppress(OSError):
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        os.unlink(name)


def read_state(path: Path) -> os.stat_result:
    """What the system says of a file, where links lead to it: its size in bytes, when it was changed.

    Raises:
        ReproError: it is not there, or that cannot be told.
    """
    try:
        return os.stat(path)
    except (OSError, ValueError) as error:
        raise describe_unreadable(path, error) from None


def _look(path: Path) -> int | None:
    """The mode of what is at `path`; None where nothing is."""
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: a null byte, or a character that no file name can have
        if not isinstance(error, OSError) or error.errno != errno.ENOENT:
            raise describe_unreadable(path, error) from None
        if find_dangling_link(path):
            raise describe_unreadable(path, error) from None
        return None

"""What the user asked to have written, wherever the path leads: a file, a link to one, a pipe, a device, stdout."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from pathlib import Path

from repro.errors import ReaderLeftError, ReproError
from repro.paths import replace_file, unwritable

_STDOUT = Path("-")
_LINKS = 40  #: that one path may lead through, as in Linux


def write_output(path: Path, content: str | bytes) -> None:
    """Write `content` to where `path` leads; text as UTF-8.

    A regular file is replaced at once and keeps its mode, also where links lead to it. A pipe, a device and a
    descriptor of this process (`/dev/stdout`) are written into. `-` is standard output: text is printed, and bytes are
    written if it is no terminal.

    Raises:
        ReproError: it cannot be written; a regular file is then untouched.
        ReaderLeftError: it is a pipe whose reader left.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    try:
        if path == _STDOUT:
            _write_to_stdout(content)
            return
        place = _follow(path)
        if isinstance(place, int) or _is_special(place):
            sys.stdout.flush()  # what was printed before stands before it
            with open(_open_special(place), "wb") as file:
                file.write(data)
        else:
            replace_file(place, data)
    except BrokenPipeError:
        raise ReaderLeftError from None
    except OSError as error:
        raise unwritable(path, error) from error


def append_output(path: Path, text: str) -> None:
    """Append `text` to a file that others may have begun; `-` is standard output.

    Raises:
        ReproError: it cannot be written.
    """
    if path == _STDOUT:
        print(text, end="")
        return
    try:
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except BrokenPipeError:
        raise ReaderLeftError from None
    except OSError as error:
        raise unwritable(path, error) from error


def is_stdout(path: Path) -> bool:
    """Whether what is written to `path` goes to standard output: `-`, `/dev/stdout` and the like."""
    try:
        return path == _STDOUT or _follow(path) == 1
    except OSError:
        return False


def _write_to_stdout(content: str | bytes) -> None:
    if isinstance(content, str):
        print(content, end="")
        return
    if sys.stdout.isatty():
        raise ReproError(
            "--output -: standard output is a terminal, and this is no text. Name a file, or add `> FILE`."
        )
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def _follow(path: Path) -> Path | int:
    """Follow links to where there is none, or to an open descriptor of this process, whose number is returned."""
    for _ in range(_LINKS):
        place = Path(os.path.realpath(path.parent), path.name)
        if descriptor := re.fullmatch(rf"/proc/{os.getpid()}/(task/\d+/)?fd/(\d+)", str(place)):
            return int(descriptor[2])
        if not os.path.islink(place):
            return place
        path = place.parent / os.readlink(place)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _is_special(place: Path) -> bool:
    """Whether there is something other than a regular file.

    Raises:
        OSError: it is a directory, or it cannot be told.
    """
    try:
        mode = os.stat(place).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return not stat.S_ISREG(mode)


def _open_special(place: Path | int) -> int:
    """Open for writing, at the place where a descriptor is: what a shell redirected may have content already."""
    return os.dup(place) if isinstance(place, int) else os.open(place, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)

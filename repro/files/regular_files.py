"""Files that somebody else may have made: opened only if they are regular files, and read within a bound."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from repro.errors import ReproError

#: Bytes of the largest file that is hashed: COCO's training images have 19.3 GB, weights and videos less. A file with
#: holes can claim any size and takes no room, and to hash it takes for ever.
_LARGEST = 24 << 30
#: How often a file is opened that another machine replaces in between: on NFS the one that was opened is gone (ESTALE).
_TRIES = 5
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


@dataclass(frozen=True)
class Digests:
    """The hashes of the same bytes, hex, and their number."""

    sha256: str
    md5: str
    size: int


def open_regular(path: Path, limit: int | None = None, what: str = "") -> BinaryIO:
    """Open a regular file, or a link to one, for reading. A named pipe or a device is not waited for.

    Args:
        limit: bytes that such a file has at most; None where its reader needs no bound.
        what: what the file is, for messages: "weights".

    Raises:
        ReproError: it does not exist, is no regular file, may not be read, or is larger than `limit`.
    """
    try:
        _require_regular(os.stat(path))  # before opening, which may do something to a device
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            state = os.fstat(descriptor)
            _require_regular(state)  # it may be another file than a moment ago
            if limit is not None and state.st_size > limit:
                raise _Unsuitable(f"it has {state.st_size} bytes, and such a file has at most {limit}")
            return open(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise
    except (_Unsuitable, OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise describe_unreadable(path, error, what) from None


def read_regular(path: Path, limit: int, what: str = "") -> bytes:
    """Read the whole of a regular file of at most `limit` bytes into memory, once.

    Raises:
        ReproError: as `open_regular`; or the file changes its length meanwhile, or the memory does not suffice.
    """
    tries = _TRIES
    while True:
        with open_regular(path, limit, what) as file:
            try:
                size = os.fstat(file.fileno()).st_size
                content = file.read(size + 1)
                if len(content) != size:
                    raise _Unsuitable("its length changed while it was read: wait until it is written, then try again")
                return content
            except (_Unsuitable, OSError, MemoryError) as error:
                tries -= 1
                if not (tries and isinstance(error, OSError) and error.errno == errno.ESTALE):
                    raise describe_unreadable(path, error, what) from None


def hash_file(path: Path) -> Digests:
    """Hash the bytes of a regular file, reading it once, in blocks.

    Raises:
        ReproError: the file cannot be read.
    """
    totals = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    size = _feed(path, totals)
    return Digests(totals[0].hexdigest(), totals[1].hexdigest(), size)


def sha256(path: Path) -> str:
    """Hex digest of a regular file's bytes, read in blocks.

    Raises:
        ReproError: the file cannot be read.
    """
    total = hashlib.sha256()
    _feed(path, (total,))
    return total.hexdigest()


def describe_kind(mode: int) -> str:
    """Describe what is no regular file, by its mode: "a directory"."""
    return _KINDS.get(stat.S_IFMT(mode), "something else")


def describe_unreadable(path: Path, error: BaseException, what: str = "") -> ReproError:
    """The error to raise where the file at `path` cannot be read, with the reason in words and what to do."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, MemoryError):
        reason, advice = "there is not enough memory", "Close other programs, or use a machine with more."
    elif number == errno.ENOENT:
        reason = "it does not exist"
        if link := find_dangling_link(path):
            which = "it" if link == path else str(link)
            reason = f"{which} is a link to {os.readlink(link)}, which does not exist"
        advice = "Check the path."
    elif number == errno.ELOOP:
        reason, advice = "it is a link that leads back to itself", "Check the path."
    elif number == errno.ENOTDIR:
        reason, advice = "a part of the path is a file and no directory", "Check the path."
    elif number == errno.ENAMETOOLONG:
        reason, advice = "the path is longer than the system allows", "Check it, or choose a shorter one."
    elif number in (errno.EACCES, errno.EPERM):
        reason, advice = f"{os.strerror(number)}", "Allow this user to read it, and to enter its directories."
    elif isinstance(error, OSError):
        reason, advice = error.strerror or str(error), ""
    else:
        reason, advice = str(error), ""
    return ReproError(f"{what} {path} cannot be read: {reason}. {advice}".strip())


def find_dangling_link(path: Path) -> Path | None:
    """Find the link to nothing that `path` is or leads through; None where there is none."""
    return next((place for place in (path, *path.parents) if os.path.islink(place) and not os.path.exists(place)), None)


def _feed(path: Path, totals: Iterable[hashlib._Hash]) -> int:
    """Feed the bytes of a file to `totals`; their number."""
    size = 0
    with open_regular(path, _LARGEST) as file:
        try:
            while block := file.read(1 << 20):
                size += len(block)
                for total in totals:
                    total.update(block)
        except OSError as error:
            raise describe_unreadable(path, error) from None
    return size


class _Unsuitable(Exception):
    """Why a file that is there is not read."""


def _require_regular(state: os.stat_result) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise _Unsuitable(f"it is no regular file but {describe_kind(state.st_mode)}")

"""Locks of places in which one process at a time works. Who waits for one is told for whom.

Beside a lock that is held lies a small file that says who holds it. It is written for people: what excludes others is
the lock, which the system takes from a process that ends, however it ends.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from repro.errors import ReproError
from repro.files.notices import PATIENCE, telling
from repro.files.places import is_there
from repro.files.regular_files import read_regular
from repro.files.schema import FrozenModel
from repro.paths import unwritable

#: Environment variable that names who started this process, and others that share its work and are waited for.
STARTED_BY = "REPRO_STARTED_BY"
_WAITS: ContextVar[bool] = ContextVar("waits", default=True)


class Busy(ReproError):
    """Another process is at work, and it is not to be waited for: trying again later is all that there is to do."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


@contextmanager
def waiting(wanted: bool) -> Iterator[None]:
    """Within the `with` block, wait for other processes, or raise `Busy` where one would be waited for."""
    before = _WAITS.set(wanted)
    try:
        yield
    finally:
        _WAITS.reset(before)


@contextmanager
def hold_directory_lock(directory: Path) -> Iterator[None]:
    """Hold the lock of `directory`, which is created if it does not exist; wait while another process holds it.

    Raises:
        Busy: another process holds it, and is not to be waited for.
        ReproError: the directory cannot be created or written.
    """
    with hold_lock(directory / ".lock", str(directory)):
        yield


@contextmanager
def hold_lock(path: Path, what: str) -> Iterator[None]:
    """Hold the lock `path`, whose directory is created if it does not exist; wait while another process holds it.

    Args:
        what: what is locked, for messages.

    Raises:
        Busy: another process holds it, and is not to be waited for.
        ReproError: the lock cannot be written.
    """
    lock = FileLock(path)
    holder = _locate_holder(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock, path, what)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    try:
        with suppress(OSError):  # such as a full disk, of which whoever writes more will tell
            holder.write_text(_Holder.of_this_process().model_dump_json())
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()


def describe_holder(directory: Path) -> str:
    """Describe who works in a directory: "another process" where that is not known."""
    return _describe(_read_holder(directory / ".lock"))


def find_holder(directory: Path) -> str | None:
    """Describe who works in a directory at this moment; None where nobody does, or that cannot be found out."""
    path = directory / ".lock"
    if not is_there(path):
        return None
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return describe_holder(directory)
    except OSError:  # such as of a directory that others may only read
        return None
    lock.release()
    return None


def _acquire(lock: FileLock, path: Path, what: str) -> None:
    with suppress(Timeout):
        lock.acquire(timeout=0)
        return
    if not _WAITS.get():
        with suppress(Timeout):  # many locks are held for a moment
            lock.acquire(timeout=PATIENCE)
            return
        holder = _read_holder(path)
        if not _shares_work(holder):
            raise Busy(
                f"{what} is in use by {_describe(holder)}, and --no-wait says not to wait for it. Nothing was changed: "
                "try again later."
            )
    begin = datetime.now(timezone.utc)
    known = _read_holder(path)

    def describe() -> str | None:
        nonlocal known
        holder = known = _read_holder(path) or known  # its note is gone a moment before the lock is free
        if _shares_work(holder):
            return None  # who started both says how far they are
        minutes = round((datetime.now(timezone.utc) - begin).total_seconds() / 60)
        so_far = f" ({minutes} min so far)" if minutes else ""
        return f"waiting for {_describe(holder)}, which is at work in {what}{so_far}"

    with telling(describe):
        lock.acquire()


class _Holder(FrozenModel):
    """Who holds a lock."""

    host: str
    process: int
    since: str  #: ISO 8601, UTC
    started_by: str | None  #: as `STARTED_BY`

    @classmethod
    def of_this_process(cls) -> _Holder:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return cls(host=socket.gethostname(), process=os.getpid(), since=now, started_by=os.environ.get(STARTED_BY))


def _shares_work(holder: _Holder | None) -> bool:
    """Whether the holder of a lock and this process were started by the same one, as the workers of `reproduce` are."""
    return holder is not None and holder.started_by is not None and holder.started_by == os.environ.get(STARTED_BY)


def _locate_holder(lock: Path) -> Path:
    return lock.with_name(f"{lock.name}.holder")


def _read_holder(lock: Path) -> _Holder | None:
    """Who holds a lock; None where that is not known, as in the moment before it is written."""
    try:
        return _Holder.model_validate_json(read_regular(_locate_holder(lock), 1 << 16))
    except (ReproError, ValidationError):
        return None


def _describe(holder: _Holder | None) -> str:
    if holder is None:
        return "another process"
    try:
        since = datetime.fromisoformat(holder.since).strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        since = holder.since
    return f"process {holder.process} on host {holder.host} (at work since {since} UTC)"

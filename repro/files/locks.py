"""Locks of places in which one process at a time works. Who waits for one is told for whom.

A lock is a lease (`leases`), which holds on the file systems that clusters share, and is free when its holder ends,
however it ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta, timezone
from pathlib import Path

from repro.errors import ReproError
from repro.files import leases
from repro.files.leases import STARTED_BY, Holder, Lease
from repro.files.notices import PATIENCE, telling
from repro.files.places import look_anew
from repro.paths import unwritable

_WAITS: ContextVar[bool] = ContextVar("waits", default=True)


class Busy(ReproError):
    """Another process is at work, and it is not to be waited for: trying again later is all that there is to do."""

    exit_code = leases.LOST


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
    lease = Lease(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lease, what)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    try:
        look_anew(path.parent)  # another machine may have written there until a moment ago
        yield
    finally:
        lease.release()


def describe_holder(directory: Path) -> str:
    """Describe who works in a directory: "another process" where that is not known."""
    return _describe(leases.find_holder(directory / ".lock"))


def find_holder(directory: Path) -> str | None:
    """Describe who works in a directory, as far as can be told at this moment; None where nobody does.

    A holder on another machine may be gone. If it has not written for longer than a lease lasts, it is told since when.
    """
    lock = directory / ".lock"
    holder = leases.find_holder(lock)
    if holder is None:
        return None
    last = leases.find_last_beat(lock, holder)
    if last is None or datetime.now(timezone.utc) - last < timedelta(seconds=leases.EXPIRY):
        return _describe(holder)
    return (
        f"{_describe(holder)}, without a sign of life since {last:%Y-%m-%d %H:%M:%S} UTC by the file server's clock: "
        "it may be gone, and then the same command continues"
    )


def _acquire(lease: Lease, what: str) -> None:
    if lease.acquire(0):
        return
    begin = datetime.now(timezone.utc)
    known = leases.find_holder(lease.directory)

    def describe() -> str | None:
        nonlocal known
        holder = known = leases.find_holder(lease.directory) or known  # it may have ended a moment ago
        if _shares_work(holder):
            return None  # who started both says how far they are
        minutes = round((datetime.now(timezone.utc) - begin).total_seconds() / 60)
        so_far = f" ({minutes} min so far)" if minutes else ""
        silent = ""
        if lease.silence > 2 * leases.BEAT:
            silent = (
                f"; it gave no sign of life for {lease.silence:.0f} seconds, and after {leases.EXPIRY:.0f} it is taken "
                "for gone"
            )
        return f"waiting for {_describe(holder)}, which is at work in {what}{so_far}{silent}"

    with telling(describe):
        if not _WAITS.get():
            if _acquire_from_silent(lease):
                return
            holder = leases.find_holder(lease.directory)
            if not _shares_work(holder):
                raise Busy(
                    f"{what} is in use by {_describe(holder)}, and --no-wait says not to wait for it. Nothing was "
                    "changed: try again later."
                )
        lease.acquire(None)


def _acquire_from_silent(lease: Lease) -> bool:
    """Acquire a lease that is free within `PATIENCE` seconds, as many are that are held for a moment.

    What a machine held that is gone would never be free for those who do not wait. So they do until the holder gives a
    sign of life: at once where it is on this machine, else after some seconds.
    """
    silence = 0.0
    while not lease.acquire(PATIENCE):
        if lease.silence <= silence or leases.find_holder(lease.directory) is None:
            return False
        silence = lease.silence
    return True


def _shares_work(holder: Holder | None) -> bool:
    """Whether the holder of a lock and this process were started by the same one, as the workers of `reproduce` are."""
    return holder is not None and holder.started_by is not None and holder.started_by == os.environ.get(STARTED_BY)


def _describe(holder: Holder | None) -> str:
    if holder is None:
        return "another process"
    try:
        since = datetime.fromisoformat(holder.since).strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        since = holder.since
    return f"process {holder.process} on host {holder.host} (at work since {since} UTC)"

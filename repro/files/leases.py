"""Leases: what excludes others where several machines see the same files. No lock of the system is used.

On network file systems `flock` may fail, hold on one machine only, or do nothing and say that it did; which it is can
not be told on one machine. A lease needs no more than that a file is created exclusively, which is atomic on all of
them (what else is assumed: `docs/cluster.md`). It is a file with a number in a directory of its own:

- Who wants it creates the file with the next number. If two try, one succeeds.
- The highest number holds, until its holder writes into it that it is released, or is gone. A lower one is deleted when
  there is a higher one, never before: so a process that was asleep meanwhile and takes a number that was free once
  finds a higher one, and has nothing.
- On the machine of its holder it is known whether that process is still there. Elsewhere a file that stays as it is
  for `EXPIRY` seconds has lost its holder, who otherwise writes into it every `BEAT` seconds. The seconds are counted
  by who waits, while the file server answers: clocks are never compared.
- A holder that finds a higher number has lost the lease, such as after it was stopped for some minutes. It ends its
  process when it looks, which it does every `BEAT` seconds that it is not stopped.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from contextlib import suppress
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from repro.errors import ReproError
from repro.files.notices import tell
from repro.files.regular_files import read_regular
from repro.files.schema import FrozenModel

#: Environment variable that names who started this process, and others that share its work and are waited for.
STARTED_BY = "REPRO_STARTED_BY"
#: Exit code of a process that lost a lease: EX_TEMPFAIL of sysexits.h.
LOST = 75
#: Seconds without a sign of life after which a holder on another machine is taken for gone. A file server may be away
#: for as long as it takes; a computation that lets no other thread run takes well under a minute.
EXPIRY = 120.0
BEAT = 10.0  #: seconds between two signs of life
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  #: seconds between two looks at a lease of somebody else
_LIMIT = 1 << 16  #: bytes of a lease's file
_SIZE = 2048  #: bytes of one of ours: it is written again in its place, which needs no room on a full disk


class Holder(FrozenModel):
    """Who holds a lease, as its file has it."""

    host: str
    process: Annotated[int, Field(ge=1, lt=2**31)]
    since: str  #: ISO 8601, UTC
    started_by: str | None  #: as `STARTED_BY`
    machine: str  #: that, its boot, and the namespace of its processes; empty where they are not known
    started: int | None  #: when the process was, in ticks since the boot, which tells it from later ones of its number
    beat: int = 0
    released: bool = False


class Lease:
    """A lease that this process wants, or holds.

    Args:
        directory: of the lease's files alone; created if it does not exist.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._number = 0  #: of this process's file; 0: none
        self._holder = Holder(
            host=socket.gethostname(),
            process=os.getpid(),
            since=_now(),
            started_by=os.environ.get(STARTED_BY),
            machine=_identify_machine(),
            started=_read_start(os.getpid()),
        )
        self._over = threading.Event()
        self._beats: threading.Thread | None = None
        self._seen: tuple[int, bytes | None] = (0, None)
        self._unchanged = 0.0  #: seconds for which what was seen has not changed

    def acquire(self, patience: float | None) -> bool:
        """Wait until nobody else holds it; whether it is this process's then.

        Args:
            patience: seconds; None: as long as it takes.

        Raises:
            OSError: the directory cannot be written.
            ReproError: the file system does not create files exclusively.
        """
        begin = asked = time.monotonic()
        pause = _FIRST_PAUSE
        while not self._try():
            if patience is not None and time.monotonic() - begin >= patience:
                return False
            time.sleep(pause)
            # What the file server took to answer says nothing of the holder, who may have waited for it as well.
            self._unchanged += min(time.monotonic() - asked, pause + _FIRST_PAUSE)
            asked, pause = time.monotonic(), min(pause * 1.5, _LONGEST_PAUSE)
        return True

    @property
    def silence(self) -> float:
        """Seconds for which this process has waited without a sign of life of a holder on another machine."""
        return self._unchanged

    def release(self) -> None:
        """Let others have it.

        That its file is gone, or cannot be written, is no error: for other machines it expires, and on this one it is
        free when the process ends.
        """
        if os.getpid() != self._holder.process:  # a copy of the holder
            return
        self._over.set()
        if self._beats is not None:
            self._beats.join()
        self._holder = self._holder.model_copy(update={"released": True})
        with suppress(OSError):
            self._write()

    def _try(self) -> bool:
        numbers = list_numbers(self.directory)
        last = numbers[-1] if numbers else 0
        if last and not self._is_free(last):
            return False
        begin = time.monotonic()
        if not last:
            self._make_directory()
        try:
            os.close(self._open(last + 1, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        self._number = last + 1
        try:
            self._require_exclusive()
            self._holder = self._holder.model_copy(update={"since": _now(), "released": False})
            self._write()
            numbers = list_numbers(self.directory)
            if numbers[-1:] != [self._number]:
                self._remove(self._number)
                return False
            for number in numbers[:-1]:
                self._remove(number)
            self._over.clear()
            self._beats = threading.Thread(target=self._keep, daemon=True)
            self._beats.start()
        except FileNotFoundError:
            return False  # this process was asleep for so long that it was taken for gone already
        except BaseException:
            if time.monotonic() - begin < EXPIRY / 4:  # else it may have been taken for that of somebody who is gone
                self._remove(self._number)
            raise
        return True

    def _make_directory(self) -> None:
        with suppress(OSError):
            before = os.lstat(self.directory)
            if stat.S_ISREG(before.st_mode) and not before.st_size:
                self.directory.unlink()  # the lock of an earlier version, a file without content
        self.directory.mkdir(parents=True, exist_ok=True)

    def _is_free(self, number: int) -> bool:
        seen = number, _read(self.directory / str(number))
        holder = parse_holder(seen[1])
        if holder is not None:
            if holder.released:
                return True
            if (state := find_out(holder)) != "unknown":
                self._unchanged = 0.0
                return state == "gone"
        if seen != self._seen:
            self._seen, self._unchanged = seen, 0.0
        return self._unchanged >= EXPIRY

    def _require_exclusive(self) -> None:
        try:
            os.close(self._open(self._number, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        raise ReproError(
            f"{self.directory.parent}: this file system creates a file exclusively that is there already, so that "
            "nothing keeps two runs apart. Choose a place on another one (--results, REPRO_CACHE, REPRO_DATA)."
        )

    def _keep(self) -> None:
        while not self._over.wait(BEAT):
            self._holder = self._holder.model_copy(update={"beat": self._holder.beat + 1})
            with suppress(OSError):  # the file server may be away for a while; that the file is, the look shows
                self._write()
            with suppress(OSError):  # behind the writing, which may have waited for the server for minutes
                if list_numbers(self.directory)[-1:] != [self._number]:
                    self._give_up()

    def _give_up(self) -> None:
        tell(
            f"error: {self.directory}: another process has taken over, because this one gave no sign of life for "
            f"{EXPIRY:.0f} seconds; or the file was deleted. This process ends at once; what was saved stays."
        )
        os._exit(LOST)

    def _write(self) -> None:
        """Write who holds it. Once closed, it is with the file server; and on the disk when that sees fit."""
        content = self._holder.model_dump_json().encode().ljust(_SIZE)
        descriptor = self._open(self._number)
        try:
            while content:
                content = content[os.write(descriptor, content) :]
        finally:
            os.close(descriptor)

    def _open(self, number: int, flags: int = 0) -> int:
        return os.open(self.directory / str(number), os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o666)

    def _remove(self, number: int) -> None:
        with suppress(OSError):
            (self.directory / str(number)).unlink()


def find_holder(directory: Path) -> Holder | None:
    """Find who holds a lease, as far as its files say; None where nobody does. Nothing is written."""
    with suppress(OSError):
        for number in list_numbers(directory)[-1:]:
            holder = parse_holder(_read(directory / str(number)))
            if holder is not None and not holder.released and find_out(holder) != "gone":
                return holder
    return None


def find_last_beat(directory: Path, holder: Holder) -> datetime | None:
    """Find when a holder on another machine last wrote its file, by the file server's clock; None where none is known.

    It is for people: clocks differ, so nothing is decided by it.
    """
    if find_out(holder) != "unknown":
        return None
    with suppress(OSError, IndexError):
        last = os.lstat(directory / str(list_numbers(directory)[-1]))
        return datetime.fromtimestamp(last.st_mtime, timezone.utc)
    return None


def list_numbers(directory: Path) -> list[int]:
    """List the numbers of a lease's files, the highest last. What else is there is not ours, such as `.nfs...`.

    Raises:
        OSError: the directory cannot be listed; it need not exist.
    """
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):  # an earlier version has a file there
        return []
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def parse_holder(content: bytes | None) -> Holder | None:
    """The content of a lease's file; None where it is missing, or half written."""
    if content is None:
        return None
    try:
        return Holder.model_validate_json(content)
    except ValidationError:
        return None


def find_out(holder: Holder) -> Literal["there", "gone", "unknown"]:
    """Find out whether a holder's process is still there: "unknown" if it is, or was, on another machine."""
    if not holder.machine or holder.machine != _identify_machine():
        return "unknown"
    with suppress(PermissionError):  # of another user
        try:
            os.kill(holder.process, 0)
        except ProcessLookupError:
            return "gone"
    started = _read_start(holder.process)
    if started is None or holder.started is None:
        return "unknown"
    return "there" if started == holder.started else "gone"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@cache
def _identify_machine() -> str:
    """What two processes have in common if each can see whether the other one is there; empty if that is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        spaces = [os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "time")]
    except OSError:
        return ""
    return " ".join([socket.gethostname(), boot, *spaces])


def _read_start(process: int) -> int | None:
    """When a process was started; -1 of one that has ended and waits to be asked for its status."""
    try:
        fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
        return -1 if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def _read(path: Path) -> bytes | None:
    try:
        return read_regular(path, _LIMIT)
    except ReproError:  # it was deleted meanwhile, or is none of ours
        return None

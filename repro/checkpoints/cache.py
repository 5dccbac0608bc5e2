"""Downloaded files under their sha256: each is complete, or it is not there. The layout below the cache's directory:

`sha256/<first two digits>/<sha256>/<name>`: a whole file, with `.source.json` beside it: where it came from;
`partial/<key>`, `partial/<key>.json`, `partial/<key>.lock`: an unfinished download, how to resume it, and its lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import BinaryIO

from repro.errors import ReproError
from repro.files.locks import hold_lock
from repro.files.regular_files import open_regular, read_regular, sha256
from repro.paths import unwritable, write_atomically

#: Bytes that a download leaves free for whatever else uses the disk.
MARGIN = 100 << 20

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")


def require_safe_name(name: str) -> str:
    """Return `name` if it is the name of a file and cannot lead out of a directory.

    Raises:
        ReproError: it is empty, hidden, very long, or has a character with which it could mean another place.
    """
    if not _NAME.fullmatch(name):
        raise ReproError(
            f"{name[:60]!r} cannot be the name of a downloaded file: at most 200 letters, digits, '.', '_', '+' and "
            "'-' are, and no directory."
        )
    return name


@dataclass(frozen=True)
class Wanted:
    """What is known of a file beforehand."""

    digest: str  #: "sha256:..." or "md5:...", at least how it begins
    size: int | None = None  #: bytes

    @property
    def sha256(self) -> str | None:
        return self.digest.removeprefix("sha256:") if self.digest.startswith("sha256:") else None

    def is_met(self, partial: Partial) -> bool:
        """Whether `partial` is the whole file for certain."""
        if self.size not in (None, partial.size):
            return False
        return any(digest.startswith(self.digest) for digest in partial.digests)

    def describe_difference(self, partial: Partial) -> str:
        """How the hash of `partial` differs from `digest`, in words."""
        kind, expected = self.digest.split(":")
        actual = next(digest for digest in partial.digests if digest.startswith(kind)).removeprefix(f"{kind}:")
        return f"its {kind} is {actual}, not {expected}{'...' * (len(expected) < len(actual))}"


@dataclass(frozen=True)
class DownloadSource:
    """Where bytes came from."""

    url: str | None  #: None of a copy that the user brought
    validator: str | None = None  #: of a partial file: strong ETag, else Last-Modified; another means another body
    total: int | None = None  #: of a partial file: bytes of the whole, as its server announced
    checked: str | None = None  #: of a whole file: the digest that it was compared with


class Partial:
    """The bytes of a download so far, on disk, with their hashes. Those of an earlier process are read again first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0  #: bytes
        self._notes = path.with_name(f"{path.name}.json")
        self._hashes = _begin_hashes()
        self._file: BinaryIO | None = None
        self.source = _read_source(self._notes)
        if self.source is None or not _is_ours(path):
            self.discard()
        elif os.path.lexists(path):
            with open_regular(path) as file, _report_unwritable(path):
                while block := file.read(1 << 20):
                    self._count(block)

    @property
    def sha256(self) -> str:
        return self._hashes[0].hexdigest()

    @property
    def digests(self) -> list[str]:
        """The hashes in the form of `Wanted.digest`, all digits."""
        return [f"{total.name}:{total.hexdigest()}" for total in self._hashes]

    def restart(self, source: DownloadSource) -> None:
        """Forget the bytes; those that follow come from `source`."""
        self.discard()
        write_atomically(self._notes, json.dumps(asdict(source)).encode())
        self.source = source

    def append(self, block: bytes) -> None:
        """Add the bytes that come next.

        Raises:
            ReproError: the disk is full. The bytes before them stay, so that the download can be resumed if the server
                gave a validator.
        """
        with _report_unwritable(self.path):
            if self._file is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
                self._file = open(os.open(self.path, flags, 0o666), "ab")  # noqa: SIM115 closed by close()
            self._file.write(block)
        self._count(block)

    def close(self) -> None:
        """Flush the bytes to the disk, so that they are there after a power cut too."""
        file, self._file = self._file, None
        if file is not None:
            with _report_unwritable(self.path), file:
                file.flush()
                os.fsync(file.fileno())

    def discard(self) -> None:
        """Delete the bytes and what is known of them."""
        if self._file is not None:
            with suppress(OSError):  # a full disk may refuse the last bytes, which nobody wants any more
                self._file.close()
            self._file = None
        with _report_unwritable(self.path):
            self._notes.unlink(missing_ok=True)  # first: bytes without notes are never resumed
            self.path.unlink(missing_ok=True)
        self.source, self.size, self._hashes = None, 0, _begin_hashes()

    def _count(self, block: bytes) -> None:
        self.size += len(block)
        for total in self._hashes:
            total.update(block)


class Cache:
    """The files below `directory`, which need not exist yet."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def find_stored(self, prefix: str) -> Iterator[Path]:
        """Yield the files whose sha256 begins with `prefix` (at least two hex digits), without reading them."""
        yield from sorted((self.directory / "sha256" / prefix[:2]).glob(f"{prefix}*/[!.]*"))

    def find_stored_from(self, urls: Collection[str], checked: str) -> Iterator[Path]:
        """Yield the files from one of `urls`, or from the user, that were compared with the digest `checked`."""
        for notes in sorted(self.directory.glob("sha256/*/*/.source.json")):
            source = _read_source(notes)
            if source and (source.url is None or source.url in urls) and source.checked == checked:
                yield from sorted(notes.parent.glob("[!.]*"))

    @staticmethod
    def is_whole(path: Path) -> bool:
        """Whether a stored file still has the sha256 under which it is stored."""
        try:
            return sha256(path) == path.parent.name
        except ReproError:  # no regular file, or one that may not be read
            return False

    @staticmethod
    def read_source_url(path: Path) -> str | None:
        """The URL that a stored file came from, if that is known."""
        source = _read_source(path.with_name(".source.json"))
        return source.url if source else None

    @contextmanager
    def open_partial(self, key: str) -> Iterator[Partial]:
        """Open the download of `key`, while other processes wait for it.

        Raises:
            ReproError: the cache cannot be written.
        """
        path = self.directory / "partial" / key
        with hold_lock(Path(f"{path}.lock"), f"the download {path}"):
            partial = Partial(path)
            try:
                yield partial
            finally:
                if partial.source and partial.source.validator:
                    partial.close()
                else:
                    partial.discard()  # it cannot be resumed

    def publish(self, partial: Partial, name: str, checked: str) -> Path:
        """Store a whole `partial` under its sha256; a damaged file of that name is replaced.

        Raises:
            ReproError: the cache cannot be written; `partial` stays.
        """
        partial.close()
        assert partial.source is not None  # whoever adds bytes says where they come from
        path = self.directory / "sha256" / partial.sha256[:2] / partial.sha256 / require_safe_name(name)
        source = DownloadSource(partial.source.url, checked=checked)
        write_atomically(path.with_name(".source.json"), json.dumps(asdict(source)).encode())
        with _report_unwritable(path):
            os.replace(partial.path, path)
            _flush_names(path.parent)
        partial.discard()
        return path

    def require_room(self, size: int) -> None:
        """Make sure, before `size` more bytes are fetched, that the disk has room for them.

        Raises:
            ReproError: fewer bytes are free than that and `MARGIN` together.
        """
        with _report_unwritable(self.directory):
            free = shutil.disk_usage(self.directory).free
        if free < size + MARGIN:
            raise ReproError(
                f"not enough room in {self.directory}: the download takes {size / 1e6:.1f} MB and "
                f"{MARGIN / 1e6:.0f} MB stay free, but only {free / 1e6:.1f} MB are. Free some space, or choose a "
                "directory on another disk (REPRO_CACHE is the cache's)."
            )


def _read_source(path: Path) -> DownloadSource | None:
    """The notes in `path`; None if there are none, or if they are damaged."""
    try:
        source = DownloadSource(**json.loads(read_regular(path, 1 << 20)))
    except (ReproError, ValueError, TypeError, RecursionError):
        return None
    kinds = str | None, str | None, int | None, str | None
    return source if all(isinstance(value, kind) for value, kind in zip(astuple(source), kinds, strict=True)) else None


def _is_ours(path: Path) -> bool:
    """Whether a partial file is a regular one that has no other name, so that to write it changes no other file."""
    try:
        state = os.lstat(path)
    except OSError:
        return True  # it is not there
    return stat.S_ISREG(state.st_mode) and state.st_nlink == 1


def _begin_hashes() -> tuple[hashlib._Hash, hashlib._Hash]:
    return hashlib.sha256(), hashlib.md5(usedforsecurity=False)


def _flush_names(directory: Path) -> None:
    """Let a rename survive a power cut, where the file system can promise it."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _report_unwritable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error

"""One interface to many files: those below a directory, or those in a tar archive, which is not unpacked.

ImageNet's training archive holds 1.28 million files in 1000 archives. Unpacking them takes hours, another 148 GB and
1.28 million directory entries, and reading a file is a seek either way.
"""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from repro.data.leftovers import is_hidden, leave_out_leftovers
from repro.errors import ReproError
from repro.experiments import digest
from repro.files.places import read_state
from repro.files.regular_files import describe_unreadable, open_regular, read_regular
from repro.paths import cache_directory, write_atomically

_HEADER_LIMIT = 1 << 20  # bytes


class FileStorage(Protocol):
    """Files by their number, the index of their name in `names`. It can be sent to another process."""

    names: list[str]  #: relative paths, with slashes

    def read(self, index: int, limit: int, what: str) -> bytes:
        """Read a file's content.

        Args:
            limit: bytes that such a file has at most.
            what: what the file is, for messages.

        Raises:
            ReproError: it cannot be read, or is no regular file of at most `limit` bytes.
        """

    def describe_place(self, index: int) -> str:
        """Describe the place of a file in words, for messages."""


class Directory:
    """The files in a directory and in its subdirectories, one level deep.

    Without hidden ones, and what downloads did not finish.

    Raises:
        ReproError: it cannot be listed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.names = leave_out_leftovers(_list_files(path), path)
        except OSError as error:
            raise ReproError(f"{error.filename} cannot be listed: {error.strerror}") from None

    def read(self, index: int, limit: int, what: str) -> bytes:
        return read_regular(self.path / self.names[index], limit, what)

    def describe_place(self, index: int) -> str:
        return str(self.path / self.names[index])


class TarArchive:
    """The files in a tar archive and in the archives that it holds: `name.tar` in it is a directory `name`.

    Without hidden ones, which macOS packs beside others' files, and what downloads did not finish: as `Directory`.
    Where each file begins is kept in the cache, for as long as the archive's size and time of change stay the same:
    finding all of ImageNet's files takes minutes.

    Raises:
        ReproError: it cannot be read, is no tar archive, is cut short, or holds something that is no plain file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            state = read_state(path)
            key = digest([os.path.realpath(path), state.st_size, state.st_mtime_ns])
            kept = cache_directory() / "archives" / f"{key}.npz"
            index = _load_index(kept)
            if index is None:
                index = _index_archive(path)
                _save_index(kept, *index)
        except OSError as error:
            raise ReproError(f"{path} cannot be read: {error.strerror or error}") from None
        except ReproError:
            raise
        except Exception as error:  # what tarfile raises for a forged header depends on where the damage is
            raise ReproError(f"{path} is damaged or cut short: {describe_damage(error)}. Download it again.") from None
        names, spans = index
        kept_names = set(leave_out_leftovers((name for name in names if not is_hidden(name)), path))
        kept_numbers = [number for number, name in enumerate(names) if name in kept_names]
        self.names, self._spans = [names[number] for number in kept_numbers], spans[kept_numbers]

    def read(self, index: int, limit: int, what: str) -> bytes:
        offset, size = self._spans[index].tolist()
        if size > limit:
            raise ReproError(
                f"{what} {self.describe_place(index)} cannot be read: it has {size} bytes, and such a file has at most "
                f"{limit}"
            )
        with open_regular(self.path, what=what) as file:
            try:
                file.seek(offset)
                content = file.read(size)
            except (OSError, MemoryError) as error:
                raise describe_unreadable(self.path, error, what) from None
        if len(content) < size:
            raise ReproError(f"{what} {self.describe_place(index)} cannot be read: the archive ends within it")
        return content

    def describe_place(self, index: int) -> str:
        return f"{self.names[index]} in {self.path}"


def describe_damage(error: Exception) -> str:
    """Describe what tarfile raised for an archive, in a line."""
    if isinstance(error, RecursionError):
        return "more headers in a row than a file has"
    message = " ".join(str(error).split())[:300]
    return message if isinstance(error, tarfile.TarError | OSError | EOFError) else f"{type(error).__name__}: {message}"


def _list_files(path: Path, prefix: str = "", deeper: bool = True) -> Iterator[str]:
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not entry.is_dir():
                yield prefix + entry.name
            elif deeper:
                yield from _list_files(Path(entry.path), f"{entry.name}/", deeper=False)


def _index_archive(path: Path) -> tuple[list[str], np.ndarray]:
    """The names in ascending order, and int64 (n, 2): where in `path` each one's content begins, and its bytes."""
    spans: dict[str, tuple[int, int]] = {}
    with open_regular(path) as file:
        for name, begin, length in _iterate_members(file, 0, file.seek(0, os.SEEK_END)):
            packed = name.endswith(".tar") and not is_hidden(name)
            directory = f"{name.removesuffix('.tar')}/" if packed else ""
            members = _iterate_members(file, begin, length) if packed else [(name, begin, length)]
            for member, first, size in members:
                if directory + member in spans:
                    raise tarfile.TarError(f"{directory}{member} is in it twice")
                spans[directory + member] = first, size
    names = sorted(spans)
    return names, np.array([spans[name] for name in names], dtype=np.int64).reshape(-1, 2)


def _iterate_members(file: BinaryIO, begin: int, length: int) -> Iterator[tuple[str, int, int]]:
    """(name, first byte in `file`, bytes) of the files in the archive that lies in a part of `file`."""
    with tarfile.open(fileobj=_FileSection(file, begin, length), mode="r:") as tar:
        for member in tar:
            if member.isdir():
                continue
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                raise tarfile.TarError(f"{member.name} is no plain file")
            if member.size < 0:
                raise tarfile.TarError(f"{member.name} has {member.size} bytes")
            if member.offset_data + member.size > length:
                raise tarfile.TarError(f"it ends within {member.name}")
            # Or all 1.28 million of them would be kept in memory.
            tar.members.clear()  # type: ignore[attr-defined]  # typeshed lacks it
            yield member.name.removeprefix("./"), begin + member.offset_data, member.size
        tar.fileobj.seek(tar.offset)  # tarfile takes a damaged header for the end
        if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.TarError(f"what is at byte {begin + tar.offset} is neither a file nor the end")


class _FileSection(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, file: BinaryIO, begin: int, length: int) -> None:
        self._file, self._begin, self._length, self._at = file, begin, length, 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        """No more than there is, or than headers need, whatever a forged one asks for: tarfile reads only these."""
        if not 0 <= size <= _HEADER_LIMIT:
            raise tarfile.TarError(f"a header at byte {self._begin + self._at} has {size} bytes")
        rest = max(0, self._length - self._at)
        self._file.seek(self._begin + self._at)
        content = self._file.read(min(size, rest))
        self._at += len(content)
        return content


def _save_index(path: Path, names: list[str], spans: np.ndarray) -> None:
    content = io.BytesIO()
    np.savez_compressed(content, names=np.array("\n".join(names).encode(errors="surrogateescape")), spans=spans)
    with suppress(ReproError):  # a cache that cannot be written costs time, no more
        write_atomically(path, content.getvalue())


def _load_index(path: Path) -> tuple[list[str], np.ndarray] | None:
    """The kept index; None where there is none, or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as content:
            names, spans = bytes(content["names"]).decode(errors="surrogateescape").split("\n"), content["spans"]
    # What zipfile and numpy raise depends on where the damage is; RuntimeError, for one, where it looks encrypted.
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile, zlib.error):
        return None
    return (names, spans) if spans.shape == (len(names), 2) else None

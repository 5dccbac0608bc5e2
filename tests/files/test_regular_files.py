"""Only regular files are opened, within a bound, and what else there is, is named."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from repro.errors import ReproError
from repro.files import regular_files
from repro.files.regular_files import hash_file, open_regular, read_regular, sha256

READERS: list[Callable[[Path], object]] = [open_regular, hash_file, sha256, lambda path: read_regular(path, 100)]


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


OTHERS = {
    "missing": (lambda path: None, "it does not exist"),
    "directory": (Path.mkdir, "it is no regular file but a directory"),
    "named pipe": (make_fifo, "it is no regular file but a named pipe"),
    "socket": (make_socket, "it is no regular file but a socket"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "it is no regular file but a device"),
    "dangling link": (lambda path: path.symlink_to("nowhere"), "it is a link to nowhere, which does not exist"),
    "loop": (lambda path: path.symlink_to(path.name), "it is a link that leads back to itself"),
}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_file_is_named_at_once(tmp_path, monkeypatch, read, kind):
    monkeypatch.chdir(tmp_path)
    make, reason = OTHERS[kind]
    make(tmp_path / "input")
    with pytest.raises(ReproError, match=f"{tmp_path / 'input'} cannot be read: {reason}"):
        read(tmp_path / "input")


@pytest.mark.parametrize("read", READERS)
def test_paths_that_cannot_be(tmp_path, read):
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / ("x" * 300), tmp_path / "a\0b", tmp_path / "file" / "below", tmp_path / "\udc80\ud800"):
        with pytest.raises(ReproError, match="cannot be read"):
            read(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
@pytest.mark.parametrize("read", READERS)
def test_a_file_below_a_directory_that_may_not_be_entered(tmp_path, read):
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "file").write_bytes(b"")
    (tmp_path / "closed").chmod(0)
    with pytest.raises(ReproError, match="Permission denied"):
        read(tmp_path / "closed" / "file")


def test_a_file_is_read_and_hashed(tmp_path):
    (tmp_path / "file").write_bytes(b"weights")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 7) == b"weights"
    digests = hash_file(tmp_path / "link")
    assert digests.sha256 == sha256(tmp_path / "file") == hashlib.sha256(b"weights").hexdigest()
    assert digests.md5 == hashlib.md5(b"weights").hexdigest()
    assert digests.size == 7


def test_a_file_beyond_the_bound(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)
    for read in (open_regular, read_regular):
        with pytest.raises(
            ReproError, match=r"weights .*/file cannot be read: it has 1099511627776 bytes.* at most 100"
        ):
            read(tmp_path / "file", 100, "weights")


def test_a_file_that_gives_more_than_it_has():
    """What Linux shows of its processes has no size."""
    path = Path("/proc/self/status")
    if not path.exists():
        pytest.skip("needs Linux's /proc")
    with pytest.raises(ReproError, match="its length changed while it was read"):
        read_regular(path, 1 << 20)


@pytest.mark.parametrize(("times", "read"), [(1, True), (4, True), (5, False)])
def test_a_file_that_another_machine_replaced_meanwhile_is_opened_again(times, read, tmp_path, monkeypatch):
    """On NFS the one that was opened is then gone."""
    (tmp_path / "record").write_bytes(b"new")
    open_, left = regular_files.open_regular, [times]

    class Stale:
        def __init__(self, file):
            self.file = file

        def read(self, size):
            left[0] -= 1
            if left[0] >= 0:
                raise OSError(errno.ESTALE, "Stale file handle")
            return self.file.read(size)

        def fileno(self):
            return self.file.fileno()

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

    monkeypatch.setattr(regular_files, "open_regular", lambda *arguments: Stale(open_(*arguments)))
    if read:
        assert read_regular(tmp_path / "record", 100) == b"new"
    else:
        with pytest.raises(ReproError, match="Stale file handle"):
            read_regular(tmp_path / "record", 100)

"""Locks between processes: who waits says for whom, or does not wait; what a killed process held is free."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from places import ROOT

from repro import cli
from repro.errors import ReproError
from repro.files import locks, notices
from repro.files.locks import Busy, describe_holder, hold_directory_lock, waiting

HOLD = """
import sys, pathlib
from repro.files.locks import hold_directory_lock
with hold_directory_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(directory, **environment):
    """Another process holds the lock, until its stdin is closed."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout.readline() == "held\n"
        yield child
    finally:
        child.stdin.close()
        child.wait()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    for module in (locks, notices):
        monkeypatch.setattr(module, "PATIENCE", 0.1)
    monkeypatch.setattr(notices, "AGAIN", 0.3)


def test_a_wait_is_told_with_host_process_and_time_and_again(tmp_path, capsys):
    with held_elsewhere(tmp_path) as child:
        threading.Timer(1.0, child.stdin.close).start()
        with hold_directory_lock(tmp_path):
            assert describe_holder(tmp_path).startswith(f"process {os.getpid()} on host")
    lines = capsys.readouterr().err.splitlines()
    where = f"which is at work in {tmp_path}"
    assert len(lines) >= 2
    assert all(line.startswith("waiting for ") and line.endswith(where) for line in lines)
    since = r"at work since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    assert re.search(rf"process {child.pid} on host {re.escape(socket.gethostname())} \({since}\)", lines[0])
    assert describe_holder(tmp_path) == "another process"  # nobody is there any more


def test_nothing_is_said_where_nothing_is_waited_for(tmp_path, capsys):
    with hold_directory_lock(tmp_path / "new"):
        time.sleep(0.2)
    assert capsys.readouterr().err == ""
    assert [path.name for path in (tmp_path / "new").iterdir()] == [".lock"]


def test_who_does_not_wait_ends_with_a_code_of_its_own(tmp_path):
    with held_elsewhere(tmp_path) as child, waiting(False):
        with pytest.raises(
            Busy, match=rf"in use by process {child.pid} on host .*--no-wait.*try again later"
        ) as raised:
            hold_directory_lock(tmp_path).__enter__()
        assert raised.value.exit_code == 75


def test_who_shares_the_work_is_waited_for(tmp_path, monkeypatch):
    """The workers of one `repro reproduce --no-wait` wait for one another's data and first stages."""
    monkeypatch.setenv("REPRO_STARTED_BY", "7 on here")
    with held_elsewhere(tmp_path) as child, waiting(False):
        threading.Timer(0.5, child.stdin.close).start()
        with hold_directory_lock(tmp_path):
            pass
    with held_elsewhere(tmp_path, REPRO_STARTED_BY="8 on here"), waiting(False), pytest.raises(Busy):
        hold_directory_lock(tmp_path).__enter__()


def test_nothing_is_said_of_a_wait_for_who_shares_the_work(tmp_path, monkeypatch, capsys):
    """`repro reproduce` says how far its workers are; of another one's workers it says that it waits for them."""
    for mine, told in (("7 on here", False), ("8 on here", True)):
        monkeypatch.setenv("REPRO_STARTED_BY", mine)
        with held_elsewhere(tmp_path, REPRO_STARTED_BY="7 on here") as child:
            threading.Timer(1.0, child.stdin.close).start()
            with hold_directory_lock(tmp_path):
                pass
        assert (f"waiting for process {child.pid} on host" in capsys.readouterr().err) == told
    monkeypatch.delenv("REPRO_STARTED_BY")
    with held_elsewhere(tmp_path) as child:  # of somebody who started it alone
        threading.Timer(1.0, child.stdin.close).start()
        with hold_directory_lock(tmp_path):
            pass
    assert f"waiting for process {child.pid} on host" in capsys.readouterr().err


def test_what_a_killed_process_held_is_free(tmp_path, capsys):
    with held_elsewhere(tmp_path) as child:
        child.kill()
        child.wait()
    with hold_directory_lock(tmp_path):
        assert f"process {os.getpid()} " in describe_holder(tmp_path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", ["", "{", '{"host": 3}', "\x00"])
def test_a_damaged_file_of_a_lock_is_one_that_is_held(tmp_path, content):
    with held_elsewhere(tmp_path), waiting(False):
        (tmp_path / ".lock" / "1").write_text(content)
        with pytest.raises(Busy, match="in use by another process"):
            hold_directory_lock(tmp_path).__enter__()


def test_a_place_that_cannot_be_locked_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ReproError, match=r"cannot write .*file"), hold_directory_lock(tmp_path / "file"):
        pass


def test_the_command_line_ends_with_the_code_of_the_error(monkeypatch, capsys):
    def refuse():
        raise Busy("in use")

    monkeypatch.setattr(cli, "app", refuse)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 75
    assert capsys.readouterr().err == "error: in use\n"

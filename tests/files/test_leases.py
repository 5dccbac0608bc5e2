"""Leases between processes that share nothing but files, on file systems that do not keep what they promise.

Another machine is a process that takes itself for one: it does not recognise the others' processes.
"""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from datetime import datetime, timezone

import pytest
from places import ROOT

from repro.errors import ReproError
from repro.files import leases, locks, notices
from repro.files.leases import Lease, find_holder, list_numbers, parse_holder
from repro.files.locks import hold_directory_lock, hold_lock

#: A holder: FIRST is executed before, and a line is printed for each letter that it reads.
HOLD = """
import fcntl, os, pathlib, socket, sys, time
from repro.files import leases, locks
leases.BEAT = 0.05
exec(sys.argv[2])
with locks.hold_directory_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    while sys.stdin.read(1):
        pathlib.Path(sys.argv[1], "written").write_text("x")
"""
ELSEWHERE = "leases._identify_machine = lambda: 'another machine'"


@contextmanager
def held_elsewhere(directory, first=ELSEWHERE):
    """Another process holds the lock, until its stdin is closed."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory), first], env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout.readline() == "held\n"
        yield child
    finally:
        with suppress(ProcessLookupError):
            child.send_signal(signal.SIGCONT)
        child.stdin.close()
        child.wait()
        child.stdout.close()
        child.stderr.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(leases, "EXPIRY", 3.0)
    monkeypatch.setattr(leases, "_LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(notices, "PATIENCE", 0.1)


def fail(number):
    return f"def flock(*_): raise OSError({number}, os.strerror({number}))\nfcntl.flock = fcntl.lockf = flock"


@pytest.mark.parametrize(
    "flock",
    ["fcntl.flock = fcntl.lockf = lambda *_: None", fail(errno.ENOLCK), fail(errno.EOPNOTSUPP)],
    ids=["does nothing", "no locks", "not supported"],
)
def test_where_flock_does_nothing_or_fails_one_process_works_at_a_time(flock, tmp_path, monkeypatch):
    import fcntl

    def fails(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    for name in ("flock", "lockf"):
        monkeypatch.setattr(fcntl, name, lambda *_: None if "None" in flock else fails())
    with held_elsewhere(tmp_path, flock), locks.waiting(False), pytest.raises(locks.Busy):
        hold_directory_lock(tmp_path).__enter__()
    with hold_directory_lock(tmp_path), locks.waiting(False):
        pass


def contend(directory, rounds, barrier, overlaps):
    """Take and give back a lock in each round, at the same instant as others do; count whom this meets within."""
    leases.EXPIRY, leases._FIRST_PAUSE, leases._LONGEST_PAUSE = 1.0, 0.003, 0.01
    for number in range(rounds):
        inside = directory / f"{number}.inside"
        barrier.wait(120)
        with hold_lock(directory / f"{number}.lock", "it"):
            try:
                descriptor = os.open(inside, os.O_CREAT | os.O_EXCL)
            except FileExistsError:
                overlaps.value += 1
                continue
            time.sleep(0.002)
            os.close(descriptor)
            os.unlink(inside)
    os._exit(0)


@pytest.mark.parametrize("before", ["nobody", "whoever was killed", "whoever was killed elsewhere"])
def test_of_several_that_come_at_the_same_instant_one_works_at_a_time(before, tmp_path):
    rounds, context = 50 if "elsewhere" not in before else 3, multiprocessing.get_context("fork")
    for number in range(rounds if before != "nobody" else 0):
        gone = Lease(tmp_path / f"{number}.lock")._holder.model_copy(update={"process": 2**22 - 1})
        if "elsewhere" in before:
            gone = gone.model_copy(update={"machine": "another"})
        (tmp_path / f"{number}.lock").mkdir()
        (tmp_path / f"{number}.lock" / "7").write_text(gone.model_dump_json())
    barrier, overlaps = context.Barrier(2), context.Value("i", 0)
    arguments = tmp_path, rounds, barrier, overlaps
    processes = [context.Process(target=contend, args=arguments, daemon=True) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0] * 2
    assert overlaps.value == 0
    for number in range(rounds):
        assert len(list_numbers(tmp_path / f"{number}.lock")) == 1
        assert find_holder(tmp_path / f"{number}.lock") is None


def test_a_holder_elsewhere_that_lives_is_waited_for_however_long_it_takes(tmp_path):
    with held_elsewhere(tmp_path):
        assert not Lease(tmp_path / ".lock").acquire(5.0)  # longer than EXPIRY


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_holder_elsewhere_that_is_gone_is_waited_for_until_it_expires_whatever_the_clocks_say(
    hours, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(leases, "BEAT", 0.1)
    skewed = f"{ELSEWHERE}\nnow = time.time; time.time = lambda: now() + {3600 * hours}"
    with held_elsewhere(tmp_path, skewed) as child:
        child.kill()
        child.wait()
    os.utime(tmp_path / ".lock" / "1", (time.time() + 3600 * hours,) * 2)
    monkeypatch.setattr(notices, "PATIENCE", 0.4)
    begin = time.monotonic()
    with hold_directory_lock(tmp_path):
        assert time.monotonic() - begin > 2.5
        assert list_numbers(tmp_path / ".lock") == [2]
    assert "no sign of life for" in capsys.readouterr().err


def test_who_does_not_wait_gets_what_a_machine_held_that_is_gone(tmp_path):
    """Else it were busy at each try, for ever."""
    with held_elsewhere(tmp_path) as child:
        with locks.waiting(False), pytest.raises(locks.Busy, match=f"in use by process {child.pid} "):
            hold_directory_lock(tmp_path).__enter__()
        child.kill()
        child.wait()
    with locks.waiting(False), hold_directory_lock(tmp_path):
        assert list_numbers(tmp_path / ".lock") == [2]


def test_a_holder_that_had_to_wait_for_the_file_server_looks_at_once_whether_it_still_holds(tmp_path, monkeypatch):
    lease = Lease(tmp_path / ".lock")
    with monkeypatch.context() as without_beats:
        without_beats.setattr(lease, "_keep", lambda: None)
        assert lease.acquire(0)

    def answer_late():
        (tmp_path / ".lock" / "2").touch()  # of whoever took over meanwhile
        lease._over.set()  # no other beat
        raise OSError(errno.ESTALE, "Stale file handle")

    lost = []
    monkeypatch.setattr(leases, "BEAT", 0.01)
    monkeypatch.setattr(lease, "_write", answer_late)
    monkeypatch.setattr(lease, "_give_up", lambda: lost.append(lease))
    lease._keep()
    assert lost == [lease]


def test_a_holder_here_that_is_gone_or_only_waits_to_be_asked_for_its_status_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "EXPIRY", 1e9)
    with held_elsewhere(tmp_path, "") as child:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        with hold_directory_lock(tmp_path):
            pass


def test_a_holder_here_that_is_stopped_keeps_its_lock(tmp_path):
    with held_elsewhere(tmp_path, "") as child:
        child.send_signal(signal.SIGSTOP)
        lease = Lease(tmp_path / ".lock")
        assert not lease.acquire(5.0)
        assert lease.silence < 2.0


def test_a_later_process_of_the_same_number_is_not_taken_for_the_holder(tmp_path):
    lease = Lease(tmp_path / ".lock")
    assert lease.acquire(0)
    path = tmp_path / ".lock" / "1"
    earlier = parse_holder(path.read_bytes()).model_copy(update={"started": 1})
    lease.release()
    path.write_text(earlier.model_dump_json())
    assert find_holder(tmp_path / ".lock") is None
    assert Lease(tmp_path / ".lock").acquire(0)


def test_who_was_stopped_until_others_took_over_ends_before_it_writes(tmp_path):
    with held_elsewhere(tmp_path) as child:
        child.send_signal(signal.SIGSTOP)
        with hold_directory_lock(tmp_path):
            child.send_signal(signal.SIGCONT)
            assert child.wait(60) == leases.LOST == 75
            assert "another process has taken over" in child.stderr.read()
            assert find_holder(tmp_path / ".lock").process == os.getpid()


def test_a_holder_elsewhere_without_a_sign_of_life_is_told_as_such(tmp_path):
    assert locks.find_holder(tmp_path) is None
    with held_elsewhere(tmp_path) as child:
        told = locks.find_holder(tmp_path)
        assert told.startswith(f"process {child.pid} on host ")
        assert told.endswith(" UTC)")
        child.send_signal(signal.SIGSTOP)
        at = datetime(2026, 11, 2, 3, 4, 5, tzinfo=timezone.utc).timestamp()
        os.utime(tmp_path / ".lock" / "1", (at, at))
        told = locks.find_holder(tmp_path)
        assert "without a sign of life since 2026-11-02 03:04:05 UTC by the file server's clock: it may be gone" in told
    with held_elsewhere(tmp_path, "") as child:  # of one that is here, it is known
        os.utime(tmp_path / ".lock" / "2", (at, at))
        assert locks.find_holder(tmp_path).endswith(" UTC)")


def test_who_slept_with_a_number_in_mind_has_nothing_by_it(tmp_path, monkeypatch):
    """It saw a lock that was free; meanwhile another one took it, and the number is free again."""
    asleep = Lease(tmp_path / ".lock")
    for _ in range(2):
        other = Lease(tmp_path / ".lock")
        assert other.acquire(0.2)
        other.release()
    assert other.acquire(0)
    seen = iter([[1]])
    monkeypatch.setattr(leases, "list_numbers", lambda directory: next(seen, None) or list_numbers(directory))
    monkeypatch.setattr(asleep, "_is_free", lambda number: number == 1)
    assert not asleep.acquire(0)
    assert list_numbers(tmp_path / ".lock") == [3]
    other.release()


def test_while_the_file_server_is_away_nobody_expires(tmp_path, monkeypatch):
    """Its holder may wait for the server, too."""
    with held_elsewhere(tmp_path) as child:
        child.kill()
        child.wait()
    lease = Lease(tmp_path / ".lock")
    assert not lease.acquire(0)
    read = leases._read

    def answer_late(path):
        time.sleep(2.0)
        return read(path)

    with monkeypatch.context() as away:
        away.setattr(leases, "_read", answer_late)
        assert not lease.acquire(3.5)
        assert lease.silence < leases.EXPIRY
    assert lease.acquire(60)
    lease.release()


def test_a_file_system_that_does_not_create_exclusively_is_refused(tmp_path, monkeypatch):
    create = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, *mode: create(path, flags & ~os.O_EXCL, *mode))
    with pytest.raises(ReproError, match=r"nothing keeps two runs apart\. Choose a place on another one"):
        hold_directory_lock(tmp_path).__enter__()


def test_an_error_before_it_is_held_leaves_it_free(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as later:
        later.setattr(os, "write", full)
        with pytest.raises(ReproError, match="the disk is full"), hold_directory_lock(tmp_path):
            pass
    assert Lease(tmp_path / ".lock").acquire(0)


def test_what_else_is_there_is_left_alone(tmp_path):
    """A file that was deleted while it was open keeps a name on NFS; an earlier version has a file for a directory."""
    (tmp_path / ".lock").touch()
    with hold_directory_lock(tmp_path):
        assert list_numbers(tmp_path / ".lock") == [1]
        (tmp_path / ".lock" / ".nfs00000000063e0a4500000002").touch()
    with hold_directory_lock(tmp_path):
        assert list_numbers(tmp_path / ".lock") == [2]
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / ".lock").write_text("of the user")
    with pytest.raises(ReproError, match="cannot write"), hold_directory_lock(tmp_path / "kept"):
        pass
    assert (tmp_path / "kept" / ".lock").read_text() == "of the user"


def test_who_was_asleep_before_it_wrote_its_name_begins_again(tmp_path, monkeypatch):
    """Meanwhile its file, which was empty, has expired, and another one works there."""
    other, late = Lease(tmp_path / ".lock"), Lease(tmp_path / ".lock")
    monkeypatch.setattr(late, "_require_exclusive", lambda: other.acquire(60))
    assert not late.acquire(0)
    assert find_holder(tmp_path / ".lock").process == os.getpid()
    assert list_numbers(tmp_path / ".lock") == [2]
    other.release()


def test_a_copy_of_the_holder_does_not_give_it_back(tmp_path):
    with hold_directory_lock(tmp_path):
        copy = multiprocessing.get_context("fork").Process(target=os.getpid)
        copy.start()
        copy.join()
        assert find_holder(tmp_path / ".lock").process == os.getpid()
    assert find_holder(tmp_path / ".lock") is None


def test_what_another_machine_wrote_while_it_held_the_lock_is_seen(tmp_path, monkeypatch):
    """A client of NFS remembers what is in a directory until it changes something there itself."""
    remembered, list_, open_ = {}, os.listdir, os.open

    def open_and_forget(path, flags, *mode):
        if flags & os.O_CREAT:
            remembered.pop(os.path.dirname(path), None)
        return open_(path, flags, *mode)

    monkeypatch.setattr(os, "listdir", lambda path: remembered.setdefault(os.fspath(path), list_(path)))
    monkeypatch.setattr(os, "open", open_and_forget)
    assert os.listdir(tmp_path) == []
    os.close(open_(tmp_path / "weights.pt", os.O_CREAT))
    assert os.listdir(tmp_path) == []
    with hold_directory_lock(tmp_path):
        assert "weights.pt" in os.listdir(tmp_path)
    assert sorted(list_(tmp_path)) == [".lock", "weights.pt"]

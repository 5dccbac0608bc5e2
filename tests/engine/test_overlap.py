"""Reading ahead and finishing behind: the same results in the same order, within a bound, and nothing left running."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from places import ROOT

from repro.data.pictures import UnreadableImage
from repro.data.video import UnreadableVideo
from repro.engine.interruption import announce_ending, ignore_in_worker
from repro.engine.overlap import cut_batches, finish_behind, read_ahead


def read(batch: range) -> list[int]:
    if 7 in batch:
        raise UnreadableImage("7", "image 7.jpg is corrupt")
    return [index**2 for index in batch]


def read_video(batch: range) -> None:
    raise UnreadableVideo("v", "video v.mp4 is corrupt")


def test_batches_end_where_a_part_ends():
    assert cut_batches([range(4), range(8, 15), range(20, 20)], 4) == [range(4), range(8, 12), range(12, 15)]


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_read_comes_in_order_and_an_error_in_its_turn(workers):
    """The error is of its own type in the process that reads nothing itself."""
    seen = []
    with pytest.raises(UnreadableImage, match=r"^image 7\.jpg is corrupt$") as raised:
        seen.extend(read_ahead(read, cut_batches([range(12)], 2), workers))
    assert seen == [[0, 1], [4, 9], [16, 25]]
    assert raised.value.image_id == "7"
    with pytest.raises(UnreadableVideo, match="is corrupt") as raised:
        next(read_ahead(read_video, [range(1)], workers))
    assert raised.value.video_id == "v"


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_results_are_finished_in_order_and_within_a_bound(threads):
    made, finished, lock = [], [], threading.Lock()

    def make():
        for number in range(20):
            made.append(number)
            yield number

    def finish(number):
        time.sleep(0.01 * (number % 3))
        with lock:
            finished.append(number)
        return number

    for taken, result in enumerate(finish_behind(finish, make(), threads), start=1):
        assert result == taken - 1
        assert len(made) - taken < max(2 * threads, 1)
    assert taken == 20
    assert (finished == sorted(finished)) == (threads < 2)


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("where", ["made", "finished"])
def test_an_error_comes_after_the_results_before_it(where, threads):
    def make():
        for number in range(9):
            if where == "made" and number == 5:
                raise ValueError("item 5")
            yield number

    def finish(number):
        if where == "finished" and number == 5:
            raise ValueError("item 5")
        return number

    results = []
    with pytest.raises(ValueError, match="item 5"):
        results.extend(finish_behind(finish, make(), threads))
    assert results == list(range(5))


def test_what_waits_is_given_up_where_nobody_wants_it():
    closed, finished = [], []

    def make():
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    def finish(number):
        time.sleep(0.01)
        finished.append(number)
        return number

    results = finish_behind(finish, make(), 2)
    assert next(results) == 0
    results.close()
    assert closed == [True]
    assert len(finished) <= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("finish")]


#: Reads ahead for ever, and says with which processes.
ENDLESS = """
import multiprocessing, time
from repro.engine.interruption import ending_in_order
from repro.engine.overlap import finish_behind, read_ahead
def read(batch):
    time.sleep(0.05)
    return batch
with ending_in_order():
    for number in finish_behind(int, read_ahead(read, range(10**6), 2), 2):
        if number == 3:
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_no_process_is_left_however_it_ends():
    """Ctrl-C and SIGTERM, which reach all processes, end them in order; after SIGKILL the readers see it themselves."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = {
        number: subprocess.Popen(
            [sys.executable, "-c", ENDLESS],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
        )
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
    }  # fmt: skip
    try:
        readers = {number: list(map(int, process.stdout.readline().split())) for number, process in started.items()}
        assert all(len(pids) == 2 and all(map(is_running, pids)) for pids in readers.values())
        for number, process in started.items():
            (os.kill if number == signal.SIGKILL else os.killpg)(process.pid, number)
        codes = {number: process.wait(timeout=30) for number, process in started.items()}
        assert codes == {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
        deadline = time.monotonic() + 30
        while left := [pid for pids in readers.values() for pid in pids if is_running(pid)]:
            assert time.monotonic() < deadline, left
            time.sleep(0.1)
    finally:
        for process in started.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def answer(connection) -> None:
    """Get SIGTERM, and in each line that is executed because of it another one."""

    def send_another(*_):
        signal.raise_signal(signal.SIGTERM)
        return send_another

    ignore_in_worker(announce_ending())
    sys.settrace(send_another)
    signal.raise_signal(signal.SIGTERM)
    sys.settrace(None)
    connection.send("still here")


def test_a_reader_outlives_signals_that_come_while_it_handles_others():
    """A scheduler sends SIGTERM to all, and what started the processes sends it on."""
    here, there = multiprocessing.get_context("fork").Pipe()
    announce_ending()
    reader = multiprocessing.get_context("fork").Process(target=answer, args=(there,), daemon=True)
    reader.start()
    try:
        assert here.poll(30)
        assert here.recv() == "still here"
    finally:
        reader.kill()
        reader.join()

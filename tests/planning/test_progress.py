"""How far a training is that has no record yet, by the files of its directory and its lock."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from repro.planning.progress import find_progress
from repro.planning.work_order import order_work
from repro.settings import Settings


@pytest.fixture
def order(tmp_path):
    return order_work("coco-r50-1gc", Settings(tmp_path))


def write_log(order, *lines: str) -> None:
    order.directory.mkdir(parents=True)
    (order.directory / "log.jsonl").write_text("".join(lines))
    os.utime(order.directory / "log.jsonl", (0, 0))


def line(iteration: int) -> str:
    return json.dumps({"iteration": iteration, "lr": 0.1, "losses": {}}) + "\n"


def test_what_has_not_begun_has_no_progress(order):
    assert find_progress(order) is None
    order.directory.mkdir(parents=True)
    assert find_progress(order) is None


@pytest.mark.parametrize(
    ("lines", "iteration"),
    [
        ([], 0),
        ([line(1), line(2)], 2),
        ([line(41), '{"iteration": 42, "lr"'], 41),  # the last one is being written
        ([line(7), "no json\n", "[]\n"], 7),
        ([line(number) for number in range(1, 5000)], 4999),
    ],
)
def test_an_interrupted_training_is_told_with_its_last_iteration(order, lines, iteration):
    write_log(order, *lines)
    progress = find_progress(order)
    assert (progress.iteration, progress.trained, progress.holder) == (iteration, False, None)
    assert str(progress).startswith(f"interrupted after iteration {iteration}, at 1970-01-01 00:00:00 UTC")


def test_a_finished_training_is_only_to_be_evaluated(order):
    write_log(order, line(3))
    (order.directory / "weights.pt").touch()
    assert not find_progress(order).trained  # the result is written after the weights
    (order.directory / "fitted.json").touch()
    assert find_progress(order).trained
    assert "not evaluated" in str(find_progress(order))


def test_a_running_training_is_told_with_process_and_host_until_it_ends(order):
    write_log(order, line(12))
    program = (
        "import sys\nfrom pathlib import Path\nfrom repro.files.locks import hold_directory_lock\n"
        "with hold_directory_lock(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(order.directory)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        told = str(find_progress(order))
        assert told.startswith(f"running, at iteration 12: process {process.pid} on host {os.uname().nodename} ")
    finally:
        process.kill()  # which leaves the file that says who held the lock
        process.communicate()
    assert str(find_progress(order)).startswith("interrupted after iteration 12")

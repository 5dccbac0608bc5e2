"""Decoders that end the process: the file is named, and the process goes on."""

from __future__ import annotations

import os
import signal
import threading
import time

import damaged_videos
import pytest

from repro.data import decoder_trial
from repro.data.decoder_trial import find_fault
from repro.data.video import UnreadableVideo, Video


@pytest.mark.parametrize("name", ["SIGABRT", "SIGSEGV"])
def test_faults_are_named(name):
    assert find_fault(lambda: os.kill(os.getpid(), signal.Signals[name])) == name


def test_what_ends_otherwise_is_no_fault(capfd):
    assert find_fault(lambda: os.write(1, b"not shown")) is None
    assert find_fault(lambda: 1 / 0) is None
    assert find_fault(lambda: os.kill(os.getpid(), signal.SIGKILL)) is None
    assert capfd.readouterr() == ("", "")


def test_a_copy_that_hangs_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(decoder_trial, "_PATIENCE", 1)
    begun = time.monotonic()
    assert find_fault(lambda: time.sleep(60)) is None
    assert time.monotonic() - begun < 30


def test_outside_the_main_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(find_fault(os.abort)))
    thread.start()
    thread.join()
    assert found == ["SIGABRT"]


def test_the_run_does_not_answer_twice():
    """A signal to all processes of the run reaches the copy, whose Python would do what the run does."""
    received = []
    before = signal.signal(signal.SIGUSR1, lambda *_: received.append(os.getpid()))
    try:
        assert find_fault(lambda: (os.kill(os.getpid(), signal.SIGUSR1), received and os.abort())) is None
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert received == []


def test_a_video_that_ends_its_decoder(tmp_path):
    """MPEG-4 that is damaged to have partitioned data, of which FFmpeg asserts what need not be."""
    sources = {path.name: path for path in damaged_videos.write_sources(tmp_path, "matroska")}
    whole = sources["mpeg4.mkv"].read_bytes()
    path = tmp_path / "damaged.mkv"
    path.write_bytes(damaged_videos.make_damaged("matroska", whole, 6033))
    with pytest.raises(UnreadableVideo, match=r"damaged\.mkv: its decoder, mpeg4, ends the process \(SIGABRT\)"):
        Video(path, "x")

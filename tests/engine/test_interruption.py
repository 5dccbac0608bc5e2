"""Signals that end a process: a training saves its state first, in whichever process they came."""

import io
import os
import signal
import threading

import pytest
import torch
from lightning_fabric import Fabric
from tiny_training import Noisy, Squares, recipe

from repro.engine import interruption
from repro.engine.interruption import INTERRUPTED, ending_in_order, postponing_signals
from repro.engine.launch import _report_failure
from repro.engine.loop import fit
from repro.engine.observation import Observation
from repro.errors import ReproError
from repro.files.seals import unseal_bytes

CODES = {signal.SIGTERM: 143, signal.SIGUSR1: 138, signal.SIGINT: 130}


def train(directory, model=None, of=None, **options):
    options = {"identity": "tiny", "seed": 3, "save_every": 1000, **options}
    return fit(model or Noisy(), of or recipe(), Squares(), directory=directory, **options)


@pytest.fixture(autouse=True)
def listening():
    """To Ctrl-C, which is ignored where a shell runs the tests in its background; undone with all handlers."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def read_iteration(directory):
    state = torch.load(io.BytesIO(unseal_bytes((directory / "state.pt").read_bytes())[0]), weights_only=True)
    return state["position"]["iteration"]


def send(number, iteration):
    def progress(at):
        if at.iteration == iteration:
            os.kill(os.getpid(), number)

    return progress


def ended_with(raised):
    return 130 if raised.type is KeyboardInterrupt else raised.value.code


@pytest.mark.rounding
@pytest.mark.parametrize("number", CODES)
def test_a_signal_saves_the_state_and_the_training_ends_in_the_same_bytes(number, tmp_path, capfd):
    with pytest.raises((SystemExit, KeyboardInterrupt)) as raised:
        train(tmp_path / "run", observation=Observation(progress=send(number, 7)))
    assert ended_with(raised) == CODES[number]
    assert read_iteration(tmp_path / "run") == 8
    assert f"{number.name}: {tmp_path / 'run'} has the state after iteration 8 of 18" in capfd.readouterr().err
    assert train(tmp_path / "run").segments[1].start == 8
    train(tmp_path / "reference")
    for name in ("weights.pt", "log.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "reference" / name).read_bytes()


def test_all_processes_wait_until_the_state_is_saved(tmp_path, monkeypatch):
    """srun ends the others when one has ended, and the first may still be writing."""
    saved = []
    monkeypatch.setattr(Fabric, "barrier", lambda *_: saved.append(read_iteration(tmp_path)))
    with pytest.raises(SystemExit):
        train(tmp_path, observation=Observation(progress=send(signal.SIGTERM, 7)))
    assert saved == [8]


def test_a_signal_in_the_last_moment_is_not_lost(tmp_path):
    with pytest.raises(SystemExit) as raised:
        train(tmp_path, observation=Observation(progress=send(signal.SIGTERM, 18)))
    assert raised.value.code == 143
    assert train(tmp_path).iterations == 18


@pytest.mark.rounding
def test_while_statistics_are_computed_nothing_of_the_training_is_lost(tmp_path, monkeypatch):
    precise = recipe(precise_norm=5)
    train(tmp_path / "reference", of=precise)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("repro.engine.loop.recompute_norm_statistics", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", of=precise)
    assert read_iteration(tmp_path / "run") == 18
    train(tmp_path / "run", of=precise)
    assert (tmp_path / "run/weights.pt").read_bytes() == (tmp_path / "reference/weights.pt").read_bytes()


def test_states_may_be_saved_by_the_clock(tmp_path):
    def stop(at):
        if at.iteration == 7:
            raise KeyboardInterrupt

    for seconds, saved in ((0, True), (1000, False)):
        directory = tmp_path / str(seconds)
        with pytest.raises(KeyboardInterrupt):
            train(directory, save_every=1, save_seconds=seconds, observation=Observation(progress=stop))
        assert (directory / "state.pt").exists() is saved
    assert read_iteration(tmp_path / "0") == 7


def test_handlers_are_as_before_and_a_signal_that_is_ignored_stays_so():
    before = {each: signal.getsignal(each) for each in interruption.SIGNALS}
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with postponing_signals() as request:
            os.kill(os.getpid(), signal.SIGUSR1)
        assert request.sign is None
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before[signal.SIGUSR1])
    with ending_in_order(), pytest.raises(SystemExit) as raised:
        os.kill(os.getpid(), signal.SIGTERM)
    assert raised.value.code == 143
    assert {each: signal.getsignal(each) for each in interruption.SIGNALS} == before
    assert frozenset(CODES.values()) == INTERRUPTED


def postpone(*happening):
    """Everything of `happening` within the block: signals that come, and what is called with the request."""
    with postponing_signals() as request:
        for each in happening:
            if isinstance(each, signal.Signals):
                os.kill(os.getpid(), each)
            else:
                each(request)


def fail(error):
    def raise_it(_):
        raise error

    return raise_it


def test_a_second_ctrl_c_ends_at_once_but_not_its_echo():
    def wait(request):
        request.since -= 10

    never = fail(AssertionError("the second Ctrl-C was postponed, too"))
    with pytest.raises(KeyboardInterrupt):
        postpone(signal.SIGINT, signal.SIGINT, wait, signal.SIGTERM, signal.SIGINT, never)


def test_another_process_that_ends_first_is_no_error_of_this_one():
    with pytest.raises(SystemExit) as raised:
        postpone(signal.SIGTERM, fail(RuntimeError("[gloo] Connection closed by peer")))
    assert raised.value.code == 143
    with pytest.raises(ReproError, match="disk is full"):
        postpone(signal.SIGTERM, fail(ReproError("the disk is full")))
    with pytest.raises(RuntimeError, match="no memory"):
        postpone(fail(RuntimeError("no memory")))


def test_in_another_thread_nothing_is_postponed():
    seen = []

    def work():
        with ending_in_order(), postponing_signals() as request:
            seen.append((request.sign, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(None, signal.getsignal(signal.SIGTERM))]


def test_processes_that_a_failure_ended_are_not_taken_for_it():
    assert _report_failure({0: 143, 1: 2}, 2) == 2
    assert _report_failure({0: 143, 1: 143}, 2) == 143


def test_of_two_processes_both_end_after_the_same_iteration(separate_processes):
    root, report = separate_processes
    assert report["signalled"] == [138, 138]
    assert (root / "signalled/log.jsonl").read_bytes().count(b"\n") == read_iteration(root / "signalled") == 7

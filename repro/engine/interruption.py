"""Signals that end a process: within a training they only ask for its end, so that its state is saved first.

A time limit (SIGUSR1, which Slurm sends some time before it), a preemption (SIGTERM) and Ctrl-C (SIGINT) are alike: the
process ends with 128 and the number of the signal, as shells name it, and the same command goes on. Imports no torch.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from ctypes import c_bool

    from lightning_fabric import Fabric

#: What asks a process to end: Ctrl-C, an administrator or a scheduler, and a time limit that comes near.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
#: Exit codes of a process that was asked to end: 130, 143, 138.
INTERRUPTED = frozenset(128 + number for number in SIGNALS)
#: Seconds within which a signal that comes again is the same one: a launcher sends on what a terminal sends to all.
_ECHO = 2.0


@dataclass
class Request:
    """Whether a signal asked for the end of this process meanwhile."""

    sign: signal.Signals | None = None
    since: float = 0.0

    def agree(self, fabric: Fabric) -> signal.Signals | None:
        """The signal that came in any of the processes, alike in all of them; each calls this at the same point."""
        if fabric.world_size == 1:
            return self.sign
        import torch

        number = fabric.all_reduce(torch.tensor(float(self.sign or 0), device=fabric.device), reduce_op="max")
        assert isinstance(number, torch.Tensor)  # as what is reduced
        return signal.Signals(int(number)) if number else None

    def _note(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self.sign is None:
            self.sign, self.since = signal.Signals(number), now
        elif number == signal.SIGINT and now - self.since > _ECHO:  # somebody at a keyboard does not want to wait
            raise KeyboardInterrupt


@contextmanager
def postponing_signals() -> Iterator[Request]:
    """Within the `with` block, the signals of `SIGNALS` end nothing; what came ends the process behind it, if not
    before. A second Ctrl-C, some time later, ends it at once.

    Signals are a matter of the main thread: in another one this does nothing, and neither for a signal that is ignored.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {each: signal.getsignal(each) for each in SIGNALS}
    replaced = [each for each, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for each in replaced:
        signal.signal(each, request._note)
    try:
        yield request
    except RuntimeError:
        if request.sign is None:
            raise  # else this is, most likely, that another process has ended for the same reason
    finally:
        for each in replaced:
            signal.signal(each, before[each])
    if request.sign:
        end_by_signal(request.sign)


def end_by_signal(number: int, _: object = None) -> NoReturn:
    """End this process in order, as one that a signal asked to end; a handler of signals.

    Raises:
        KeyboardInterrupt: the signal is SIGINT.
        SystemExit: it is another one.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Within the `with` block, SIGTERM and SIGUSR1 end this process as Ctrl-C does: what is open is closed before.

    In the main thread alone. A signal that is ignored, or has another handler already, stays as it is.
    """
    main = threading.current_thread() is threading.main_thread()
    default = [each for each in SIGNALS if main and signal.getsignal(each) is signal.SIG_DFL]
    for each in default:
        signal.signal(each, end_by_signal)
    try:
        yield
    finally:
        for each in default:
            signal.signal(each, signal.SIG_DFL)


def ignore_in_worker(ending: c_bool, _: int = 0) -> None:
    """Leave the signals of `SIGNALS` to the process that trains or predicts, in one that loads data for it.

    Slurm and terminals send them to all; without its loaders a training could not end in order.

    Args:
        ending: true where that process is at its end, at which `multiprocessing` ends others by SIGTERM and waits for
            them. It has no lock: one could be held where a signal comes in, or by a process that was killed.
    """
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0) if ending.value else None)


@cache
def announce_ending() -> c_bool:
    """Memory that processes started later share: true when this process is at its end.

    It becomes true before `multiprocessing` ends the processes that this one started.
    """
    from ctypes import c_bool
    from multiprocessing.sharedctypes import RawValue  # few commands start such processes

    ending = RawValue(c_bool, False)
    atexit.register(setattr, ending, "value", True)
    return ending

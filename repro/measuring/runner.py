"""Executes a plan: experiments side by side, each in a process or shared by several, with progress and an ETA.

Everything a worker finishes is on disk before it says so. Interrupting at any moment loses at most the iterations
since a run's last saved state, and the same command goes on from there.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from rich.console import Console

from repro.engine import launch
from repro.engine.log_rows import Iteration
from repro.errors import ReproError
from repro.files.leases import STARTED_BY
from repro.measuring.display import Display
from repro.measuring.waiting import Waiting
from repro.measuring.worker import build_environment, write_task
from repro.planning.plan import Step
from repro.planning.pretrainings import list_missing
from repro.settings import Settings


@dataclass(frozen=True)
class Outcome:
    """What became of one step: the record's file name, or why there is none."""

    step: Step
    record: str | None
    failure: str | None
    busy: bool = False  #: another process is at work there, and was not to be waited for
    result: str | None = None  #: the accuracy that was measured, in words


def run(
    steps: Sequence[Step], settings: Settings, jobs: int, command: str, console: Console, quiet: bool = False
) -> list[Outcome]:
    """Measure every step, `jobs` at a time (0: as many as there is room for).

    Args:
        quiet: show no progress.

    Raises:
        KeyboardInterrupt, SystemExit: a signal asked for the end; the workers have saved their states and ended.
        ReproError: torchrun or Slurm started several processes of this.
    """
    if not steps:
        return []
    if launcher := launch.find_processes(None).launcher:
        raise ReproError(
            f"this starts its own processes, and {launcher} would start all of them several times: run it without "
            f"{launcher} and with --devices, or the experiments one by one with `repro run`"
        )
    waiting = Waiting(steps)
    outcomes: list[Outcome] = []
    number = min(jobs or count_workers(settings), len(steps))
    display = Display(console, steps, number, list_missing(steps, settings), quiet)
    workers = [_Worker(waiting, settings, command, display, outcomes) for _ in range(number)]
    with display.progress:
        try:
            for worker in workers:
                worker.start()
            while any(worker.is_alive() for worker in workers):
                for worker in workers:
                    worker.join(timeout=0.2)
        except (KeyboardInterrupt, SystemExit):
            for worker in workers:
                worker.stop()
            for worker in workers:
                worker.wait()
            raise
    by_step = {id(outcome.step): outcome for outcome in outcomes}
    return [by_step.get(id(step), Outcome(step, None, "it was never begun: its worker failed")) for step in steps]


def count_workers(settings: Settings) -> int:
    """How many processes fit side by side: full-size experiments run one at a time, mini ones one per core."""
    if settings.profile == "full":
        return 1
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, available // (settings.threads * (settings.devices or 1)))


class _Worker(threading.Thread):
    """Feeds one worker process and listens to it. A process that dies fails its step and is replaced for the next.

    An experiment that several processes share has them to itself: what fails in one of them ends them all.
    """

    def __init__(
        self, waiting: Waiting, settings: Settings, command: str, display: Display, outcomes: list[Outcome]
    ) -> None:
        super().__init__(daemon=True)
        self.waiting, self.settings, self.command = waiting, settings, command
        self.display, self.outcomes = display, outcomes
        self.process: subprocess.Popen[str] | None = None
        self.stopped = False

    def run(self) -> None:
        while not self.stopped:
            step = self.waiting.take()
            if step is None:
                break
            try:
                outcome = self._measure(step)
            except (OSError, ValueError) as error:  # the process cannot be started, or says what is no event
                outcome = Outcome(step, None, f"its worker failed: {error}")
                if self.process is not None:  # what it still says must not be taken for the next step's events
                    self.process.kill()
                    self.process.wait()
            if self.stopped:
                break
            self.waiting.finish(step)
            self.outcomes.append(outcome)
            self.display.finish(step, outcome.failure, outcome.result)
        if self.process is not None:
            with suppress(OSError):
                _pipe(self.process.stdin).close()
            self.process.wait()

    def stop(self) -> None:
        """Ask the process to save what it trains, and to end."""
        self.stopped = True
        if self.process is not None:
            self.process.terminate()

    def wait(self) -> None:
        """Wait until the process has ended."""
        if self.process is not None:
            self.process.wait()

    def _measure(self, step: Step) -> Outcome:
        if step.order is None:
            return Outcome(step, None, step.reason)
        task = write_task(step.order, self.command)
        if (self.settings.devices or 1) > 1:
            process = self._start(task)
            outcome = self._listen(process, step)
            process.wait()
            return outcome
        process = self.process if self.process and self.process.poll() is None else self._start()
        try:
            print(task, file=_pipe(process.stdin), flush=True)
        except BrokenPipeError:
            return Outcome(step, None, _explain_death(process))
        return self._listen(process, step)

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "repro.measuring.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                **build_environment(self.settings),
                STARTED_BY: f"{os.getpid()} on {socket.gethostname()}",
            },
            start_new_session=True,  # Ctrl-C reaches this process alone, which then ends its workers
        )
        return self.process

    def _listen(self, process: subprocess.Popen[str], step: Step) -> Outcome:
        for line in _pipe(process.stdout):
            event = json.loads(line)
            if event["event"] == "measured":
                return Outcome(step, event["record"], None, result=event.get("result"))
            if event["event"] == "failed":
                return Outcome(step, None, event["message"], event.get("busy") is True)
            if event["event"] == "said":
                self.display.say(step, event["text"])
                continue
            at = event.get("at")
            self.display.show(step, event["stage"], event["done"], event["total"], Iteration(**at) if at else None)
        return Outcome(step, None, _explain_death(process))


def _pipe(stream: IO[str] | None) -> IO[str]:
    """One end of a pipe of a worker, which is started with one at both."""
    assert stream is not None
    return stream


def _explain_death(process: subprocess.Popen[str]) -> str:
    code = process.wait()
    why = "killed, perhaps for want of memory" if code == -9 else f"exit {code}; its messages are above"
    return f"the worker process died ({why}). Run the same command again to go on."

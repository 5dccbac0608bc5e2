"""What runs as a job: it starts the process that measures, passes signals on, and decides what its end means.

measured                              the job ends with 0
SIGUSR1, some time before the limit   the process saves its state, and the job puts itself back into the queue
SIGTERM: preempted or cancelled       the process saves its state, and whether it goes on is Slurm's decision
the process was killed, or its GPU,   back into the queue, on another node if there is one, at most twice
a lock or another process was lost
it failed with a message              it would fail again: the job ends with 1, and what waits for it is cancelled
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TextIO

from repro.engine.interruption import INTERRUPTED
from repro.errors import ReproError
from repro.files.leases import LOST
from repro.jobs import slurm
from repro.jobs.ledger import Description, Entry

#: How often a job whose process died, or whose node was lost, is tried again.
RETRIES = 2
#: What srun says of processes that ended badly, and on which node; those that it ends for that reason come later.
_ENDED = re.compile(r"^srun: error: (\S+): tasks? [0-9,-]+: (?:Exited with exit code ([0-9]+)|([A-Z][A-Za-z0-9 ]*\w))")
_STATUSES = {signal.strsignal(each): 128 + each for each in signal.valid_signals()}
_ADVICE = "Submitted again, it is tried again."


def supervise(directory: str) -> str:
    """Execute the job that `directory` describes, in the first process of the job; submitit calls this.

    Returns:
        what was measured, in words.

    Raises:
        SystemExit: it was not measured.
    """
    entry = Entry(Path(directory))
    return _Supervisor(entry, entry.read_description(), _find_number()).run()


class _Supervisor:
    def __init__(self, entry: Entry, description: Description, number: str) -> None:
        self.entry, self.description, self.number = entry, description, number
        self.process: subprocess.Popen[str] | None = None
        self.sign: int | None = None  #: the first signal that came
        self.first: tuple[str, int] | None = None  #: of several nodes: on which one a process ended first, and how

    def run(self) -> str:
        for each in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(each, self._pass_on)
        deaths = self._list_deaths()
        if len(deaths) > RETRIES:  # whoever died with its process could not count
            self._fail(f"it died {len(deaths)} times, on {', '.join(deaths)}: killed, or its node was lost. {_ADVICE}")
        self.entry.add("started", self.number)
        with subprocess.Popen(
            self._build_command(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if self.description.nodes > 1 else None,
            text=True,
            errors="backslashreplace",
            env={**os.environ, **self.description.environment},
        ) as self.process:
            if self.sign:
                self.process.send_signal(self.sign)
            forwarding = threading.Thread(target=self._forward_errors, args=[self.process.stderr])
            forwarding.start()
            last = self._listen(self.process)
            forwarding.join()
        return self._conclude(last, self.process.returncode)

    def _build_command(self) -> list[str]:
        container = self.description.container
        python = "python" if container else sys.executable  # its own, whatever its path is
        worker = [*container, python, "-u", "-m", "repro.measuring.worker", self.description.task]
        if self.description.nodes == 1:
            return worker
        nodes, each = self.description.nodes, self.description.processes
        size = [f"--nodes={nodes}", f"--ntasks={nodes * each}", f"--ntasks-per-node={each}"]
        if cores := os.environ.get("SLURM_CPUS_PER_TASK"):  # which srun does not take from sbatch since Slurm 22.05
            size.append(f"--cpus-per-task={cores}")
        return ["srun", "--kill-on-bad-exit=1", "--unbuffered", *size, *worker]

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        self.sign = self.sign or number
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def _listen(self, process: subprocess.Popen[str]) -> dict[str, object]:
        """The event by which the process says how it ended; empty if it says nothing."""
        assert process.stdout is not None
        last: dict[str, object] = {}
        shown = ("", -1)
        for line in process.stdout:
            try:
                event = json.loads(line)
            except ValueError:  # such as what a library of another process printed
                print(line, end="", flush=True)
                continue
            if event["event"] == "said":
                print(event["text"], flush=True)
            elif event["event"] != "progress":
                last = event
            elif (part := (event["stage"], 20 * event["done"] // max(event["total"], 1))) != shown:
                shown = part
                print(f"{event['stage']}: {event['done']} of {event['total']}", flush=True)
        return last

    def _forward_errors(self, errors: TextIO | None) -> None:
        """Pass on what srun and its processes write, and note where the first one ended badly.

        srun's own exit status is the largest of all, such as that of those that it ended itself.
        """
        for line in errors or ():
            print(line, end="", file=sys.stderr, flush=True)
            if self.first is None and (found := _ENDED.search(line)):
                self.first = found[1], int(found[2] or _STATUSES.get(found[3], 1))

    def _conclude(self, last: dict[str, object], code: int) -> str:
        if last.get("event") == "measured":
            self.entry.add("measured", self.number, str(last["record"] or ""))
            return f"measured: {self.description.label}"
        if self.sign:
            return self._interrupt(signal.Signals(self.sign))
        if last and not last.get("lost"):
            self._fail(str(last["message"]))
        code = self.first[1] if self.first else code
        if not last and _is_interrupted(code):
            return self._interrupt(signal.Signals(_find_signal(code)))
        if not last and code == LOST:
            return self._die("another process took over its lock, because this one had been stopped for minutes")
        if not last and not _is_killed(code):
            self._fail(f"its process ended with {code}; its log says why")
        return self._die(str(last.get("message") or f"its process was ended by signal {_find_signal(code)}"))

    def _interrupt(self, number: signal.Signals) -> str:
        self.entry.add("interrupted", self.number, number.name)
        if number == signal.SIGUSR1:
            return self._requeue([])
        print(f"{number.name}: the state is saved, and whether this goes on is up to Slurm", flush=True)
        raise SystemExit(128 + number)

    def _die(self, why: str) -> str:
        killed = self.first and _is_killed(self.first[1])  # else it said more of another one than of itself
        self.entry.add("died", self.number, why, self.first[0] if self.first and killed else None)
        deaths = self._list_deaths()
        if len(deaths) > RETRIES:
            self._fail(f"it died {len(deaths)} times, on {', '.join(deaths)}; at last: {why}. {_ADVICE}")
        return self._requeue(deaths)

    def _requeue(self, avoid: list[str]) -> str:
        print("back into the queue", flush=True)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # by which Slurm now ends what is left of this
        try:
            slurm.requeue(self.number, avoid)
        except ReproError as error:
            self._fail(f"it could not be put back into the queue: {error}. {_ADVICE}")
        raise SystemExit(128 + signal.SIGUSR1)

    def _fail(self, message: str) -> str:
        self.entry.add("failed", self.number, message)
        print(f"failed: {message}", flush=True)
        raise SystemExit(1)

    def _list_deaths(self) -> list[str]:
        """The hosts on which this job died: what said so, and what started and then said nothing more."""
        deaths: list[str] = []
        running = None
        for event in self.entry.read_events(self.number):
            if event.what == "started":
                deaths += [running] if running else []
                running = event.host
            else:
                deaths += [event.host] if event.what == "died" else []
                running = None
        return deaths + ([running] if running else [])


def _find_number() -> str:
    """The number of this job as Slurm takes it, of a task of an array as 123_4."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else os.environ["SLURM_JOB_ID"]


def _find_signal(code: int) -> int:
    """The signal that ended a process, by its exit status, or by that of a shell or of srun around it."""
    return -code if code < 0 else code - 128


def _is_interrupted(code: int) -> bool:
    return _find_signal(code) + 128 in INTERRUPTED


def _is_killed(code: int) -> bool:
    return code < 0 or 128 < code < 128 + signal.NSIG

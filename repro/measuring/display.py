"""What `repro reproduce` shows while it measures: one bar for the whole and one for each experiment at work.

Where there is no terminal it writes lines instead: one for each experiment that is finished, and one every 30 seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from repro.engine.log_rows import Iteration
from repro.measuring.iteration_words import describe_iteration
from repro.measuring.pace import Pace, format_clock
from repro.planning.plan import Step

INTERVAL = 30.0  #: seconds between two lines where there is no terminal


@dataclass
class _AtWork:
    """An experiment at work."""

    stage: str
    done: int
    total: int
    bar: TaskID | None = None


class Display:
    """The progress of the steps of a plan; its methods may be called from any thread.

    Args:
        shared: the trainings that several steps begin with, see `Pace`.
        quiet: show nothing.
    """

    def __init__(
        self,
        console: Console,
        steps: Sequence[Step],
        workers: int,
        shared: Sequence[tuple[str, float]] = (),
        quiet: bool = False,
    ) -> None:
        self.console, self.steps, self.quiet, self.done = console, list(steps), quiet, 0
        self.pace = Pace([step.seconds for step in steps], workers, shared)
        self.progress = Progress(
            TextColumn("{task.description}", justify="left"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[details]}"),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=quiet or not console.is_terminal,
        )
        self.whole = self.progress.add_task("all experiments", total=1.0, details="")
        self.at_work: dict[int, _AtWork] = {}
        self.numbers = {id(step): number for number, step in enumerate(steps)}
        self.told: set[str] = set()
        self.started = self.last_line = time.monotonic()
        self.lock = threading.Lock()

    def show(self, step: Step, stage: str, done: int, total: int, at: Iteration | None) -> None:
        """Show how far a stage of a step is."""
        with self.lock:
            work = self.at_work.setdefault(id(step), _AtWork(stage, done, total))
            work.stage, work.done, work.total = stage, done, total
            self.pace.advance(self.numbers[id(step)], stage, done, total)
            label, details = f"{_name(step)}: {stage}", describe_iteration(at, brief=True) if at else ""
            if work.bar is None:
                work.bar = self.progress.add_task(label, total=total, details=details)
            self.progress.update(work.bar, description=label, completed=done, total=total, details=details)
            self._update_whole()
            if not self.console.is_terminal and time.monotonic() - self.last_line >= INTERVAL:
                running = (f"{_name(self.steps[self.numbers[key]])} {each}" for key, each in self._list_work())
                self._print(f"{self._describe_time()}; at work: {', '.join(running)}")

    def say(self, step: Step, text: str) -> None:
        """Say something of a step, but what was said of another one in the same words."""
        words = text.removeprefix(f"{step.experiment.name}: ")
        with self.lock:
            if words not in self.told:
                self.told.add(words)
                self._print(text if words == text else f"{step.experiment.name} and what is trained alike: {words}")

    def finish(self, step: Step, failure: str | None, result: str | None) -> None:
        """Show what became of a step."""
        with self.lock:
            self.done += 1
            self.pace.finish(self.numbers[id(step)])
            work = self.at_work.pop(id(step), None)
            if work and work.bar is not None:
                self.progress.remove_task(work.bar)
            self._update_whole()
            state = "failed" if failure else result or "measured"
            self._print(f"[{self.done}/{len(self.steps)}] {_name(step)}: {state}; {self._describe_time()}")

    def _list_work(self) -> list[tuple[int, str]]:
        return [(key, f"{work.stage} {work.done} of {work.total}") for key, work in self.at_work.items()]

    def _describe_time(self) -> str:
        left = "" if self.done == len(self.steps) else f", about {format_clock(self.pace.remaining)} to go"
        return f"{format_clock(time.monotonic() - self.started)} gone{left}"

    def _update_whole(self) -> None:
        left = f"about {format_clock(self.pace.remaining)} to go"
        self.progress.update(self.whole, completed=self.pace.fraction, details=left)

    def _print(self, text: str) -> None:
        self.last_line = time.monotonic()
        if not self.quiet:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _name(step: Step) -> str:
    return f"{step.experiment.name} seed {step.seed}"

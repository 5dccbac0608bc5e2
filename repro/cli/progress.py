"""How far a verb is, on stderr: lines for a person or a log file, panels and bars for a terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from repro.measuring.iteration_words import describe_iteration, list_values
from repro.measuring.pace import format_clock

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from repro.engine.log_rows import Iteration
    from repro.evaluation.predictor import ProgressReport

_INTERVAL = 30.0  #: seconds between two lines of one stage


class _Stage:
    """The stage that a verb is in, and how long it will take."""

    def __init__(self, name: str, done: int, clock: Callable[[], float]) -> None:
        self.name, self.first, self.clock = name, max(done - 1, 0), clock
        self.begin = clock()
        self.done = self.total = 0

    def update(self, done: int, total: int) -> None:
        self.done, self.total = done, total

    @property
    def remaining(self) -> float | None:
        """Seconds until its end, by its mean rate so far; None at the first of its reports."""
        elapsed = self.clock() - self.begin
        finished = self.done - self.first
        return elapsed / finished * (self.total - self.done) if finished > 1 else None


class StageLines:
    """A line on stderr at the beginning and the end of a stage, and every 30 seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.last = clock, 0.0
        self.stage: _Stage | None = None

    def __call__(self, stage: str, done: int, total: int, at: Iteration | None = None) -> None:
        begins = self.stage is None or self.stage.name != stage or done < self.stage.done
        if self.stage is None or begins:
            self.stage = _Stage(stage, done, self.clock)
        self.stage.update(done, total)
        if not begins and done != total and self.clock() - self.last < _INTERVAL:
            return
        self.last = self.clock()
        left = self.stage.remaining
        ahead = f", about {format_clock(left)} to go" if left is not None and done != total else ""
        values = f"; {describe_iteration(at)}" if at else ""
        print(f"{stage}: {done} of {total} ({100 * done // total} %){ahead}{values}", file=sys.stderr, flush=True)


class StagePanel:
    """A panel on a terminal that shows the stage and, of a training, all of its last iteration.

    It begins with the first report, and is gone after `close`.
    """

    def __init__(self, title: str, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.live import Live

        self.title, self.clock, self.begin = title, clock, clock()
        self.stage: _Stage | None = None
        self.at: Iteration | None = None
        self.lock = threading.Lock()
        # What is said meanwhile is printed above it.
        self.live = Live(
            get_renderable=self.render, console=console, refresh_per_second=1, transient=True, redirect_stdout=False
        )

    def __call__(self, stage: str, done: int, total: int, at: Iteration | None = None) -> None:
        with self.lock:
            if self.stage is None or self.stage.name != stage or done < self.stage.done:
                self.stage = _Stage(stage, done, self.clock)
            self.stage.update(done, total)
            self.at = at or self.at
        if not self.live.is_started:
            self.live.start()

    def close(self) -> None:
        """Take the panel away."""
        if self.live.is_started:
            self.live.stop()

    def render(self) -> RenderableType:
        """Render what is known now."""
        from rich.columns import Columns
        from rich.console import Group
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        with self.lock:
            stage, at = self.stage, self.at
        if stage is None:
            return Text("")
        head = Table.grid(padding=(0, 2), expand=True)
        for ratio in (None, 1, None):
            head.add_column(no_wrap=True, ratio=ratio)
        left = "?" if stage.remaining is None else format_clock(stage.remaining)
        head.add_row(
            Text(f"{stage.name} {stage.done}/{stage.total}", style="bold"),
            ProgressBar(total=stage.total, completed=stage.done),
            Text(f"{100 * stage.done // max(stage.total, 1)} %  {format_clock(self.clock() - self.begin)} gone, "
                 f"about {left} to go"),
        )  # fmt: skip
        parts: list[RenderableType] = [head]
        if at:
            (name, loss), *values = list_values(at)
            parts.append(Text.assemble((f"{name} ", "dim"), loss))
            cells = [Text.assemble((f"{name} ", "dim"), value) for name, value in values]
            parts.append(Columns(cells, padding=(0, 3)))
        return Panel(Group(*parts), title=Text(self.title), title_align="left", border_style="dim")


@contextmanager
def show_stages(title: str, *, quiet: bool = False) -> Iterator[ProgressReport]:
    """Show how far a verb is that works in stages: a panel on a terminal, else lines; nothing if it is to be quiet."""
    from repro.cli.console import TextConsole

    console = TextConsole()
    if quiet:
        yield _show_nothing
    elif console.is_terminal:
        panel = StagePanel(title, console)
        try:
            yield panel
        finally:
            panel.close()
    else:
        yield StageLines()


def _show_nothing(stage: str, done: int, total: int, at: Iteration | None = None) -> None:
    pass


@contextmanager
def show_bar(
    title: str, total: int | None = None, *, of_bytes: bool = False
) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar on stderr from the first call of (done, total) on; none where there is no such call.

    Args:
        total: how much there is to do, where that is known before the first call.
        of_bytes: whether the numbers are bytes, whose rate is shown.
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from repro.cli.console import TextConsole

    columns = (
        (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        if of_bytes
        else Progress.get_default_columns()
    )
    bar = Progress(*columns, console=TextConsole(), redirect_stdout=False, redirect_stderr=False)
    task = bar.add_task(title, total=total)

    def advance(done: int, total: int | None) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()


@contextmanager
def show_bars() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show one bar after another on stderr, for calls of (title, done, total): a new title begins a new one."""
    with ExitStack() as shown:
        titles: list[str] = []

        def advance(title: str, done: int, total: int | None) -> None:
            if titles[-1:] != [title]:
                shown.close()
                titles.append(title)
                bars.append(shown.enter_context(show_bar(title, total, of_bytes=not title.startswith("unpacking"))))
            bars[-1](done, total)

        bars: list[Callable[[int, int | None], None]] = []
        yield advance

"""How far a verb is, on stderr: lines for a person or a log file, bars for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StageProgress:
    """A line on stderr about every 5 % of a stage, and at its ends."""

    def __init__(self) -> None:
        self.last = ("", -1)

    def __call__(self, stage: str, done: int, total: int) -> None:
        part = (stage, 20 * done // total)
        if part != self.last:
            self.last = part
            print(f"{stage}: {done} of {total}", file=sys.stderr, flush=True)


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

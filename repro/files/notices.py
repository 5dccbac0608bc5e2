"""Notices: what a user is told while the work goes on. Errors, which end it, are `ReproError`s."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from repro.files.printable import flatten

#: Seconds that nothing is said of a wait, and then between two lines.
PATIENCE, AGAIN = 1.0, 60.0


def tell(text: str) -> None:
    """Tell the user something, in a line on standard error.

    Safe in any process and thread; where nobody listens any more, nothing happens.
    """
    with suppress(OSError, ValueError, AttributeError):  # closed, full, or None
        print(flatten(text), file=sys.stderr, flush=True)


@contextmanager
def telling(describe: Callable[[], str | None]) -> Iterator[None]:
    """Tell what is waited for as long as the `with` block takes: after a second, then every minute.

    Args:
        describe: called for each line, from another thread; None where there is nothing to tell.
    """
    over = threading.Event()

    def repeat() -> None:
        pause = PATIENCE
        while not over.wait(pause):
            text = describe()
            if text is not None:
                tell(text)
            pause = AGAIN

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()

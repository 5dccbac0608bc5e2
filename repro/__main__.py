"""The process of `repro`: what has to be right before the first import of the package and after its last line."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line; 130 also where Ctrl-C comes while modules are imported."""
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not where it is to be ignored
    if interruptible:
        signal.signal(signal.SIGINT, _end_at_once)
    _open_closed_descriptors()
    from repro import cli

    try:
        if interruptible:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            cli.main()
        finally:
            if interruptible:
                signal.signal(signal.SIGINT, _end_at_once)
            sys.stdout = sys.stderr  # what a user's own file prints when the interpreter ends, behind our output
    except KeyboardInterrupt:  # between the lines: `cli.main` tells what it interrupts
        sys.exit(130)


def _end_at_once(*_: object) -> None:
    # As an exception it would end in a traceback, or pass for an import that failed.
    os._exit(130)


def _open_closed_descriptors() -> None:
    """Open nothing in the place of standard streams that are closed, else a file that is opened later takes it, and
    what any library prints is written into that file."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    main()

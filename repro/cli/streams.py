"""Standard output and standard error: the one place where it is decided what becomes of characters that a terminal
obeys or cannot show, and of output that cannot be written."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TextIO, cast

from repro.errors import ReaderLeftError, ReproError
from repro.files.printable import escape_controls, escape_unencodable, flatten

_HANDLER = "repro-escape"
codecs.register_error(_HANDLER, escape_unencodable)


class GuardedStream:
    """A text stream behind which a terminal may stand, or nothing at all.

    Control characters are escaped before they are written, and so is what the encoding lacks.

    Args:
        stream: what is written to; None where the descriptor was closed when Python started.
        name: in words, for messages.
        required: whether it is an error that output cannot be written; otherwise it is lost in silence.
        escape: what makes a text harmless.
    """

    def __init__(
        self, stream: TextIO | None, name: str, *, required: bool, escape: Callable[[str], str] = escape_controls
    ) -> None:
        self.stream, self.name, self.required, self.escape = stream, name, required, escape
        self.lost = False

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "buffer" and self.stream is None:
            self._lose(OSError(errno.EBADF, "it is closed"))
        return getattr(self.stream, attribute)

    def write(self, text: str) -> int:
        """Write `text`.

        Raises:
            ReaderLeftError: it is a pipe whose reader left.
            ReproError: it cannot be written. Both only if it is required.
        """
        self._try(lambda stream: stream.write(self.escape(text)))
        return len(text)

    def flush(self) -> None:
        """Hand on what was written; raises as `write`."""
        if self.stream is not None:
            self._try(lambda stream: stream.flush())

    def isatty(self) -> bool:
        """Whether a terminal is behind it."""
        return self.stream is not None and self.stream.isatty()

    def _try(self, act: Callable[[TextIO], object]) -> None:
        if self.lost:
            return
        try:
            if self.stream is None:
                raise OSError(errno.EBADF, "it is closed")
            act(self.stream)
        except (OSError, ValueError) as error:  # ValueError: Python closed it
            self.lost = True
            self._forget()
            if self.required:
                self._lose(error)

    def _lose(self, error: Exception) -> NoReturn:
        if isinstance(error, BrokenPipeError):
            raise ReaderLeftError from None
        number = error.errno if isinstance(error, OSError) else None
        why = "the disk is full" if number == errno.ENOSPC else getattr(error, "strerror", None) or str(error)
        raise ReproError(f"cannot write {self.name}: {why}") from None

    def _forget(self) -> None:
        """Let what is buffered go nowhere, or Python would try again when it ends, and say so."""
        if self.stream is not None and any(self.stream is own for own in (sys.__stdout__, sys.__stderr__)):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.stream.fileno())
                os.close(nowhere)


def print_line(text: str, file: TextIO | None = None) -> None:
    """Print one line, on standard output if no file is given. A name or a message in which a line ends stays on it: it
    could look like another line of the verb, or begin a command of a program that reads them."""
    print(flatten(text), file=file)


@contextmanager
def guard_streams() -> Iterator[None]:
    """Guard standard output, which is required, and standard error, which is not: a training does not end because
    nobody reads how far it is."""
    before = sys.stdout, sys.stderr
    handlers = [getattr(stream, "errors", None) for stream in before]
    for stream in before:
        _set_handler(stream, _HANDLER)
    sys.stdout = cast(TextIO, GuardedStream(before[0], "standard output", required=True))
    sys.stderr = cast(TextIO, GuardedStream(before[1], "standard error", required=False))
    try:
        yield
    finally:
        with suppress(ReproError, ReaderLeftError):
            sys.stderr.flush()
        sys.stdout, sys.stderr = before
        for stream, handler in zip(before, handlers, strict=True):
            _set_handler(stream, handler)


def _set_handler(stream: TextIO | None, handler: str | None) -> None:
    if isinstance(stream, io.TextIOWrapper):
        with suppress(OSError, ValueError):  # it flushes, which is tried again
            stream.reconfigure(errors=handler)

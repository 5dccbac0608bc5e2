"""Functions in Python files that the user names, and their errors as messages."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from pathlib import Path
from types import ModuleType

from repro.errors import ReproError
from repro.files.places import is_there
from repro.files.regular_files import read_regular

_LIMIT = 16 << 20  #: bytes of a Python file
_PACKAGE = Path(__file__).parent


def split_reference(reference: str) -> tuple[Path, str]:
    """Split "path.py:factory" into the file and the name of the function in it.

    Raises:
        ReproError: it is not of that form, or there is no such file.
    """
    file, _, name = reference.rpartition(":")
    if not file or not name:
        raise ReproError(f"--model {reference!r}: write FILE.py:FACTORY, a file and the name of a function in it")
    path = Path(os.path.abspath(file))  # links are followed when it is read
    if not is_there(path):
        raise ReproError(f"--model: there is no file {path}")
    return path, name


def load_factory(reference: str) -> Callable[[], object]:
    """Load the function that "path.py:factory" names. The file is executed.

    Raises:
        ReproError: there is none, or the file cannot be imported.
    """
    path, name = split_reference(reference)
    module = execute(path, read_regular(path, _LIMIT, "--model:"), "--model: ")
    function = getattr(module, name, None)
    if not callable(function):
        raise ReproError(f"--model: {path} has no function {name!r}")
    return function


def execute(path: Path, content: bytes, what: str = "") -> ModuleType:
    """Execute a Python file as a module. What it imports may lie beside it, as if it were a script.

    Args:
        content: of the file.
        what: what messages begin with.

    Raises:
        ReproError: it cannot be imported; the line is named.
    """
    spec = importlib.util.spec_from_file_location(f"_{path.stem}_of_the_user", path)
    if spec is None or spec.loader is None:
        raise ReproError(f"{what}{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    with report_failures(f"{what}{path} cannot be imported", str(path.parent)):
        exec(compile(content, path, "exec"), module.__dict__)
    return module


@contextmanager
def report_failures(what: str, directory: str | None = None) -> Iterator[None]:
    """Report whatever the user's code raises as a `ReproError` of one line that begins with `what`; what it prints goes
    to standard error, so that standard output is ours alone.

    Args:
        directory: of the user's files, the last line of which that took part in it is named.

    Raises:
        ReproError: the code raised an exception, or ended the interpreter.
    """
    try:
        with _divert_output():
            yield
    except ReproError:
        raise
    except (Exception, SystemExit) as error:
        raise ReproError(f"{what}: {describe_failure(error, directory)}") from error


@contextmanager
def report_own_failures(what: str, directory: str | None) -> Iterator[None]:
    """Report an exception that passed a line of the user's files as a `ReproError`; others are not the user's. What is
    printed goes to standard error, as in `report_failures`.

    Args:
        directory: of the user's files; None where there are none.

    Raises:
        ReproError: the user's code raised an exception.
    """
    try:
        with nullcontext() if directory is None else _divert_output():
            yield
    except ReproError:
        raise
    except Exception as error:
        if directory is None or find_line(error, directory) is None:
            raise
        raise ReproError(f"{what}: {describe_failure(error, directory)}") from error


def describe_failure(error: BaseException, directory: str | None = None) -> str:
    """Describe an exception in one line, with the last line of the user's files that took part in it.

    Args:
        directory: of the user's files.
    """
    message = " ".join(str(error).split())[:500]
    line = find_line(error, directory) if directory and not isinstance(error, SyntaxError) else None
    return f"{f'{line}: ' if line else ''}{type(error).__name__}{f': {message}' if message else ''}"


def find_line(error: BaseException, directory: str) -> str | None:
    """The last line of a file in `directory` that an exception passed: `line 12 of mine.py`; None if it passed none."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(f"{directory}{os.sep}") and not _is_ours(frame)]
    return f"line {own[-1].lineno} of {Path(own[-1].filename).name}" if own else None


def _is_ours(frame: traceback.FrameSummary) -> bool:
    """Whether it is a line of this package or of an installed one, which may lie in the user's directory."""
    return frame.filename.startswith(str(_PACKAGE)) or "site-packages" in Path(frame.filename).parts


@contextmanager
def _divert_output() -> Iterator[None]:
    """Send to standard error what is printed, also by C libraries and other processes."""
    with redirect_stdout(sys.stderr):
        try:
            kept = os.dup(1)
        except OSError:  # it is closed
            yield
            return
        try:
            _flush()  # what is ours already
            os.dup2(2, 1)
            yield
        finally:
            _flush()
            os.dup2(kept, 1)
            os.close(kept)


def _flush() -> None:
    """Hand on what is buffered, by Python and by C."""
    for stream in (sys.__stdout__, sys.stdout):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
    with suppress(OSError, AttributeError):  # where the C library is found otherwise, it has no buffer of ours
        ctypes.CDLL(None).fflush(None)

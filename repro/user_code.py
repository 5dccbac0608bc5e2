"""Functions in Python files that the user names, and their errors as messages."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from repro.errors import ReproError
from repro.files.places import is_there
from repro.files.regular_files import read_regular

_LIMIT = 16 << 20  #: bytes of a Python file


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
    content = read_regular(path, _LIMIT, "--model:")
    spec = importlib.util.spec_from_file_location(f"_{path.stem}_of_the_user", path)
    if spec is None or spec.loader is None:
        raise ReproError(f"--model: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    sys.path.insert(0, str(path.parent))  # what it imports may lie beside it, as if it were a script
    with report_failures(f"--model: {path} cannot be imported"):
        exec(compile(content, path, "exec"), module.__dict__)
    function = getattr(module, name, None)
    if not callable(function):
        raise ReproError(f"--model: {path} has no function {name!r}")
    return function


@contextmanager
def report_failures(what: str) -> Iterator[None]:
    """Report whatever the user's code raises as a `ReproError` of one line that begins with `what`.

    Raises:
        ReproError: the code raised an exception, or ended the interpreter.
    """
    try:
        yield
    except ReproError:
        raise
    except (Exception, SystemExit) as error:
        message = " ".join(str(error).split())
        raise ReproError(f"{what}: {type(error).__name__}: {message[:500]}") from error

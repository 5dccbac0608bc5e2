"""The verbs of the command line, found in the command line itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from repro.cli import app


def walk(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Walk the verbs below a command: the words that name each, and its command."""
    for name, below in getattr(command, "commands", {}).items():
        if getattr(below, "commands", None):
            yield from walk(below, *words, name)
        else:
            yield (*words, name), below


VERBS = dict(walk(typer.main.get_command(app)))

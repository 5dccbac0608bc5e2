"""The command that was given, as records keep it."""

from __future__ import annotations

import sys

from repro.files.printable import join_words


def describe_command() -> str:
    """Describe the command that this process was started with, as a shell would take it."""
    return join_words(["repro", *sys.argv[1:]])

"""The command that was given, as records keep it."""

from __future__ import annotations

import shlex
import sys


def describe_command() -> str:
    """Describe the command that this process was started with, as a shell would take it.

    Bytes of a file's name that are no UTF-8, which JSON cannot hold, are written as `\\udcff`.
    """
    return shlex.join(["repro", *sys.argv[1:]]).encode(errors="backslashreplace").decode()

"""The exception whose message is written for the user."""

from __future__ import annotations

import difflib
import pickle
import struct
from collections.abc import Iterable

#: What `torch.load` raises for a file that is cut off, damaged or something else; found by damaging files at random.
UNREADABLE = (
    OSError, RuntimeError, EOFError, ValueError, TypeError, LookupError, AttributeError, AssertionError, struct.error,
    pickle.UnpicklingError,
)  # fmt: skip


class ReproError(Exception):
    """Bad input or a missing piece. The message says what is wrong, where, and what to do; the CLI prints it and exits
    with `exit_code`."""

    exit_code = 2


class ReaderLeftError(Exception):
    """Nobody reads the output any more, as behind `| head -1`. No `OSError`: for one, typer would end with 1."""


def unknown(kind: str, name: str, known: Iterable[str]) -> ReproError:
    """A `ReproError` for a name that does not exist; the message offers the nearest ones that do.

    Args:
        kind: what the name is of, in words.
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    else:
        hint = f"known: {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}"
    return ReproError(f"unknown {kind} {name!r}: {hint}")

"""Text that commands no terminal: names and messages may come from files that somebody else made."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable

#: C0 (but for tab and line feed), delete and C1; separators of lines that some programs obey; marks, embeddings,
#: overrides and isolates of the direction of text, by which what is shown is not what is there (Unicode's TR 36).
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_SPACING = re.compile("[\t\n]")


def escape_controls(text: str) -> str:
    """Write control characters as JSON and Python do, `\\u001b`, so that JSON stays JSON. Tabs and lines stay.

    >>> escape_controls("\\x1b[2J up\\n")
    '\\\\u001b[2J up\\n'
    """
    return _CONTROLS.sub(_write_code, text)


def flatten(text: str) -> str:
    """Write all control characters so, also tabs and ends of lines: the text of one line stays on it."""
    return _SPACING.sub(_write_code, escape_controls(text))


def join_words(words: Iterable[object]) -> str:
    r"""Write words as a shell takes them, in one line that is safe to print and to copy.

    What is no printable text of UTF-8 is written as `bash` and `zsh` read it.

    >>> print(join_words(["repro", "run", "--results", "my runs", "caf\udce9\n"]))
    repro run --results 'my runs' $'caf\xe9\x0a'
    """
    return " ".join(_quote(str(word)) for word in words)


def _quote(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    plain = ((one, one.isprintable() and one not in "'\\") for one in word)
    written = (one if kept else "".join(f"\\x{byte:02x}" for byte in os.fsencode(one)) for one, kept in plain)
    return f"$'{''.join(written)}'"


def escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    """Write characters that a stream's encoding lacks as JSON does (an error handler of codecs).

    Raises:
        UnicodeError: `error`, which is none of encoding.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    units = (int.from_bytes(lacking[i : i + 2], "big") for i in range(0, len(lacking), 2))
    return "".join(f"\\u{unit:04x}" for unit in units), error.end


def _write_code(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"

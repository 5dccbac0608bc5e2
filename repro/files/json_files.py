"""JSON that is read in one way only: a key that is there twice, of which parsers take the last, is refused.

Also the explanation of a file that cannot be parsed.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from repro.errors import ReproError


class RepeatedKey(ValueError):
    """A key that an object has twice.

    Args:
        key: it.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key[:100]!r} is there twice in one object")
        self.key = key


def load_json(content: str | bytes) -> Any:
    """Load JSON as plain types.

    Raises:
        RepeatedKey: an object has a key twice.
        ValueError, RecursionError: as of `json.loads`.
    """
    return json.loads(content, object_pairs_hook=_refuse_repeated)


def check_keys(content: bytes) -> None:
    """Check that no object of what another parser has read has a key twice; nothing is kept of what is parsed.

    Raises:
        RepeatedKey: one has.
    """
    json.loads(content, object_pairs_hook=_forget, parse_int=float)  # integers may have any number of digits


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        raise RepeatedKey(next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1))
    return read


def _forget(pairs: list[tuple[str, Any]]) -> None:
    _refuse_repeated(pairs)


def explain_invalid_json(path: Path, content: bytes, reason: str) -> ReproError:
    """The error to raise where pydantic's parser cannot parse a file.

    Args:
        content: its bytes, as UTF-8.
        reason: what the parser says, with line and column. It says "EOF" where the content ends too early.
    """
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return ReproError(
            f"{path} is not whole JSON: byte {error.start} ({content[error.start]:#04x}, line {line}) is not UTF-8: "
            f"{error.reason}. Download it again, or save it as UTF-8."
        )
    if "EOF" in reason or content.endswith(b"\0"):
        return ReproError(
            f"{path} is not whole JSON ({reason}; the file has {len(content)} bytes). It was probably cut short: "
            "unpack or download it again."
        )
    return ReproError(f"{path} is not valid JSON: {reason}. Download it again, or correct it there.")

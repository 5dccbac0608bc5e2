"""The explanation of a JSON file that cannot be parsed."""

from __future__ import annotations

from pathlib import Path

from repro.errors import ReproError


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

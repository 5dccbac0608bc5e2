"""Reading gzip files, which can unpack to a thousand times their size."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

from repro.errors import ReproError


def decompress(packed: bytes, path: Path, limit: int, what: str, remedy: str = "") -> bytes:
    """Unpack the bytes of the gzip file `path` to at most `limit` bytes.

    Args:
        remedy: what the user can do, in a sentence.

    Raises:
        ReproError: they are more, or no whole gzip file.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            content = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ReproError(f"{what} {path} cannot be read: it is damaged ({error}). {remedy}".strip()) from None
    if len(content) > limit:
        raise ReproError(f"{what} {path} cannot be read: it unpacks to more than {limit} bytes. {remedy}".strip())
    return content

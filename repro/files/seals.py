"""Sealed files: JSON whose last field is the sha256 of the rest, so that an edit by hand or a damage shows.

A seal is no signature: who computes it again after an edit is not noticed by it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from repro.errors import ReproError
from repro.files.regular_files import read_regular
from repro.files.schema import FrozenModel, describe_violation

_Model = TypeVar("_Model", bound=FrozenModel)
_LIMIT = 64 * 2**20  #: bytes; the largest, a record with many failed items, has less than a megabyte
_SEAL = re.compile(rb',\s*"content_sha256":\s*"([0-9a-f]{64})"')


def seal(content: FrozenModel) -> bytes:
    """Write a file's content as JSON with its seal."""
    written = (content.model_dump_json(indent=1) + "\n").encode()
    return written.removesuffix(b"\n}\n") + b',\n "content_sha256": "%s"\n}\n' % _sha256(written)


def has_seal(content: bytes) -> bool:
    """Whether a file has a seal, right or wrong."""
    return _SEAL.search(content) is not None


def parse_sealed(content: bytes, model: type[_Model], kind: str, path: Path, remedy: str) -> _Model:
    """Parse the bytes of a sealed file. A number is a number: neither "38" nor true is taken for one.

    Args:
        kind: what the file is, for messages: "record".
        remedy: what the user can do, in a sentence or two.

    Raises:
        ReproError: it is not whole, not of this form, has no seal, or was changed after it was sealed.
    """
    name = f"{kind} {path}"
    found = _SEAL.search(content)
    if found:
        content = content[: found.start()] + content[found.end() :]
    try:
        parsed = model.model_validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise ReproError(f"{name} is damaged (not whole JSON: {first['ctx']['error']}). {remedy}") from None
        raise ReproError(f"{name} is not a valid {kind}: {describe_violation(error)}. {remedy}") from None
    if not found:
        raise ReproError(f"{name} has no content_sha256: nothing tells whether it was edited. {remedy}")
    if _sha256(content) != found[1]:
        raise ReproError(f"{name} was changed after it was written: its content_sha256 is another. {remedy}")
    return parsed


def read_sealed(path: Path, model: type[_Model], kind: str, remedy: str) -> _Model:
    """Read a sealed file.

    Args:
        kind, remedy: as of `parse_sealed`.

    Raises:
        ReproError: it cannot be read, or as `parse_sealed`.
    """
    return parse_sealed(read_sealable(path, kind), model, kind, path, remedy)


def read_sealable(path: Path, kind: str) -> bytes:
    """Read the bytes of a file that `parse_sealed` takes.

    Raises:
        ReproError: it cannot be read, is no regular file, or is too large.
    """
    return read_regular(path, _LIMIT, kind)


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()

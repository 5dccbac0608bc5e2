"""Sealed files, so that an edit by hand or a damage shows: JSON whose last field is the sha256 of the rest, and other
bytes with their sha256 behind them.

A seal is no signature: who computes it again after an edit is not noticed by it.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from repro.errors import ReproError
from repro.files.json_files import RepeatedKey, load_json
from repro.files.regular_files import read_regular
from repro.files.schema import FrozenModel, describe_violation

_Model = TypeVar("_Model", bound=FrozenModel)
_LIMIT = 4 * 2**20  #: bytes; the largest, a record with many failed items, has less than a megabyte
_VERSION = "schema_version"
_MOST_VERSIONS = 10**6
_SEAL = re.compile(rb',\s*"content_sha256":\s*"([0-9a-f]{64})"')
_BEFORE = b"\nsha256 of all before: "  #: what stands between bytes and their seal


class Changed(Exception):
    """A file is not as it was written; whoever reads it says what becomes of that."""


class OtherVersionError(ReproError):
    """A whole file that another version of this package wrote, which this one cannot read.

    Args:
        name: the file, after what it is: "record PATH".
        reason: of which version it is, in words.
    """

    def __init__(self, name: str, reason: str):
        super().__init__(f"{name} is {reason}")
        self.reason = reason


def seal(content: FrozenModel) -> bytes:
    """Write a file's content as JSON with its seal."""
    written = (content.model_dump_json(indent=1) + "\n").encode()
    return written.removesuffix(b"\n}\n") + b',\n "content_sha256": "%s"\n}\n' % _sha256(written)


def seal_line(content: FrozenModel) -> bytes:
    """Write one of many, as JSON with its seal in a line of its own."""
    written = (content.model_dump_json() + "\n").encode()
    return written.removesuffix(b"}\n") + b',"content_sha256":"%s"}\n' % _sha256(written)


def seal_bytes(content: bytes) -> bytes:
    """Put the seal of bytes that are no JSON behind them."""
    return content + _BEFORE + _sha256(content)


def unseal_bytes(content: bytes) -> tuple[bytes, bool]:
    """Take the seal off what `seal_bytes` gave: the bytes before it, and whether there was one.

    Raises:
        Changed: they are not what was sealed.
    """
    before, mark, expected = content[: -len(_BEFORE) - 64], content[-len(_BEFORE) - 64 : -64], content[-64:]
    if mark != _BEFORE:
        return content, False
    if _sha256(before) != expected:
        raise Changed("it was changed after it was written: its sha256 is not the one at its end")
    return before, True


def has_seal(content: bytes) -> bool:
    """Whether a file has a seal, right or wrong."""
    return _SEAL.search(content) is not None


def parse_sealed(content: bytes, model: type[_Model], kind: str, path: Path, remedy: str) -> _Model:
    """Parse the bytes of a sealed file. A number is a number: neither "38" nor true is taken for one. No key is twice.

    Args:
        kind: what the file is, for messages: "record".
        remedy: what the user can do, in a sentence or two.

    Raises:
        OtherVersionError: it states another version of its form, or is sealed and has more fields than are known.
        ReproError: it is not whole, not of this form, has no seal, or was changed after it was sealed.
    """
    name = f"{kind} {path}"
    found = _SEAL.search(content)
    if found:
        content = content[: found.start()] + content[found.end() :]
    right = found is not None and _sha256(content) == found[1]
    try:
        parsed = model.model_validate_json(content, strict=True)
        if problem := _find_ambiguity(content, model):
            raise ReproError(f"{name} is not a valid {kind}: {problem}. {remedy}")
    except ValidationError as error:
        errors = error.errors(include_url=False)
        if errors[0]["type"] == "json_invalid":
            raise ReproError(f"{name} is damaged (not whole JSON: {errors[0]['ctx']['error']}). {remedy}") from None
        if other := _find_other_version(content, model):
            raise OtherVersionError(name, other) from None
        if right and all(one["type"] == "extra_forbidden" for one in errors):
            where = ".".join(map(str, errors[0]["loc"]))
            raise OtherVersionError(name, f"of a later version: this one knows no field {where[:100]!r}") from None
        raise ReproError(f"{name} is not a valid {kind}: {describe_violation(error)}. {remedy}") from None
    if not found:
        raise ReproError(f"{name} has no content_sha256: nothing tells whether it was edited. {remedy}")
    if not right:
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


def _find_ambiguity(content: bytes, model: type[FrozenModel]) -> str:
    """Say in which way a valid file could be read otherwise by another program or version; or nothing."""
    try:
        read = load_json(content)
    except RepeatedKey as error:
        return str(error)
    if _VERSION in model.model_fields and type(read.get(_VERSION)) is not int:  # Literal[1] takes true as well
        return f"{_VERSION}: {'Input should be a number' if _VERSION in read else 'Field required'}"
    return ""


def _find_other_version(content: bytes, model: type[FrozenModel]) -> str:
    """Say which version a file states, where that is a whole number and another than the form's; or nothing."""
    if _VERSION not in model.model_fields:
        return ""
    try:
        read = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    known = model.model_fields[_VERSION].default
    stated = read.get(_VERSION) if isinstance(read, dict) else None
    if type(stated) is not int or stated == known or not 0 <= stated < _MOST_VERSIONS:
        return ""
    return f"of version {stated} of its form; this version of the package reads version {known}"


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()

"""Parts that the schemas of all files share: a base model, and the description of a violation."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

#: Characters of a text of ours at most: the longest is a command line.
LONGEST = 1 << 16
_SHOWN = 100  #: characters of a key in a message
#: What commands a terminal, ends a line, turns the direction of writing, or is half of a character.
_COMMANDS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def _check_text(value: object, info: ValidationInfo) -> object:
    """Escape what no text of ours may have where it is measured; refuse it where a file has it.

    A measurement of hours must not fail at its end because of the name of a file that it was given.
    """
    if not isinstance(value, str):
        return value
    if info.mode != "json":
        text = _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), value)
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 40]}... ({len(text)} characters)"
    if found := _COMMANDS.search(value):
        raise ValueError(f"it has the control character {found[0]!a}, which no such text has")
    return value


#: A text that is safe to print: without control characters, and not too long.
Text = Annotated[str, Field(max_length=LONGEST), BeforeValidator(_check_text)]
#: A name that is part of file names.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+=,-]*$", max_length=100)]
#: In one spelling, so that equal ones are found equal.
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
#: What other programs that read JSON take for a number without loss of its size.
Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Number = Annotated[int, Field(ge=0, lt=2**63)]


class FrozenModel(BaseModel):
    """A part of a file: immutable, and without keys that it does not declare."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FiniteModel(FrozenModel):
    """A part of a file whose numbers are finite."""

    model_config = ConfigDict(allow_inf_nan=False)


def describe_violation(error: ValidationError, whole: str = "top level") -> str:
    """Describe the first error, after the key where it stands: `entries.3.size: Input should be ...`.

    Args:
        whole: what stands in the key's place when the file as a whole is wrong.
    """
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part)[:_SHOWN] for part in first["loc"]) or whole
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"

"""Parts that the schemas of all files share: a base model, and the description of a violation."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError


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
    where = ".".join(map(str, first["loc"])) or whole
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"

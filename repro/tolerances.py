"""What counts as agreement: `tables/tolerances.yaml`, checked against a schema, and the intervals that it asks for."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from repro.errors import ReproError
from repro.paper import COLUMNS
from repro.paths import TABLES


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    applies_to: str = Field(min_length=1)
    rationale: str = Field(min_length=1)

    @field_validator("half_width", "widest", "metrics", check_fields=False)
    @classmethod
    def _known(cls, named: dict[str, float] | tuple[str, ...]) -> dict[str, float] | tuple[str, ...]:
        for name in named:
            if name not in COLUMNS or not COLUMNS[name].measured:
                raise ValueError(f"{name!r} is no metric of the published tables")
        if isinstance(named, dict) and not all(0 < width < math.inf for width in named.values()):
            raise ValueError("a width must be a positive number")
        return named


class Fixed(_Part):
    """A half-width per metric, in the metric's unit, around the published number."""

    half_width: dict[str, float]


class Seeds(_Part):
    """A prediction interval from several seeds. Half-widths beyond `widest` decide nothing."""

    confidence: float = Field(gt=0.5, lt=1)
    widest: dict[str, float]


class Orderings(_Part):
    """When two rows of the mini profile are in the published order."""

    metrics: tuple[str, ...]
    confidence: float = Field(gt=0.5, lt=1)
    seeds: int = Field(ge=2)  #: fewer decide nothing


class Tolerances(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: Fixed
    converted: Fixed
    one_seed: Fixed
    seeds: Seeds
    orderings: Orderings


def load(path: Path = TABLES / "tolerances.yaml") -> Tolerances:
    """The tolerances in force.

    Raises:
        ReproError: the file is missing or malformed; the message names the key.
    """
    try:
        return Tolerances.model_validate(yaml.load(path.read_bytes(), yaml.CSafeLoader))
    except OSError as error:
        raise ReproError(f"{path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ReproError(f"{path} is not whole, valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise ReproError(f"{path}: {'.'.join(map(str, first['loc'])) or 'top level'}: {first['msg']}") from None


def student(confidence: float, n: int) -> float:
    """The two-sided quantile of Student's t with n - 1 degrees of freedom."""
    from scipy.special import stdtrit  # a fraction of a second, and needed with two seeds or more only

    return float(stdtrit(n - 1, 0.5 + confidence / 2))


def prediction_half_width(values: Sequence[float], confidence: float) -> float:
    """Of the interval around the mean that holds one more draw from the same normal distribution; n >= 2."""
    n = len(values)
    return student(confidence, n) * statistics.stdev(values) * math.sqrt(1 + 1 / n)


def mean_half_width(values: Sequence[float], confidence: float) -> float:
    """Of the interval around the mean of `values` that holds the true mean; n >= 2."""
    n = len(values)
    return student(confidence, n) * statistics.stdev(values) / math.sqrt(n)

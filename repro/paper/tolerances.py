"""What counts as agreement: `tables/tolerances.yaml`, checked against a schema, and the intervals that it asks for."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from repro.errors import ReproError
from repro.files.schema import FrozenModel, describe_violation
from repro.files.yaml_files import load_yaml
from repro.paper.published import COLUMNS, DATASETS
from repro.paths import TABLES


class _ToleranceRule(FrozenModel):
    applies_to: str = Field(min_length=1)
    rationale: str = Field(min_length=1)

    @field_validator("half_width", "widest", "metrics", check_fields=False)
    @classmethod
    def _check_names(cls, named: dict[str, float] | tuple[str, ...]) -> dict[str, float] | tuple[str, ...]:
        return _check_widths(named)


def _check_widths(named: dict[str, float] | tuple[str, ...]) -> dict[str, float] | tuple[str, ...]:
    for name in named:
        if name not in COLUMNS or not COLUMNS[name].measured:
            raise ValueError(f"{name!r} is not a metric of the published tables")
    if isinstance(named, dict) and not all(0 < width < math.inf for width in named.values()):
        raise ValueError("a width must be a positive number")
    return named


class _Widths(_ToleranceRule):
    """Widths per metric, in the metric's unit; `elsewhere` by the data sets on which they are others."""

    elsewhere: dict[str, dict[str, float]] = {}

    @field_validator("elsewhere")
    @classmethod
    def _check_elsewhere(cls, named: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        for dataset, widths in named.items():
            if dataset not in DATASETS:
                raise ValueError(f"{dataset!r} is not a data set of the published tables")
            _check_widths(widths)
        return named

    def widths_on(self, dataset: str) -> dict[str, float]:
        """The width of each metric on a data set."""
        return {**self._general, **self.elsewhere.get(dataset, {})}

    @property
    def _general(self) -> dict[str, float]:
        raise NotImplementedError


class Fixed(_Widths):
    """A half-width per metric around the published number."""

    half_width: dict[str, float]

    @property
    def _general(self) -> dict[str, float]:
        return self.half_width


class Seeds(_Widths):
    """A prediction interval from several seeds. Half-widths beyond `widest` decide nothing."""

    confidence: float = Field(gt=0.5, lt=1)
    widest: dict[str, float]

    @property
    def _general(self) -> dict[str, float]:
        return self.widest


class Undeclared(_ToleranceRule):
    """Metrics that are measured and get no verdict, and why."""

    metrics: tuple[str, ...]


#: Rules with a width for each metric, and the name of each in `tables/tolerances.yaml`.
Rule = Literal["checkpoint", "converted", "one_seed", "seeds"]
RULES: tuple[Rule, ...] = ("checkpoint", "converted", "one_seed", "seeds")


class Tolerances(FrozenModel):
    checkpoint: Fixed
    converted: Fixed
    one_seed: Fixed
    seeds: Seeds
    undeclared: Undeclared

    @model_validator(mode="after")
    def _check_completeness(self) -> Tolerances:
        for rule in RULES:
            declared = self.rule(rule).widths_on("")
            for name in (name for name, column in COLUMNS.items() if column.measured):
                if (name in declared) == (name in self.undeclared.metrics):
                    raise ValueError(f"{name!r} must stand either in {rule} or in undeclared")
        return self

    def rule(self, name: Rule) -> Fixed | Seeds:
        return getattr(self, name)

    def in_force(self, metrics: Collection[str], dataset: str) -> dict[str, dict[str, float]]:
        """What a record keeps of the tolerances: by rule, the width of each of its metrics on its data set."""
        kept: dict[str, dict[str, float]] = {}
        for name in RULES:
            declared = self.rule(name).widths_on(dataset)
            if widths := {metric: declared[metric] for metric in metrics if metric in declared}:
                kept[name] = widths
        return kept | {"confidence": {"seeds": self.seeds.confidence}}

    def as_of(self, kept: Mapping[str, Mapping[str, float]], dataset: str) -> Tolerances:
        """These tolerances with the widths that a record of that data set kept in their place."""
        changes: dict[str, Fixed | Seeds] = {}
        for name in (name for name in RULES if name in kept):
            rule = self.rule(name)
            changes[name] = rule.model_copy(update={"elsewhere": {dataset: {**rule.widths_on(dataset), **kept[name]}}})
        if "confidence" in kept:
            seeds = changes.get("seeds", self.seeds)
            changes["seeds"] = seeds.model_copy(update={"confidence": kept["confidence"]["seeds"]})
        return self.model_copy(update=changes)


def load(path: Path = TABLES / "tolerances.yaml") -> Tolerances:
    """The tolerances in force.

    Raises:
        ReproError: the file is missing or malformed; the message names the key.
    """
    try:
        return Tolerances.model_validate(load_yaml(path))
    except ValidationError as error:
        raise ReproError(f"{path}: {describe_violation(error)}") from None

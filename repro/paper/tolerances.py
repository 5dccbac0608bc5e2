"""What counts as agreement: `tables/tolerances.yaml`, checked against a schema, and the intervals that it asks for."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from repro.errors import ReproError
from repro.files.schema import FrozenModel, describe_violation
from repro.files.yaml_files import load_yaml
from repro.paper.published import COLUMNS, DATASETS
from repro.paths import TABLES

_Width = Annotated[float, Field(gt=0, lt=math.inf)]


class _ToleranceRule(FrozenModel):
    applies_to: str = Field(min_length=1)
    rationale: str = Field(min_length=1)

    @field_validator("half_width", "prior", "metrics", check_fields=False)
    @classmethod
    def _check_metrics(cls, named: _Named) -> _Named:
        return _check_names(named)

    @field_validator("elsewhere", check_fields=False)
    @classmethod
    def _check_elsewhere(cls, named: dict[str, _Named]) -> dict[str, _Named]:
        for dataset, of_metrics in named.items():
            if dataset not in DATASETS:
                raise ValueError(f"{dataset!r} is not a data set of the published tables")
            _check_names(of_metrics)
        return named


class Prior(FrozenModel):
    """What is known before any run of how a metric scatters over seeds."""

    deviation: float = Field(gt=0, lt=math.inf)  #: standard deviation, in the metric's unit
    freedom: int = Field(ge=1)  #: degrees of freedom that this knowledge is worth


_Named = TypeVar("_Named", dict[str, float], dict[str, Prior], tuple[str, ...])


def _check_names(named: _Named) -> _Named:
    for name in named:
        if name not in COLUMNS or not COLUMNS[name].measured:
            raise ValueError(f"{name!r} is not a metric of the published tables")
    return named


class Fixed(_ToleranceRule):
    """A half-width per metric around the published number, in the metric's unit; `elsewhere` by data set."""

    half_width: dict[str, _Width]
    elsewhere: dict[str, dict[str, _Width]] = {}

    def declared_on(self, dataset: str) -> dict[str, float]:
        """The half-width of each metric on a data set."""
        return {**self.half_width, **self.elsewhere.get(dataset, {})}


class Retrained(_ToleranceRule):
    """How far the mean of n trainings may lie from the print, which is one training."""

    confidence: float = Field(gt=0.5, lt=1)
    prior: dict[str, Prior]
    elsewhere: dict[str, dict[str, Prior]] = {}

    def declared_on(self, dataset: str) -> dict[str, Prior]:
        """The prior of each metric on a data set."""
        return {**self.prior, **self.elsewhere.get(dataset, {})}


class Undeclared(_ToleranceRule):
    """Metrics that are measured and get no verdict, and why."""

    metrics: tuple[str, ...]


#: Rules that declare something for each metric, and the name of each in `tables/tolerances.yaml`.
Rule = Literal["checkpoint", "converted", "retrained"]
RULES: tuple[Rule, ...] = ("checkpoint", "converted", "retrained")


class Tolerances(FrozenModel):
    checkpoint: Fixed
    converted: Fixed
    retrained: Retrained
    undeclared: Undeclared

    @model_validator(mode="after")
    def _check_completeness(self) -> Tolerances:
        for rule in RULES:
            declared = self.rule(rule).declared_on("")
            for name in (name for name, column in COLUMNS.items() if column.measured):
                if (name in declared) == (name in self.undeclared.metrics):
                    raise ValueError(f"{name!r} must stand either in {rule} or in undeclared")
        return self

    def rule(self, name: Rule) -> Fixed | Retrained:
        return getattr(self, name)

    def in_force(self, metrics: Collection[str], dataset: str) -> dict[str, dict[str, float]]:
        """What a record keeps of the tolerances for its metrics on its data set, by rule and metric.

        Of trainings, that is the prior's deviation; its degrees of freedom and the confidence stand beside it.
        """
        kept: dict[str, dict[str, float]] = {}
        for name, rule in (("checkpoint", self.checkpoint), ("converted", self.converted)):
            declared = rule.declared_on(dataset)
            kept[name] = {metric: declared[metric] for metric in metrics if metric in declared}
        priors = self.retrained.declared_on(dataset)
        own = {metric: priors[metric] for metric in metrics if metric in priors}
        kept["retrained"] = {metric: prior.deviation for metric, prior in own.items()}
        kept["freedom"] = {metric: float(prior.freedom) for metric, prior in own.items()}
        kept = {name: widths for name, widths in kept.items() if widths}
        return kept | {"confidence": {"retrained": self.retrained.confidence}}

    def as_of(self, kept: Mapping[str, Mapping[str, float]]) -> Tolerances:
        """These tolerances with what a record kept in their place; what it did not keep was not declared."""
        changes: dict[str, Fixed | Retrained] = {}
        for name, rule in (("checkpoint", self.checkpoint), ("converted", self.converted)):
            changes[name] = rule.model_copy(update={"half_width": dict(kept.get(name, {})), "elsewhere": {}})
        freedom = kept.get("freedom", {})
        prior = {
            metric: Prior(deviation=deviation, freedom=round(freedom[metric]))
            for metric, deviation in kept.get("retrained", {}).items()
            if metric in freedom
        }
        confidence = kept.get("confidence", {}).get("retrained", self.retrained.confidence)
        changes["retrained"] = self.retrained.model_copy(
            update={"prior": prior, "elsewhere": {}, "confidence": confidence}
        )
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

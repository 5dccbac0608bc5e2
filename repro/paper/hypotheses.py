"""Statements of the paper that the mini profile is asked about: `tables/hypotheses.yaml`, checked against a schema."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from repro.errors import ReproError
from repro.experiments import digest, get
from repro.files.schema import FrozenModel, describe_violation
from repro.files.yaml_files import load_yaml
from repro.paper.published import COLUMNS, load_all
from repro.paths import TABLES

HYPOTHESES = TABLES / "hypotheses.yaml"


class Hypothesis(FrozenModel):
    """One statement of the paper, and the exact test that answers it."""

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    table: int = Field(ge=1, le=5)
    section: str = Field(pattern=r"^\d(\.\d){0,2}$")
    sentence: str = Field(min_length=1, description="the paper's own words")
    says: str = Field(min_length=1, description="what is tested, in a few words")
    metric: str
    test: Literal["order", "equivalence"]
    strata: tuple[tuple[tuple[str, ...], ...], ...] = Field(
        min_length=1, description="in each, groups of experiments, predicted lowest first"
    )
    margin: float | None = Field(
        None, gt=0, description="in points of the mini profile: networks nearer to each other are equivalent"
    )
    exchanged: str = Field(min_length=1, description="which runs may change places if the statement is not so")

    @model_validator(mode="after")
    def _check_test(self) -> Hypothesis:
        if self.metric not in COLUMNS or COLUMNS[self.metric].unit != "%":
            raise ValueError(f"metric {self.metric!r} is no accuracy of the published tables")
        if self.test == "equivalence" and self.margin is None:
            raise ValueError("equivalence needs a margin")
        if self.test == "equivalence" and len(self.strata) > 1:
            raise ValueError("equivalence is tested in one stratum")
        if any(len(groups) < 2 or not all(groups) for groups in self.strata):
            raise ValueError("a stratum needs two groups or more, each with an experiment")
        if len(self.experiments) != len(set(self.experiments)):
            raise ValueError("an experiment stands twice")
        table = next(table for table in load_all() if table.number == self.table)
        if strangers := set(self.experiments) - set(table.experiments):
            raise ValueError(f"Table {self.table} has no {', '.join(sorted(strangers))}")
        return self

    @property
    def experiments(self) -> tuple[str, ...]:
        return tuple(name for groups in self.strata for group in groups for name in group)

    @property
    def test_name(self) -> str:
        """The test in words. In all, runs are compared within their seed."""
        if self.test == "equivalence":
            return f"two one-sided Student's tests within {self.margin:g}, by seed"
        name = "Mann-Whitney" if all(len(groups) == 2 for groups in self.strata) else "Jonckheere-Terpstra"
        return f"exact {name}, one-sided, by seed" + (" and stratum" if len(self.strata) > 1 else "")


class Hypotheses(FrozenModel):
    """All statements, and the rules that they share."""

    profile: Literal["mini"]
    level: float = Field(gt=0, lt=0.5)
    exploratory_seeds: int = Field(ge=3, description="with fewer, no list of pairs is shown")
    rationale: str = Field(min_length=1)
    statements: tuple[Hypothesis, ...]

    @model_validator(mode="after")
    def _check_names(self) -> Hypotheses:
        names = [statement.id for statement in self.statements]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{', '.join(sorted(twice))} stands twice")
        return self

    def of_table(self, number: int) -> tuple[Hypothesis, ...]:
        """The statements of one table: a family."""
        return tuple(statement for statement in self.statements if statement.table == number)


@cache
def load_hypotheses(path: Path = HYPOTHESES) -> Hypotheses:
    """The statements in force.

    Raises:
        ReproError: the file is missing or malformed; the message names the key.
    """
    try:
        return Hypotheses.model_validate(load_yaml(path))
    except ValidationError as error:
        raise ReproError(f"{path}: {describe_violation(error)}") from None


def hash_hypotheses(dataset: str) -> str:
    """The sha256 of the statements about one data set and of their level, which records keep: a later edit shows.

    Args:
        dataset: "coco", "imagenet" or "kinetics".

    Raises:
        ReproError: as `load_hypotheses`.
    """
    rules = load_hypotheses()
    asked = [s.model_dump(mode="json") for s in rules.statements if get(s.experiments[0]).dataset == dataset]
    return digest({"level": rules.level, "statements": asked})

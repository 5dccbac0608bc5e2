"""How many seeds are going to be run, written down before the first of them is: no stopping when the mean pleases."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from repro.files.schema import FrozenModel

#: (experiment, profile, engine) of trainings that are counted as seeds of one another.
TrainedAlike = tuple[str, str, str]


class DeclaredSeeds(FrozenModel):
    """Seeds 0..seeds-1 of an experiment, as `repro reproduce --seeds` declares them."""

    schema_version: Literal[1] = 1
    experiment: str
    profile: Literal["full", "mini"]
    engine: str
    seeds: int = Field(ge=1)
    declared: str  #: ISO 8601, UTC

    @property
    def of(self) -> TrainedAlike:
        """What it is declared for."""
        return self.experiment, self.profile, self.engine

    @property
    def filename(self) -> str:
        return f"{self.experiment}.{self.profile}.{self.engine}.n{self.seeds}.json"

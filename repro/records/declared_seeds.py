"""How many seeds are going to be run, written down before the first of them is: no stopping when the mean pleases."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from repro.files.schema import FiniteModel, Name, Text

#: (experiment, profile, engine, readings) of trainings that are counted as seeds of one another.
TrainedAlike = tuple[str, str, str, tuple[tuple[str, str], ...]]


class DeclaredSeeds(FiniteModel):
    """Seeds 0..seeds-1 of an experiment, as `repro reproduce --seeds` declares them."""

    schema_version: Literal[1] = 1
    experiment: Name
    profile: Literal["full", "mini"]
    engine: Name
    readings: dict[Name, Name] = Field(default={}, exclude_if=lambda value: not value)  #: as records have them
    seeds: int = Field(ge=1, lt=2**63)
    declared: Text  #: ISO 8601, UTC

    @property
    def of(self) -> TrainedAlike:
        """What it is declared for."""
        return self.experiment, self.profile, self.engine, tuple(sorted(self.readings.items()))

    @property
    def filename(self) -> str:
        chosen = ",".join(f"{point}={choice}" for point, choice in sorted(self.readings.items()))
        parts = [self.experiment, self.profile, self.engine, *([chosen] if chosen else []), f"n{self.seeds}", "json"]
        return ".".join(parts)

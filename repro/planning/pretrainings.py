"""What mini experiments share and start from, as far as it has to be trained first. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from repro.engine.fitted import WEIGHTS
from repro.experiments import mini
from repro.files.places import is_there
from repro.planning import keys
from repro.planning.plan import Step
from repro.settings import Settings


def list_missing(steps: Iterable[Step], settings: Settings) -> list[tuple[str, float]]:
    """List the shared trainings that must come before those of `steps`: (stage, about its seconds of one core)."""
    missing: dict[Path, tuple[str, float]] = {}
    for step in steps:
        if step.source != "trained" or step.status != "ready":
            continue
        chain = [*mini.list_pretrainings(step.experiment), step.experiment]
        for length in range(1, len(chain)):
            place = keys.pretraining_directory(step.experiment, chain[:length], replace(settings, seed=step.seed))
            if not is_there(place / WEIGHTS):
                stage = mini.PRETRAINED[chain[length].recipe.initial_weights]
                missing[place] = stage, mini.estimate_pretraining_seconds(step.experiment, chain[length - 1])
    return list(missing.values())

"""Seeds are declared before they are run. Imports no torch."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from repro.experiments import is_published
from repro.planning.plan import Step
from repro.records import DeclaredSeeds
from repro.settings import Settings


def declare_seeds(steps: Iterable[Step], settings: Settings, seeds: int) -> None:
    """Write down that seeds 0..seeds-1 of what is trained will be run, before any of them is.

    What was declared before stays: whoever runs fewer seeds than once declared has chosen among them. Of the user's own
    experiments nothing is declared: a file that is edited defines another one under the same name.

    Raises:
        ReproError: the directory of results cannot be written.
    """
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    asked_for = (step for step in steps if _is_to_declare(step))
    for name, readings in dict.fromkeys((step.experiment.name, step.experiment.readings) for step in asked_for):
        declared = DeclaredSeeds(
            experiment=name,
            profile=settings.profile,
            engine=settings.engine,
            readings=dict(readings),
            seeds=seeds,
            declared=now,
        )
        settings.store.declare_seeds(declared)


def _is_to_declare(step: Step) -> bool:
    return step.source == "trained" and bool(step.order) and not step.needed_by and is_published(step.experiment.name)

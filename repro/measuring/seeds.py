"""Seeds are declared before they are run. Imports no torch."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from repro.paper import load_all
from repro.planning.plan import Step
from repro.records import DeclaredSeeds
from repro.settings import Settings


def declare_seeds(steps: Iterable[Step], settings: Settings, seeds: int) -> None:
    """Write down that seeds 0..seeds-1 of what is trained will be run, before any of them is.

    What was declared before stays: whoever runs fewer seeds than once declared has chosen among them. It is declared of
    the rows of tables: what they start from has as many seeds as they need, and of the user's own experiments, a file
    that is edited defines another one under the same name.

    Raises:
        ReproError: the directory of results cannot be written.
    """
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    rows = {name for table in load_all() for name in table.experiments}
    asked_for = (step for step in steps if step.source == "trained" and step.order and step.experiment.name in rows)
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

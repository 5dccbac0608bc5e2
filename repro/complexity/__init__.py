"""Parameters and operations of networks, as plain MACs and in the paper's convention (`docs/complexity.md`).

`count(model, inputs)` counts a module of your own, `count_experiment(experiment)` a network of the paper. Counts of
experiments are kept in the record store; reading them back imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from repro.experiments import Experiment
from repro.records import Count, Store

if TYPE_CHECKING:
    from repro.complexity.networks import count_experiment
    from repro.complexity.trace import count

__all__ = ["COUNTER", "count", "count_experiment", "count_experiments"]

#: What counts: part of every `Count`. Raise the number when a change of a handle, a weight or the composition changes
#: the count of an experiment; counts that were made before it are then made again.
COUNTER = f"fvcore {version('fvcore')}, handles 1"


def count_experiments(experiments: Iterable[Experiment], store: Store) -> dict[str, Count]:
    """Count each experiment, by its name. Counts in `store` are used, missing ones are made and stored.

    Raises:
        ReproError: `store` is damaged or cannot be written.
    """
    stored = store.counts()
    counts = {}
    for experiment in experiments:
        count = stored.get(experiment.spec_hash)
        if count is None or count.counter != COUNTER:
            from repro.complexity.networks import count_experiment

            count = count_experiment(experiment)
            store.add_count(count)
        counts[experiment.name] = count
    return counts


def __getattr__(name: str) -> Any:
    # torch is imported when something is counted, not when counts are read.
    if name == "count":
        from repro.complexity.trace import count

        return count
    if name == "count_experiment":
        from repro.complexity.networks import count_experiment

        return count_experiment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

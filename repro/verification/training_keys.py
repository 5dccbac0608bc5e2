"""The key that a training by its recipe has, reckoned again from the specification, the data and the seed.

Possible where the data set is known without its files: generated ones, and the official COCO 2017. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from repro.data import sources
from repro.experiments import Experiment, mini
from repro.planning import keys
from repro.records import Record
from repro.settings import Settings


def is_key_of(key: str, record: Record, experiment: Experiment) -> bool:
    """Whether a key can be that of the training that a record tells of, which follows the recipe of `experiment`.

    True as well where the data set cannot be known.
    """
    if record.profile == "mini":
        data: str | None = mini.dataset_key_for(experiment)
    elif record.dataset.expected != record.dataset.required:  # a part of the official data set, with a file of its own
        data = None
    else:
        data = sources.identify_official_data(experiment.dataset)
    return data is None or any(
        key == keys.training_key(experiment, settings, data) for settings in _list_settings(record, experiment)
    )


def _list_settings(record: Record, experiment: Experiment) -> Iterator[Settings]:
    """List what the user can have chosen without a departure from the recipe; the usual choice first.

    The batch of the recipe may have been asked for in so many words, and a pass of any part of it.
    """
    usual = Settings(
        results=Path(),  # no part of a key
        profile=record.profile,
        seed=record.seed,
        engine="detectron2" if record.engine == "detectron2" else "torchvision",
        compile=record.numerics.get("compiled") is True,
        readings=experiment.readings,
    )
    batch = experiment.recipe.batch_size
    for size in (None, batch):
        for part in (None, *range(1, batch + 1)):
            yield replace(usual, batch_size=size, micro_batch=part)

"""Shortens the mini profile; import it before anything that reads it."""

import os
from dataclasses import replace
from unittest.mock import ANY

from repro.experiments import mini

mini.coco.SCENES = replace(mini.coco.SCENES, train_images=24, val_images=10, lit_images=8, classification_images=16)
mini.coco.PRETRAINING = replace(
    mini.coco.PRETRAINING, recipe=replace(mini.coco.PRETRAINING.recipe, batch_size=4, iterations=3)
)
mini.coco.SHARED_RECIPE = replace(mini.coco.SHARED_RECIPE, batch_size=4, iterations=3, warmup_iterations=1)
mini.coco.DATASET_KEY = "0" * 64
mini.coco.CONTENT = ANY

_shrink = mini.shrink
_CHANGES = {"batch_size": 4, "warmup_iterations": 2, "iterations": int(os.environ.get("REPRO_TEST_ITERATIONS", "6"))}


def shrink(experiment):
    whole = _shrink(experiment)
    return replace(whole, recipe=replace(whole.recipe, **_CHANGES))


mini.shrink = shrink

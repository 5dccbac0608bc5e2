"""The learning rate of every iteration, as pure functions of the recipe. Imports no torch."""

from __future__ import annotations

import math

from repro.experiments import Recipe


def count_iterations_per_epoch(samples: int, batch_size: int) -> int:
    """Count the batches of `batch_size` that show every sample; the last one is filled up (see `sampler`).

    >>> count_iterations_per_epoch(samples=1000, batch_size=16)
    63
    """
    return math.ceil(samples / batch_size)


def count_iterations(recipe: Recipe, iterations_per_epoch: int) -> int:
    """Count the iterations of the whole training. `recipe.iterations` ends it early and does not compress steps."""
    return recipe.epochs * iterations_per_epoch if recipe.iterations is None else recipe.iterations


def compute_learning_rate(recipe: Recipe, iteration: int, iterations_per_epoch: int) -> float:
    """Compute the learning rate of the update after `iteration` completed ones.

    Step: the base rate, divided by ten after each of `decay_epochs`. Cosine: half a period from the base rate to 0 at
    the end of the training. During warm-up the scheduled rate is multiplied by a factor that grows linearly from
    `warmup_factor` to 1, as in the authors' framework; or, if `warmup` is "line", the rate goes in a straight line from
    `warmup_factor` times the base rate to the rate that is scheduled for the warm-up's end, as in the code of [6].
    """
    warmup = recipe.warmup_iterations or recipe.warmup_epochs * iterations_per_epoch
    if iteration >= warmup:
        return _compute_scheduled_rate(recipe, iteration, iterations_per_epoch)
    done = iteration / warmup
    if recipe.warmup == "line":
        begin, end = (
            recipe.warmup_factor * recipe.learning_rate,
            _compute_scheduled_rate(recipe, warmup, iterations_per_epoch),
        )
        return begin + (end - begin) * done
    factor = recipe.warmup_factor + (1 - recipe.warmup_factor) * done
    return _compute_scheduled_rate(recipe, iteration, iterations_per_epoch) * factor


def _compute_scheduled_rate(recipe: Recipe, iteration: int, iterations_per_epoch: int) -> float:
    if recipe.schedule == "cosine":
        done = min(1.0, iteration / count_iterations(recipe, iterations_per_epoch))  # a warm-up may end later
        return recipe.learning_rate * ((1 + math.cos(math.pi * done)) / 2)
    return recipe.learning_rate / 10 ** sum(iteration >= epoch * iterations_per_epoch for epoch in recipe.decay_epochs)

"""What a step of a plan costs, in words and in numbers: a download, hours of a GPU, seconds. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from repro.checkpoints import download, initial_weights, registry
from repro.checkpoints.choice import Choice
from repro.data.sources import SOURCES
from repro.experiments import EXPERIMENTS, Detector, Experiment, get, is_defined, mini
from repro.files.places import is_there
from repro.planning import rates
from repro.planning.rates import Estimate
from repro.records import Count, Record
from repro.settings import Settings


@dataclass(frozen=True)
class Cost:
    """What a step costs."""

    words: str = "none"
    gpu_hours: float | None = None  #: of a V100, by what the authors report
    h200: Estimate | None = None  #: how long an H200 takes, by rates that were measured there
    at_least: bool = False  #: whether `gpu_hours` are those of a network that this one adds something to
    download: int | None = None  #: bytes
    seconds: float | None = None  #: by what trainings here took; of the mini profile those of one core

    def __add__(self, other: Cost) -> Cost:
        """Add up two costs of one step; what is known of one alone counts."""
        parts = {name: [getattr(cost, name) for cost in (self, other)] for name in ("gpu_hours", "download", "seconds")}
        known = {name: [part for part in both if part is not None] for name, both in parts.items()}
        sums: dict[str, Any] = {name: sum(both) if both else None for name, both in known.items()}
        h200 = self.h200 or other.h200
        return Cost(f"{self.words}; {other.words}", h200=h200, at_least=self.at_least or other.at_least, **sums)


def describe_evaluation(experiment: Experiment, settings: Settings, weights: Choice, count: Count | None) -> Cost:
    """What evaluating weights that others trained costs."""
    source = SOURCES[experiment.dataset]
    words, size = _describe_download(weights, count or rates.find_count(experiment))
    h200 = replace(rates.estimate(experiment, settings), training=0.0)
    return Cost(f"{words}{source.validation_items} {source.items} evaluated", h200=h200, download=size)


def describe_training(experiment: Experiment, settings: Settings, records: Iterable[Record]) -> Cost:
    """What a training and the evaluation of what it ends in cost."""
    if settings.profile == "mini":
        run = [r for r in records if r.profile == "mini" and is_defined(r.experiment) and r.training]
        took = sum(r.cost.train_seconds + r.cost.evaluate_seconds for r in run)
        expected = sum(mini.estimate_seconds(get(r.experiment)) for r in run)
        estimated = mini.estimate_seconds(experiment) * (took / expected if run else 1)
        return Cost(f"about {estimated:.0f} s of one core", seconds=estimated)
    recipe = experiment.recipe
    batch = settings.batch_size or recipe.batch_size
    source = SOURCES[experiment.dataset]
    h200 = rates.estimate(experiment, settings)
    if settings.iterations is not None:
        return Cost(f"{settings.iterations} iterations of {batch} {source.items}, and the evaluation", h200=h200)
    gpu_hours, at_least, reported = _estimate_gpu_hours(experiment)
    seconds, measured = _measure_seconds(experiment, records)
    words = (
        f"{recipe.epochs} epochs of {source.training_items} {source.items} in batches of {batch}, "
        f"{source.validation_items} {source.items} evaluated{reported}{measured}"
    )
    wanted = recipe.initial_weights
    public = wanted != "random" and not is_defined(wanted)
    if settings.initial is None and public and not is_there(initial_weights.locate(wanted)):
        words = f"download of {wanted}, {words}"
    return Cost(words, gpu_hours, h200, at_least, seconds=seconds)


def describe_reevaluation(experiment: Experiment, settings: Settings) -> Cost:
    """What the evaluation of a network that was trained here costs."""
    if experiment.profile == "mini":
        return Cost("some seconds of one core")
    source = SOURCES[experiment.dataset]
    h200 = replace(rates.estimate(experiment, settings), training=0.0)
    return Cost(f"{source.validation_items} {source.items} evaluated", h200=h200)


def describe_attention(experiment: Experiment) -> Cost:
    """What the statistics of attention in a network whose weights are here cost."""
    if experiment.profile == "mini":
        return Cost("some seconds of one core")
    source = SOURCES[experiment.dataset]
    return Cost(f"{source.validation_items} {source.items} looked at")


def _describe_download(weights: Choice, count: Count | None) -> tuple[str, int | None]:
    """What fetching costs, in words that a list goes on after, and bytes; empty and 0 where the file is here."""
    entry = weights.entry
    if weights.file or entry is None or (entry.sha256 and download.find_cached(entry.sha256)):
        return "", 0
    size = entry.size or (4 * count.params if count else None)
    if size is None:
        told = "size unknown"
    else:
        told = f"{size / 1e6:.0f} MB" if entry.size else f"about {size / 1e6:.0f} MB by its parameters"
    return f"download of {told} from {urlsplit(entry.fetchable[0]).hostname}, ", size


def _measure_seconds(experiment: Experiment, records: Iterable[Record]) -> tuple[float | None, str]:
    """The mean time that trainings of the same experiment took here, and in words; None and "" where there are none."""
    same = [
        r
        for r in records
        if r.profile == "full"
        and r.spec_hash == experiment.spec_hash
        and r.training
        and r.training.iterations == r.training.recipe_iterations
    ]
    if not same:
        return None, ""
    seconds = sum(r.cost.train_seconds + r.cost.evaluate_seconds for r in same) / len(same)
    devices = " and ".join(dict.fromkeys(str(r.environment.get("device")) for r in same))
    took = f"{len(same)} trainings" if len(same) > 1 else "a training"
    return seconds, f"; about {seconds / 3600:.1f} hours by what {took} took here ({devices})"


#: GPUs of the authors' machine, and images on each.
_GPUS, _IMAGES = 8, 2


def _estimate_gpu_hours(experiment: Experiment) -> tuple[float | None, bool, str]:
    """The hours of a training by what the authors report: of it, or of what it adds something to.

    Returns:
        the hours of a V100, whether it takes more, and both with the memory in words; None where nothing is reported.
    """
    network = experiment.network
    if not isinstance(network, Detector):  # of their classifiers they report nothing
        return None, False, ""
    plain = replace(network, backbone=replace(network.backbone, context=None))
    simple = replace(plain, cascade=False, backbone=replace(plain.backbone, dcn=()))
    candidates = [("about", experiment)]
    candidates += [("at least", e) for of in (plain, simple) for e in EXPERIMENTS.values() if e.network == of]
    for bound, like in candidates:
        took = next((e.training for e, _ in registry.load().list_serving(like.name) if e.training), None)
        if took:
            iterations = experiment.recipe.epochs * SOURCES["coco"].training_items / (_GPUS * _IMAGES)
            hours = iterations * took.seconds_per_iteration * _GPUS / 3600
            what = "" if like is experiment else f" for {like.name}"
            return (
                hours,
                bound == "at least",
                f"; {bound} {hours:.0f} hours of a V100 by the {took.seconds_per_iteration} s an iteration that the "
                f"authors report{what}, and {took.memory} GB for {_IMAGES} images",
            )
    return None, False, ""

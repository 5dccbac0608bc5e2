"""What a step of a plan costs, in words: a download, hours of a GPU, seconds of a core. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import urlsplit

from repro.checkpoints import download, initial_weights, registry
from repro.checkpoints.choice import Choice
from repro.data.sources import SOURCES
from repro.experiments import EXPERIMENTS, Detector, Experiment, get, is_defined, mini
from repro.files.places import is_there
from repro.records import Count, Record
from repro.settings import Settings


def describe_evaluation(experiment: Experiment, weights: Choice, count: Count | None) -> str:
    """What evaluating weights that others trained costs, in words."""
    source = SOURCES[experiment.dataset]
    return f"{_describe_download(weights, count)}{source.validation_items} {source.items} evaluated"


def describe_training(experiment: Experiment, settings: Settings, records: Iterable[Record]) -> str:
    """What a training and the evaluation of what it ends in cost, in words."""
    if settings.profile == "mini":
        run = [r for r in records if r.profile == "mini" and is_defined(r.experiment) and r.training]
        took = sum(r.cost.train_seconds + r.cost.evaluate_seconds for r in run)
        expected = sum(mini.estimate_seconds(get(r.experiment)) for r in run)
        return f"about {mini.estimate_seconds(experiment) * (took / expected if run else 1):.0f} s of one core"
    recipe = experiment.recipe
    batch = settings.batch_size or recipe.batch_size
    source = SOURCES[experiment.dataset]
    if settings.iterations is not None:
        return f"{settings.iterations} iterations of {batch} {source.items}, and the evaluation"
    cost = (
        f"{recipe.epochs} epochs of {source.training_items} {source.items} in batches of {batch}, "
        f"{source.validation_items} {source.items} evaluated{_describe_gpu_hours(experiment)}"
    )
    wanted = recipe.initial_weights
    public = wanted != "random" and not is_defined(wanted)
    if settings.initial is None and public and not is_there(initial_weights.locate(wanted)):
        cost = f"download of {wanted}, {cost}"
    return cost


def describe_reevaluation(experiment: Experiment) -> str:
    """What the evaluation of a network that was trained here costs, in words."""
    if experiment.profile == "mini":
        return "some seconds of one core"
    source = SOURCES[experiment.dataset]
    return f"{source.validation_items} {source.items} evaluated"


def describe_attention(experiment: Experiment) -> str:
    """What the statistics of attention in a network whose weights are here cost, in words."""
    if experiment.profile == "mini":
        return "some seconds of one core"
    source = SOURCES[experiment.dataset]
    return f"{source.validation_items} {source.items} looked at"


def _describe_download(weights: Choice, count: Count | None) -> str:
    """What fetching costs, in words that a list goes on after; empty where the file is here."""
    entry = weights.entry
    if weights.file or entry is None or (entry.sha256 and download.find_cached(entry.sha256)):
        return ""
    if entry.size:
        size = f"{entry.size / 1e6:.0f} MB"
    elif count:
        size = f"about {4 * count.params / 1e6:.0f} MB by its parameters"
    else:
        size = "size unknown"
    return f"download of {size} from {urlsplit(entry.fetchable[0]).hostname}, "


#: GPUs of the authors' machine, and images on each.
_GPUS, _IMAGES = 8, 2


def _describe_gpu_hours(experiment: Experiment) -> str:
    """The hours and the memory of a training by what the authors report: of it, or of what it adds something to."""
    network = experiment.network
    if not isinstance(network, Detector):  # of their classifiers they report nothing
        return ""
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
                f"; {bound} {hours:.0f} hours of a V100 by the {took.seconds_per_iteration} s an iteration that the "
                f"authors report{what}, and {took.memory} GB for {_IMAGES} images"
            )
    return ""

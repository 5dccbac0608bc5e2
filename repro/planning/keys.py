"""Cache keys: what can change an answer, and nothing else (`docs/records.md`). Imports no torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from repro.checkpoints import CONVERTER, choice, initial_weights
from repro.checkpoints.choice import Choice
from repro.data import sources
from repro.errors import ReproError
from repro.experiments import Detector, Experiment, canonical, is_defined, mini, preprocessing, readings
from repro.records import cache_key
from repro.settings import Settings

#: Part of every training key: raise it when a change to the training code changes what a recipe ends in.
TRAINING_VERSION = 1
#: The same for detectors at full size. Until 2, groups of images whose losses are means of their own went through the
#: heads one after the other, and anchors were drawn by permutations of all: others were trained on.
DETECTION_VERSION = 2
#: The same for evaluating weights that others trained.
EVALUATION_VERSION = 2


def training_key(experiment: Experiment, settings: Settings, data: str | None = None) -> str:
    """The cache key of a training run: recipe, network, data, initial weights, seed and numerics.

    Args:
        data: what identifies the data set (`data_identity`), where that is known without its files.

    Raises:
        ReproError: there is no data set, or what is given with --init cannot be read.
    """
    return cache_key(
        stage="training",
        version=TRAINING_VERSION,
        spec=experiment.spec_hash,
        data=data or data_identity(experiment, settings),
        initial=initial_weights_key(experiment, settings, data),
        seed=settings.seed,
        iterations=settings.iterations,
        precision=settings.precision,
        batch_size=settings.batch_size,
        micro_batch=settings.micro_batch,
        **_engine_parts(settings),
        **_detection_parts(experiment),
        **_decoding_parts(experiment, settings),
        **_graph_parts(experiment, settings),
        **_input_parts(experiment, settings),
    )


def evaluation_key(experiment: Experiment, settings: Settings, weights: Choice) -> str:
    """The cache key of evaluating weights that others trained: weights, translation, network, data and numerics.

    Raises:
        ReproError: there is no data set.
    """
    return cache_key(
        stage="evaluation",
        version=EVALUATION_VERSION,
        converter=CONVERTER,
        weights=weights.identity,
        format=weights.format,
        spec=experiment.spec_hash,
        network=canonical(weights.network(experiment)),
        data=sources.identify_data(experiment, settings.data_root, ("val",)),
        precision=settings.precision,
        **_engine_parts(settings),
        **_input_parts(experiment, settings, weights),
    )


def training_directory(experiment: Experiment, settings: Settings) -> Path:
    """Where the training that ends in the experiment's network keeps its state, weights and predictions.

    Raises:
        ReproError: as `training_key`.
    """
    experiment = readings.as_trained(experiment)
    return run_directory(experiment, settings, training_key(experiment, settings), f"seed{settings.seed}")


def run_directory(experiment: Experiment, settings: Settings, key: str, kind: str) -> Path:
    """The directory of a run by its cache key; `kind` is "seed0" or "checkpoint", for people who list directories."""
    return settings.results / "runs" / f"{experiment.name}.{experiment.profile}.{kind}.{key[:12]}"


def data_identity(experiment: Experiment, settings: Settings) -> str:
    """What the data set contributes to a cache key.

    Raises:
        ReproError: the full profile has no data set, or one without annotations.
    """
    if settings.profile == "mini":
        return mini.dataset_key_for(experiment)
    return sources.identify_data(experiment, settings.data_root, sources.SPLITS)


def prerequisite(experiment: Experiment, settings: Settings) -> tuple[Experiment, Settings] | None:
    """The experiment whose weights this one starts from, trained with the same options.

    At full size with seed 0 for all seeds, as the paper's eight share one; in the mini profile with the same seed, so
    that the scatter of seeds has in it what the shared training adds. It follows those readings that touch it, as every
    experiment does. None where this one starts from something else.
    """
    wanted = experiment.recipe.initial_weights
    if not is_defined(wanted) or settings.initial:
        return None
    earlier = readings.get_experiment(wanted, settings.profile, settings.readings)
    seed = settings.seed if settings.profile == "mini" else 0
    return earlier, replace(settings, seed=seed, source="trained", weights=None)


def initial_weights_key(experiment: Experiment, settings: Settings, data: str | None = None) -> str:
    """What a training begins from: the recipe's initial weights, whether fetched or given as a file, or other ones.

    Args:
        data: as of `training_key`.

    Raises:
        ReproError: what is given with --init cannot be read, or is not known.
    """
    if earlier := prerequisite(experiment, settings):
        return training_key(*earlier, data)
    wanted = experiment.recipe.initial_weights
    if pretrainings := mini.list_pretrainings(experiment):
        # Of a single one the specification is enough: the data set stands in the key of the training.
        single = len(pretrainings) == 1
        return pretrainings[0].spec_hash if single else pretraining_key(experiment, pretrainings, settings)
    if settings.initial is None:
        return wanted
    if settings.initial == "random":
        return settings.initial
    given = initial_weights.identify_given(settings.initial)
    public = wanted != "random" and not is_defined(wanted)
    whole = public and "#" not in given
    return wanted if whole and given.startswith(initial_weights.get_sha256_prefix(wanted)) else given


def pretraining_key(experiment: Experiment, pretrainings: list[Experiment], settings: Settings) -> str:
    """The cache key of the last of the trainings that lead to a mini experiment's initial weights."""
    *earlier, last = pretrainings
    initial = {"initial": pretraining_key(experiment, earlier, settings)} if earlier else {}
    seed = seed_pretraining(pretrainings, settings)
    engine = {"engine": settings.engine} if isinstance(last.network, Detector) else {}
    return cache_key(
        stage="pre-training",
        version=TRAINING_VERSION,
        spec=last.spec_hash,
        data=mini.dataset_key_for(experiment),
        **initial,
        **({"seed": seed} if seed else {}),  # as keys were when all seeds shared that of seed 0
        **engine,
    )


def seed_pretraining(pretrainings: list[Experiment], settings: Settings) -> int:
    """The seed of the last of these trainings: that of the experiment, but 0 where all seeds share it."""
    return settings.seed if mini.is_repeated_with_each_seed(pretrainings) else 0


def pretraining_directory(experiment: Experiment, pretrainings: list[Experiment], settings: Settings) -> Path:
    """Where the last of the trainings that lead to a mini experiment's initial weights keeps its state and weights."""
    key = pretraining_key(experiment, pretrainings, settings)
    return settings.results / "runs" / f"{pretrainings[-1].name}.{key[:12]}"


def weights_to_evaluate(experiment: Experiment, settings: Settings) -> Choice | None:
    """The weights that others trained and that are to be evaluated; None where the experiment is to be trained here.

    Raises:
        ReproError: weights were asked for and there are none, or those named do not fit.
    """
    if settings.profile == "mini" or settings.source == "trained":
        return None
    of_training = [reading for reading in experiment.readings if reading[0] in readings.OF_TRAINING]
    if settings.source == "checkpoint":
        if of_training:
            raise ReproError(f"--reading {readings.write(of_training)} shapes a training; checkpoints have had it")
        return choice.choose(experiment, settings.weights)
    if settings.training_options or of_training:
        return None
    return choice.find_exact(experiment)


def _engine_parts(settings: Settings) -> dict[str, str | bool]:
    """What the engine and the compiler contribute to a cache key."""
    engine: dict[str, str | bool] = {} if settings.engine == "torchvision" else {"engine": settings.engine}
    return {**engine, "compile": True} if settings.compile else engine


def _detection_parts(experiment: Experiment) -> dict[str, int]:
    """What the way in which anchors and RoIs are drawn contributes to the cache key of a training."""
    full = isinstance(experiment.network, Detector) and experiment.profile == "full"
    return {"detection": DETECTION_VERSION} if full else {}


def _decoding_parts(experiment: Experiment, settings: Settings) -> dict[str, str]:
    """What decodes the images of a training on ImageNet, if it is not as ever."""
    on_gpu = experiment.dataset == "imagenet" and settings.decode_on == "gpu"
    return {"decode_on": settings.decode_on} if on_gpu else {}


def _graph_parts(experiment: Experiment, settings: Settings) -> dict[str, bool]:
    """Whether the passes of a classifier's training are replayed: in bf16 they are of kernels that round otherwise."""
    recorded = settings.cuda_graphs and not isinstance(experiment.network, Detector)
    return {"cuda_graphs": True} if recorded else {}


def _input_parts(experiment: Experiment, settings: Settings, weights: Choice | None = None) -> dict[str, Any]:
    """What the preparation of videos contributes to a cache key: of networks trained here, or as who trained `weights`.

    Images are prepared by what the specification and `EVALUATION_VERSION` say.
    """
    if experiment.dataset != "kinetics" or settings.profile == "mini":
        return {}
    if weights and weights.format in preprocessing.FORMATS:
        return {"inputs": canonical(preprocessing.preprocessing_for(weights.format, weights.id))}
    return {"inputs": canonical(preprocessing.CLIPS_TRAINED_HERE)}

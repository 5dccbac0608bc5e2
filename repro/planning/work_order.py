"""A work order: everything that measuring one experiment takes, decided once, when it is planned. Imports no torch.

Runner, worker and `measure` execute an order and decide nothing again; they only confirm that what it was planned from
is still there. It travels to another process as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from repro.checkpoints import registry
from repro.checkpoints.choice import Choice
from repro.checkpoints.weight_names import add_part
from repro.errors import ReproError
from repro.experiments import Experiment, is_published, own, readings
from repro.files.regular_files import hash_file, sha256
from repro.planning import keys
from repro.settings import Settings

_SETTINGS = TypeAdapter(Settings)


@dataclass(frozen=True)
class TrainedWork:
    """Train an experiment, evaluate the network that this ends in, and record it."""

    experiment: Experiment  #: as its profile runs it
    settings: Settings  #: what the user chose; the seed among it
    key: str  #: of the training
    directory: Path  #: of state, weights and predictions
    starts_from: TrainedWork | None  #: the training whose weights this one begins with
    #: The training in whose network this one ends: a reading of the evaluation trains none of its own.
    network_of: TrainedWork | None = None
    attention: bool = False  #: whether the statistics of its attention are wanted, too

    @property
    def training(self) -> TrainedWork:
        """The order whose directory has state and weights: this one, or `network_of`."""
        return self.network_of or self


@dataclass(frozen=True)
class CheckpointWork:
    """Evaluate weights that others trained, and record it."""

    experiment: Experiment
    settings: Settings
    key: str  #: of the evaluation
    directory: Path  #: of predictions
    weights: Choice
    attention: bool = False


WorkOrder = TrainedWork | CheckpointWork


def order_work(name: str, settings: Settings) -> WorkOrder:
    """The order for an experiment by name.

    Raises:
        ReproError: there is no such experiment or no data set, weights were asked for and there are none that fit, or
            a reading does not touch the experiment.
    """
    readings.refuse_without_effect([name], settings.profile, settings.readings)
    experiment = readings.get_experiment(name, settings.profile, settings.readings)
    check_own(experiment)
    weights = keys.weights_to_evaluate(experiment, settings)
    order = order_evaluation(experiment, settings, weights) if weights else order_training(experiment, settings)
    # Of a reading of these alone, nothing else would be another.
    return replace(order, attention=any(point in readings.OF_ATTENTION for point, _ in experiment.readings))


def refuse_options_without_effect(experiments: Sequence[Experiment], settings: Settings) -> None:
    """Refuse what is for other data sets than those of any of the experiments.

    Raises:
        ReproError: files are to be decoded by a GPU and none of them is ImageNet's, passes recorded and none of them is
            a classifier's, or images predicted together and none of them is a detector's.
    """
    what = experiments[0].name if len(experiments) == 1 else "what is to be measured"
    data = {experiment.dataset for experiment in experiments}
    if settings.decode_on == "gpu" and data and "imagenet" not in data:
        raise ReproError(f"--decode-on gpu is for trainings on ImageNet (Table 4), and changes nothing of {what}")
    if settings.evaluation_batch and data and "coco" not in data:
        raise ReproError(
            f"--evaluation-batch is for evaluations of detectors (Tables 1 to 3), and changes nothing of {what}"
        )
    if settings.cuda_graphs and data == {"coco"}:
        raise ReproError(
            f"--cuda-graphs is for trainings of classifiers (Tables 4 and 5), and changes nothing of {what}: the size "
            "of a detector's inputs changes from batch to batch"
        )


def check_own(experiment: Experiment) -> None:
    """Check the network of an experiment that is not the paper's, before anything is measured of it.

    Raises:
        ReproError: as `check_network`.
    """
    if not is_published(experiment.name):
        from repro.models.own_blocks import check_network  # imports torch, as the user's file does

        check_network(experiment)


def order_training(experiment: Experiment, settings: Settings) -> TrainedWork:
    """The order to train an experiment, with the orders for what it starts from, or whose network it evaluates.

    Raises:
        ReproError: as `keys.training_key`.
    """
    earlier = keys.prerequisite(experiment, settings)
    key = keys.training_key(experiment, settings)
    trained = readings.as_trained(experiment)
    return TrainedWork(
        experiment=experiment,
        settings=settings,
        key=key,
        directory=keys.run_directory(experiment, settings, key, f"seed{settings.seed}"),
        starts_from=order_training(*earlier) if earlier else None,
        network_of=None if trained == experiment else order_training(trained, _follow(trained, settings)),
    )


def _follow(experiment: Experiment, settings: Settings) -> Settings:
    """The settings with no other readings than the experiment follows."""
    return replace(settings, readings=experiment.readings)


def order_evaluation(experiment: Experiment, settings: Settings, weights: Choice) -> CheckpointWork:
    """The order to evaluate weights that others trained.

    Raises:
        ReproError: as `keys.evaluation_key`.
    """
    key = keys.evaluation_key(experiment, settings, weights)
    directory = keys.run_directory(experiment, settings, key, "checkpoint")
    return CheckpointWork(experiment, settings, key, directory, weights)


def confirm_unchanged(order: WorkOrder) -> None:
    """Refuse an order whose data set or files of the user's changed since it was planned.

    Raises:
        ReproError: they did.
    """
    experiment, settings = order.experiment, order.settings
    own.confirm_source(experiment)
    if isinstance(order, TrainedWork):
        key = keys.training_key(experiment, settings)
    else:
        weights = order.weights
        if weights.file and weights.entry:
            weights.entry.check(weights.file, hash_file(weights.file))
        elif weights.file:
            weights = replace(weights, identity=add_part(sha256(weights.file), weights.part))
        key = keys.evaluation_key(experiment, settings, weights)
    if key != order.key:
        raise ReproError(
            f"{experiment.name}: the data set, or a file given with --init or --weights, changed since this was "
            "planned. Run the same command again: it plans with what is there now."
        )


def to_json(order: WorkOrder) -> dict[str, Any]:
    """The order in JSON's types, for another process of the same version."""
    fields = {
        "experiment": order.experiment.name,
        "spec_hash": order.experiment.spec_hash,
        "defined_in": _locate_source(order.experiment),
        "settings": _SETTINGS.dump_python(order.settings, mode="json"),
        "key": order.key,
        "directory": str(order.directory),
        "attention": order.attention,
    }
    if isinstance(order, TrainedWork):
        earlier = {"starts_from": order.starts_from, "network_of": order.network_of}
        return {**fields, **{name: work and to_json(work) for name, work in earlier.items()}}
    weights = {**asdict(replace(order.weights, entry=None)), "file": order.weights.file and str(order.weights.file)}
    return {**fields, "weights": {**weights, "entry": order.weights.entry and order.weights.entry.id}}


def _locate_source(experiment: Experiment) -> dict[str, str] | None:
    """Where another process finds an experiment of the user's own, and what it has to find there."""
    source = experiment.source
    return {"reference": source.reference, "sha256": source.sha256} if source else None


def from_json(content: dict[str, Any]) -> WorkOrder:
    """The inverse of `to_json`.

    Raises:
        ReproError: this version has no such experiment, or defines it in another way, or its file was edited.
    """
    if defined_in := content["defined_in"]:
        own.load_again(defined_in["reference"], defined_in["sha256"])
    settings = _SETTINGS.validate_python(content["settings"])
    experiment = readings.get_experiment(content["experiment"], settings.profile, settings.readings)
    if experiment.spec_hash != content["spec_hash"]:
        raise ReproError(f"{experiment.name} is defined in another way here than where the work was planned")
    key, directory, attention = content["key"], Path(content["directory"]), content["attention"]
    if "weights" not in content:
        starts_from, network_of = (_read_training(content[name]) for name in ("starts_from", "network_of"))
        return TrainedWork(experiment, settings, key, directory, starts_from, network_of, attention)
    weights = dict(content["weights"])
    entry = weights.pop("entry")
    file = weights.pop("file")
    choice = Choice(**weights, entry=entry and registry.load().get(entry), file=file and Path(file))
    return CheckpointWork(experiment, settings, key, directory, choice, attention)


def _read_training(content: dict[str, Any] | None) -> TrainedWork | None:
    order = from_json(content) if content else None
    assert not isinstance(order, CheckpointWork), "a training starts from a training"
    return order

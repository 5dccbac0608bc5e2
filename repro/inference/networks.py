"""A network that predicts: that of an experiment with weights, on its device."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lightning_fabric import Fabric
from torch import nn

from repro import tasks
from repro.checkpoints import choice, weight_files
from repro.checkpoints.choice import OWN_FILE
from repro.conversion import prepare
from repro.engine import devices
from repro.errors import ReproError
from repro.evaluation.predictor import ProgressReport
from repro.experiments import readings
from repro.planning.trained_weights import TrainedWeights
from repro.records import Checkpoint
from repro.settings import Engine, Settings
from repro.tasks import Task

#: In the place of an evaluation's key: no record is made.
_NO_KEY = "0" * 64


@dataclass(frozen=True)
class ReadyNetwork:
    """A network in evaluation mode on its device."""

    task: Task
    model: nn.Module
    checkpoint: Checkpoint | None  #: None of weights that were trained here
    weights: str  #: where they come from, in words
    fabric: Fabric


def load_trained(trained: TrainedWeights, settings: Settings) -> ReadyNetwork:
    """Load a network that was trained here.

    Raises:
        ReproError: its weights are damaged, or are not those of its record.
    """
    record = trained.record
    engine: Engine = "detectron2" if record.engine == "detectron2" else "torchvision"
    task = tasks.task_for(trained.experiment, replace(settings, engine=engine))
    contents = weight_files.read(trained.path)
    if contents.sha256 != record.weights.sha256:
        raise ReproError(
            f"{trained.path} is not what record {record.filename} was measured with: its sha256 is {contents.sha256}, "
            f"not {record.weights.sha256}. Delete both, then `{record.command}` trains and measures them again."
        )
    model = task.build_network()
    model.load_state_dict(contents.tensors)
    return _set_up(task, model, None, f"trained here, record {record.filename}")


def load_given(name: str, settings: Settings, progress: ProgressReport) -> ReadyNetwork:
    """Load a network with the weights that `settings.weights` names.

    Raises:
        ReproError: they cannot be had, or are of another network.
    """
    experiment = readings.get_experiment(name, settings.profile)
    chosen = choice.choose(experiment, settings.weights)
    if settings.profile == "mini" and chosen.id != OWN_FILE:
        raise ReproError(f"{chosen.id}: public weights are of the full profile, and not of the mini profile's networks")
    prepared = prepare.prepare(experiment, chosen, _NO_KEY, progress, settings.engine)
    return _set_up(tasks.task_for(experiment, settings), prepared.model, prepared.checkpoint, prepared.weights.origin)


def _set_up(task: Task, model: nn.Module, checkpoint: Checkpoint | None, weights: str) -> ReadyNetwork:
    fabric = devices.set_up_device(task.settings)
    devices.convert_memory_format(model, task.choose_memory_format(fabric))
    fabric.to_device(model.eval())
    return ReadyNetwork(task, model, checkpoint, weights, fabric)

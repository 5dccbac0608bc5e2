"""Networks to analyse: those of experiments, with measured or other weights, and the user's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from repro import tasks, user_code
from repro.analysis.attention import Observation, find_blocks, leave_padding_out, observe
from repro.analysis.images import (
    OPTION,
    CentralViews,
    CocoImages,
    Images,
    Photographs,
    VideoFiles,
    prepare_network_input,
)
from repro.checkpoints import OWN_FORMAT, choice, weight_files
from repro.checkpoints.weight_names import add_part
from repro.conversion import prepare
from repro.data import sources
from repro.data.coco import CocoDetection
from repro.data.given_files import holds_videos
from repro.detection.detector import DetectorModule
from repro.engine.fitted import RESULTS, WEIGHTS, read_result
from repro.errors import ReproError
from repro.experiments import Experiment, mini, preprocessing, readings
from repro.experiments.conventions import AUTHORS, DetectionConventions
from repro.experiments.preprocessing import Preprocessing
from repro.files.places import is_there
from repro.models.context import NonLocalBlock
from repro.planning import keys
from repro.records import Checkpoint, cache_key
from repro.settings import Settings, describe_place
from repro.tasks.accuracy import Accuracy

#: Sides to which images for a user's own network are resized, in pixels: those of the detectors.
_SHORT_SIDE, _LONG_SIDE = 800, 1333

#: In the place of a training's or an evaluation's key: of an analysis no record of weights is made.
_NO_KEY = "0" * 64


@dataclass(frozen=True)
class Subject:
    """A network with its weights, and how its images are prepared."""

    name: str  #: as it stands in names of files
    network: nn.Module | Callable[[Tensor], Iterable[Observation]]  #: see `attention.observe`
    inputs: DetectionConventions | Preprocessing  #: a detector's, or a classifier's
    weights: str  #: where they come from, in words
    key: str | None  #: identifies network and weights in cache keys; None: they can change unnoticed
    experiment: Experiment | None = None
    trained: bool = True  #: False: the weights are random
    differs: str = ""  #: how public weights of a similar network differ from the experiment, in words
    weights_sha256: str | None = None  #: as records have it; None where there is no file

    def observe(self, pixels: Tensor) -> list[Observation]:
        """Observe what each non-local block does with an image, uint8 (3, H, W), or a clip, (3, T, H, W).

        Raises:
            ReproError: as `attention.observe` does; and whatever a user's own network raises.
        """
        device = next((p.device for p in self._parameters()), torch.device("cpu"))
        inputs = prepare_network_input(pixels, self.inputs).to(device)
        with user_code.report_failures(f"{self.name} failed with input {'x'.join(map(str, inputs.shape))}"):
            observations = observe(self.network, inputs)
        if self.experiment is None or self.experiment.attention.padding:
            return observations
        return [
            leave_padding_out(
                observation, *_count_cells(pixels.shape[1:], inputs.shape[2:], observation.input.shape[1:])
            )
            for observation in observations
        ]

    def to(self, device: torch.device) -> Subject:
        """Move the network to a device; a function stays where it is."""
        if isinstance(self.network, nn.Module):
            self.network.to(device)
        return self

    def _parameters(self) -> Iterable[Tensor]:
        return self.network.parameters() if isinstance(self.network, nn.Module) else ()


def _count_cells(image: Sequence[int], padded: Sequence[int], cells: Sequence[int]) -> list[int]:
    """Along each side, how many of a feature map's cells begin inside the image."""
    return [math.ceil(own * number / whole) for own, whole, number in zip(image, padded, cells, strict=True)]


def load_experiment(name: str, settings: Settings, random: bool) -> Subject:
    """Load the network of an experiment, with the weights that were measured, or would be.

    Args:
        settings: name the profile, and `weights` that others trained; without these, the weights are those that
            `repro run` evaluates: the authors', or those that it trained under `results` with `seed`.
        random: take weights drawn with `seed` instead, also in the last layer of the non-local blocks.

    Raises:
        ReproError: the experiment has no non-local block, or has no weights yet.
    """
    experiment = readings.get_experiment(name, settings.profile, settings.readings)
    if random:
        model = _build_random_network(experiment, settings)
        inputs = _choose_inputs(model, experiment, settings)
        subject = _build_subject(experiment, model, inputs, f"random weights of seed {settings.seed}")
        return replace(subject, key=cache_key(spec=experiment.spec_hash, random=settings.seed), trained=False)
    chosen = (
        choice.choose(experiment, settings.weights)
        if settings.weights
        else keys.weights_to_evaluate(experiment, settings)
    )
    if chosen is None:
        path = _find_trained_weights(experiment, settings)
        model = _build_network(experiment, settings)
        contents = weight_files.read(path)
        if any(is_there(path.parent / result) for result in RESULTS):  # without, the key needs no training data
            fitted = read_result(path.parent, keys.training_key(readings.as_trained(experiment), _as_trained(settings)))
            if fitted and fitted.sha256 != contents.sha256:
                raise ReproError(
                    f"{path} is not what its training ended in: its sha256 is not the one in "
                    f"{path.parent / RESULTS[0]}. Delete it, then `repro run {name}` with the same options trains it "
                    "again."
                )
        model.load_state_dict(contents.tensors)
        subject = _build_subject(
            experiment, model, _choose_inputs(model, experiment, settings), f"trained here, {path}"
        )
        subject = replace(subject, weights_sha256=contents.sha256)
    else:
        prepared = prepare.prepare(experiment, chosen, _NO_KEY, lambda stage, done, total: None, settings.engine)
        weights = prepared.weights
        inputs = _choose_inputs(prepared.model, experiment, settings, weights.checkpoint)
        subject = _build_subject(experiment, prepared.model, inputs, weights.origin)
        subject = replace(subject, differs=chosen.differs, weights_sha256=weights.sha256)
    identity = add_part(subject.weights_sha256 or "", chosen.part if chosen else None)
    return replace(subject, key=cache_key(spec=experiment.spec_hash, weights=identity))


def load_user_network(reference: str) -> Subject:
    """Load the network that "path.py:factory" returns: a module with non-local blocks, or a function for `observe`.

    It is given each image as float32 (1, 3, H, W), RGB, normalised by ImageNet's mean and standard deviation, the
    shorter side 800 pixels unless the longer one exceeds 1333, padded with zeros to multiples of 32; and each video as
    the clip in its middle, (1, 3, 8, 256, 256), 8 frames apart.

    Raises:
        ReproError: the file or the function cannot be used, or the function returns something else.
    """
    path, name = user_code.split_reference(reference)
    make = user_code.load_factory(reference)
    with user_code.report_failures(f"--model: {reference} failed"):
        network = make()
    if isinstance(network, nn.Module):
        find_blocks(network)
        network.eval()
    elif not callable(network):
        raise ReproError(
            f"--model: {reference} returned {type(network).__name__}, neither a torch.nn.Module nor a function that "
            "gives the observations of an image"
        )
    return Subject(f"{path.stem}.{name}", network, AUTHORS, f"as {reference} returns it", key=None)


def choose_images(
    subject: Subject, settings: Settings, given: list[Path] | None = None, limit: int | None = None
) -> Images:
    """Choose what the network is shown: given files or directories of images or videos, else its validation split.

    Raises:
        ReproError: there is nothing, it cannot be read, or it is of the wrong kind for the network.
    """
    experiment = subject.experiment
    if given:
        return _choose_given(subject, given, limit)
    if settings.profile == "full" and settings.data_root is None:
        raise ReproError("no images: pass --images DIR, or --data-root DIR (or REPRO_DATA) with the data set in it")
    if experiment is None:
        root = sources.find_root(settings.data_root, "coco")
        return CocoImages(CocoDetection(root, "val2017", 80, _SHORT_SIDE, _LONG_SIDE), limit)
    task = tasks.task_for(experiment, settings)
    if settings.profile == "mini":
        task.generate()
    if experiment.dataset == "coco":
        return CocoImages(task.validation_data, limit)
    assert isinstance(subject.inputs, Preprocessing)  # as every classifier's
    return CentralViews(task.validation_data, subject.inputs, limit)


def _choose_given(subject: Subject, given: list[Path], limit: int | None) -> Images:
    experiment, videos = subject.experiment, holds_videos(given, OPTION)
    if experiment and videos != (experiment.dataset == "kinetics"):
        wants, has = ("videos", "photographs") if experiment.dataset == "kinetics" else ("photographs", "videos")
        raise ReproError(f"{experiment.name} takes {wants}, and --images names {has}")
    if experiment and experiment.dataset == "imagenet":
        raise ReproError(f"{experiment.name} looks at its validation split alone: pass --data-root instead of --images")
    if videos:
        inputs = subject.inputs if isinstance(subject.inputs, Preprocessing) else preprocessing.CLIPS_TRAINED_HERE
        return VideoFiles(given, inputs, limit)
    if experiment:
        return Photographs(given, experiment.detector.short_side, experiment.detector.long_side, limit)
    return Photographs(given, _SHORT_SIDE, _LONG_SIDE, limit)


def _build_subject(
    experiment: Experiment, model: nn.Module, inputs: DetectionConventions | Preprocessing, weights: str
) -> Subject:
    """Build the subject of a classifier, or of a detector's backbone."""
    network = model.backbone if isinstance(model, DetectorModule) else model
    find_blocks(network)
    name = f"{experiment.name}.{experiment.profile}"
    return Subject(name, network.eval(), inputs, weights, key=None, experiment=experiment)


def _choose_inputs(
    model: nn.Module, experiment: Experiment, settings: Settings, checkpoint: Checkpoint | None = None
) -> DetectionConventions | Preprocessing:
    """Choose how inputs are prepared: for public classifiers as their publisher does it, else as here."""
    if isinstance(model, DetectorModule):
        return model.conventions
    if checkpoint and checkpoint.format != OWN_FORMAT:
        return preprocessing.preprocessing_for(checkpoint.format, checkpoint.id)
    task = tasks.task_for(experiment, settings)
    assert isinstance(task, Accuracy)  # as every classifier's
    return task.inputs


def _build_network(experiment: Experiment, settings: Settings) -> nn.Module:
    return tasks.task_for(experiment, settings).build_network()


def _build_random_network(experiment: Experiment, settings: Settings) -> nn.Module:
    """Initialise a network by the seed, with the last layer of its non-local blocks like any other convolution.

    That layer usually starts from zero, so that a fresh block has no output whose distances could be measured.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = _build_network(experiment, settings)
        for block in model.modules():
            if isinstance(block, NonLocalBlock):
                block.conv_out.reset_parameters()
                if isinstance(block.norm, nn.modules.batchnorm._BatchNorm):
                    block.norm.reset_parameters()
    return model


def _as_trained(settings: Settings) -> Settings:
    return replace(settings, source="trained")


def _find_trained_weights(experiment: Experiment, settings: Settings) -> Path:
    name, seed = experiment.name, settings.seed
    if settings.profile == "full" and settings.data_root is None:
        raise ReproError(
            f"{name}: which weights? Give --weights ID|FILE, --random for an untrained network, or --profile mini for "
            "the small network that `repro run` trains in minutes."
        )
    path = keys.training_directory(experiment, _as_trained(settings)) / WEIGHTS
    if not is_there(path) and settings.profile == "full":
        raise ReproError(
            f"{name}: which weights? Nothing was trained here with seed {seed}: {path} is missing. Give --weights "
            "ID|FILE, or --random for an untrained network."
        )
    if not is_there(path):
        raise ReproError(
            f"{name} has not been trained in the mini profile with seed {seed}: {path} is missing. Run `repro run "
            f"{name} --profile mini --seed {seed}{describe_place(settings.results)}` (about "
            f"{mini.estimate_seconds(experiment):.0f} s), or take --random for an untrained network."
        )
    return path

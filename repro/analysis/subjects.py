"""Networks to analyse: of an experiment, with weights from somewhere, or of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from repro import foreign, mini, plan
from repro.analysis.attention import Observation, blocks, observe
from repro.analysis.images import Images, Photographs, Split, normalised
from repro.checkpoints import choice, prepare, reading
from repro.data import sources
from repro.data.coco import CocoDetection
from repro.data.miniature import coco as miniature
from repro.detection.conventions import AUTHORS, Conventions
from repro.detection.torchvision import MaskRCNN
from repro.errors import ReproError
from repro.experiments import Detector, Experiment, get
from repro.models.context import NonLocalBlock
from repro.paths import sha256
from repro.records import cache_key
from repro.settings import Settings

#: Sides to which the images for a network of the user's own are resized: the detectors'.
_SHORT_SIDE, _LONG_SIDE = 800, 1333


@dataclass(frozen=True)
class Subject:
    """A network with its weights, and how it wants its images."""

    name: str  #: of files about it
    network: nn.Module | Callable[[Tensor], Iterable[Observation]]  #: see `attention.observe`
    conventions: Conventions
    weights: str  #: where they come from, in words
    key: str | None  #: of network and weights in cache keys; None: they can change without a trace
    experiment: Experiment | None = None
    trained: bool = True  #: False: the weights are random
    differs: str = ""  #: from the experiment, in words, where the weights are others' of a similar network

    def observe(self, image: Tensor) -> list[Observation]:
        """What each non-local block does with an image, uint8 (3, H, W).

        Raises:
            ReproError: of `attention.observe`; and where the network is the user's own, whatever it raises.
        """
        device = next((p.device for p in self._parameters()), torch.device("cpu"))
        inputs = normalised(image, self.conventions).to(device)
        with foreign.guarded(f"{self.name} failed with input {'x'.join(map(str, inputs.shape))}"):
            return observe(self.network, inputs)

    def to(self, device: torch.device) -> Subject:
        """The same on a device. A function is left where it is."""
        if isinstance(self.network, nn.Module):
            self.network.to(device)
        return self

    def _parameters(self) -> Iterable[Tensor]:
        return self.network.parameters() if isinstance(self.network, nn.Module) else ()


def of_experiment(name: str, settings: Settings, random: bool) -> Subject:
    """The network of an experiment.

    Args:
        settings: its profile; `weights` that others or an earlier run trained; without them the mini profile's own,
            trained under `results` with `seed`.
        random: take weights drawn from `seed` instead, in the last layer of the non-local blocks, too.

    Raises:
        ReproError: the experiment has no non-local block, is none of image detection, or has no weights yet.
    """
    if not isinstance(get(name).network, Detector):
        raise ReproError(
            f"{name} cannot be analysed by name: this version reads images for detectors. Bring its network with "
            "--model FILE.py:FACTORY, where the function makes of each image what the network wants."
        )
    experiment = plan.at_profile(name, settings.profile)
    conventions, differs = AUTHORS, ""
    if random:
        model, weights = _random(experiment, settings.seed), f"random weights of seed {settings.seed}"
        key = cache_key(spec=experiment.spec_hash, random=settings.seed)
    elif settings.profile == "mini":
        path = _trained(experiment, settings)
        model, weights = _loaded(experiment, path), f"trained here, {path}"
        key = cache_key(spec=experiment.spec_hash, weights=sha256(path))
    elif settings.weights is None:
        raise ReproError(
            f"{name}: which weights? Give --weights ID|FILE, --random for an untrained network, or --profile mini for "
            "the small network that `repro run` trains in minutes."
        )
    else:
        chosen = choice.choose(experiment, settings.weights)
        prepared = prepare.prepare(experiment, chosen, "", lambda stage, done, total: None)
        model, weights = prepared.model, prepared.weights.origin
        conventions, differs = model.conventions, chosen.differs
        key = cache_key(spec=experiment.spec_hash, weights=prepared.weights.sha256)
    blocks(model.backbone)
    return Subject(
        name=f"{name}.{settings.profile}",
        network=model.backbone.eval(),
        conventions=conventions,
        weights=weights,
        key=key,
        experiment=experiment,
        trained=not random,
        differs=differs,
    )


def of_file(reference: str) -> Subject:
    """The network that "path.py:factory" returns: a module with non-local blocks, or a function (`attention.observe`).

    It is given each image as float32 (1, 3, H, W), RGB, normalised by ImageNet's mean and standard deviation, the
    shorter side 800 pixels unless the longer one exceeds 1333, padded with zeros to multiples of 32.

    Raises:
        ReproError: the file, the function or what it returns is not as it should be.
    """
    path, name = foreign.split_reference(reference)
    make = foreign.factory(reference)
    with foreign.guarded(f"--model: {reference} failed"):
        network = make()
    if isinstance(network, nn.Module):
        blocks(network)
        network.eval()
    elif not callable(network):
        raise ReproError(
            f"--model: {reference} returned {type(network).__name__}, neither a torch.nn.Module nor a function that "
            "gives the observations of an image"
        )
    return Subject(f"{path.stem}.{name}", network, AUTHORS, f"as {reference} returns it", key=None)


def images(subject: Subject, settings: Settings, given: list[Path] | None = None, limit: int | None = None) -> Images:
    """What to show to the network: given image files or directories, else the validation split of its profile.

    Raises:
        ReproError: there is nothing, or it cannot be read.
    """
    network = subject.experiment.network if subject.experiment else None
    short_side, long_side = (network.short_side, network.long_side) if network else (_SHORT_SIDE, _LONG_SIDE)
    if given:
        return Photographs(given, short_side, long_side, limit)
    if settings.profile == "mini" and subject.experiment:
        root = settings.results / "data" / mini.data_directory(subject.experiment)
        miniature.generate(root, mini.coco.MINI_DATA_SEED)
    elif settings.data_root is not None:
        root = sources.root(settings.data_root, "coco")
    else:
        raise ReproError("no images: pass --images DIR, or --data-root DIR (or REPRO_DATA) with COCO 2017 in it")
    classes = network.num_classes if network else 80
    return Split(CocoDetection(root, "val2017", classes, short_side, long_side), limit)


def _random(experiment: Experiment, seed: int) -> MaskRCNN:
    """Freshly initialised as a function of the seed, the last layer of the non-local blocks as any other convolution.

    That layer starts from zero, so that a fresh block has no output of which a distance could be measured.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MaskRCNN(experiment.network)
        for block in model.modules():
            if isinstance(block, NonLocalBlock):
                block.conv_out.reset_parameters()
                if isinstance(block.norm, nn.modules.batchnorm._BatchNorm):
                    block.norm.reset_parameters()
    return model


def _trained(experiment: Experiment, settings: Settings) -> Path:
    path = plan.run_directory(experiment, replace(settings, source="trained")) / "weights.pt"
    if not path.is_file():
        raise ReproError(
            f"{experiment.name} has not been trained in the mini profile with seed {settings.seed}: {path} is missing. "
            f"Run `repro run {experiment.name} --profile mini --seed {settings.seed}` (about a minute), or take "
            "--random for an untrained network."
        )
    return path


def _loaded(experiment: Experiment, path: Path) -> MaskRCNN:
    model = MaskRCNN(experiment.network)
    model.load_state_dict(reading.read(path).tensors)
    return model

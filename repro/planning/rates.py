"""How long a training of the full profile takes on one H200: by measured rates, and by what is estimated from them.

Nine networks were measured (`benchmarks/gpu.md`, "Before"; PyTorch 2.11). Of the others each rate follows from that of
a measured network with the same kind of blocks, by the first rule that applies:

authors   by the seconds an iteration that the authors report of both networks, on V100s
FLOPs     by the operations of both networks, in one forward pass
alike     where neither is known, as the measured one: other instantiations of the non-local block, own blocks

A rate is that of one GPU which never waits for data. Several GPUs are taken to divide a training evenly, which was not
measured. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from repro.checkpoints import registry
from repro.data.sources import SOURCES
from repro.experiments import EXPERIMENTS, Detector, Experiment, NonLocal
from repro.paths import REFERENCE
from repro.records import Count, Store
from repro.settings import Precision, Settings

Rule = Literal["measured", "authors", "FLOPs", "alike"]

#: Images or clips of a training that one H200 takes in a second, in float32 and in bf16.
MEASURED: dict[str, dict[Precision, float]] = {
    "coco-r50-baseline": {"32-true": 13.9, "bf16-mixed": 43.4},
    "coco-r50-gc-r16": {"32-true": 13.2, "bf16-mixed": 38.1},
    "coco-r50-1nl": {"32-true": 12.7, "bf16-mixed": 39.3},
    "imagenet-r50-baseline": {"32-true": 910, "bf16-mixed": 4586},
    "imagenet-r50-gc-r16": {"32-true": 837, "bf16-mixed": 3405},
    "imagenet-r50-1nl": {"32-true": 862, "bf16-mixed": 3934},
    "kinetics-r50-baseline": {"32-true": 42, "bf16-mixed": 337},
    "kinetics-r50-gc-r4": {"32-true": 40, "bf16-mixed": 281},
    "kinetics-r50-5nl": {"32-true": 33, "bf16-mixed": 142},
}
#: Seconds in which `coco-r50-gc-r16` evaluates an image there, in float32: reading, network, masks, in turn.
_COCO_EVALUATION = 0.088
#: Of a classifier's training step, the forward pass: the backward pass has twice its operations.
_FORWARD = 1 / 3
#: A video is evaluated in 30 views of 256 x 256 pixels; it is trained on one of 224 x 224.
_VIEWS = 30 * (256 / 224) ** 2


@dataclass(frozen=True)
class Estimate:
    """How long training and evaluating an experiment takes on one H200."""

    training: float  #: seconds
    evaluation: float  #: seconds
    rule: Rule
    like: str  #: the measured experiment whose rate it follows from
    most: bool = False  #: it takes no longer, but no rate in this precision was measured: float32's is taken

    @property
    def seconds(self) -> float:
        return self.training + self.evaluation

    @property
    def hours(self) -> float:
        return self.seconds / 3600

    def __str__(self) -> str:
        how = {
            "measured": "its rate was measured",
            "authors": f"by the authors' iterations, against {self.like}",
            "FLOPs": f"by FLOPs, against {self.like}",
            "alike": f"as {self.like}",
        }
        about = "at most" if self.most else "about"
        if not self.training:
            return f"{about} {self.evaluation / 60:.0f} min of an H200"
        return f"{about} {self.hours:.1f} h of an H200 ({how[self.rule]})"


def estimate(experiment: Experiment, settings: Settings) -> Estimate:
    """Estimate how long an experiment of the full profile takes on one H200, in the precision of the settings."""
    like = _find_measured(experiment)
    slower, rule = _compare(experiment, EXPERIMENTS[like])
    recipe, source = experiment.recipe, SOURCES[experiment.dataset]
    items = recipe.epochs * source.training_items
    if settings.iterations is not None:
        items = settings.iterations * (settings.batch_size or recipe.batch_size)
    rates = MEASURED[like]
    each = slower / rates.get(settings.precision, rates["32-true"])  # no rate in TF32 was measured
    if experiment.dataset == "coco":
        evaluated = _COCO_EVALUATION * slower
    else:
        evaluated = each * _FORWARD * (_VIEWS if experiment.dataset == "kinetics" else 1)
    return Estimate(items * each, source.validation_items * evaluated, rule, like, settings.precision not in rates)


def count_like(experiment: Experiment) -> Count:
    """The committed count of an experiment's network, or of that which its rate is taken from."""
    return find_count(experiment) or _read_counts()[EXPERIMENTS[_find_measured(experiment)].spec_hash]


def _find_measured(experiment: Experiment) -> str:
    """The measured experiment on the same data set whose blocks are of the same kind: none, non-local, or others."""
    context = experiment.network.backbone.context
    kind = "baseline" if context is None else "1nl" if isinstance(context.block, NonLocal) else "gc"
    if experiment.dataset == "kinetics":
        name = {"baseline": "baseline", "1nl": "5nl", "gc": "gc-r4"}[kind]
    else:
        name = {"baseline": "baseline", "1nl": "1nl", "gc": "gc-r16"}[kind]
    return f"{experiment.dataset}-r50-{name}"


def _compare(experiment: Experiment, measured: Experiment) -> tuple[float, Rule]:
    """How many times as long as the measured network an experiment's takes for an item, and by which rule."""
    if experiment.network == measured.network:
        return 1.0, "measured"
    seconds, of_measured = _find_reported(experiment), _find_reported(measured)
    if seconds and of_measured:
        return seconds / of_measured, "authors"
    simple = _simplify(experiment)
    slower = 1.0
    if simple is not None and simple is not measured:
        slower, _ = _compare(simple, measured)
    ours, its = find_count(experiment), find_count(simple or measured)
    if ours and its:
        return slower * ours.macs / its.macs, "FLOPs"
    return 1.0, "alike"


def _simplify(experiment: Experiment) -> Experiment | None:
    """The paper's experiment without this one's cascade and deformable convolutions; None where it has none."""
    network = experiment.network
    if not isinstance(network, Detector) or not (network.cascade or network.backbone.dcn):
        return None
    plain = replace(network, cascade=False, backbone=replace(network.backbone, dcn=()))
    return next((each for each in EXPERIMENTS.values() if each.network == plain), None)


def _find_reported(experiment: Experiment) -> float | None:
    """The seconds an iteration that the authors report of an experiment."""
    serving = registry.load().list_serving(experiment.name)
    return next((entry.training.seconds_per_iteration for entry, _ in serving if entry.training), None)


def find_count(experiment: Experiment) -> Count | None:
    """The committed count of an experiment's network; None where it was not counted."""
    return _read_counts().get(experiment.spec_hash)


@cache
def _read_counts() -> dict[str, Count]:
    """The committed counts, by the hash of what was counted."""
    return Store(REFERENCE / "records").counts()

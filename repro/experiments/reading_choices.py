"""What each choice of a reading changes: pure functions of an experiment, which return it as it is where they do not
apply. `readings` lists them by point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from repro.experiments import kinetics
from repro.experiments.specification import (
    BEFORE_LAST_OF_C4,
    BlockFactory,
    Classifier,
    Detector,
    Experiment,
    GlobalContext,
    Insertion,
    NonLocal,
)

Transform = Callable[[Experiment], Experiment]


def keep(experiment: Experiment) -> Experiment:
    """The default choice of every point: the experiment as it is."""
    return experiment


def move_behind_relu(experiment: Experiment) -> Experiment:
    """Put the block "right before the last residual block of c4" behind the ReLU of the residual block before it."""
    context = experiment.network.backbone.context
    if context is None or (context.sites, context.position) != (BEFORE_LAST_OF_C4, "afterAdd"):
        return experiment
    return _with_context(experiment, replace(context, position="afterReLU"))


def change_logits(*, scaled: bool, inverted: bool = False) -> Transform:
    """Change how the logits of a non-local block's softmax are scaled."""

    def change(experiment: Experiment) -> Experiment:
        block = _find_block(experiment)
        if not isinstance(block, NonLocal) or not block.instantiation.endswith("gaussian"):
            return experiment
        return _with_block(experiment, scaled=scaled, inverted=inverted)

    return change


def start_non_local(initial: str) -> Transform:
    """Draw the weights of non-local blocks in networks for images from another distribution."""

    def change(experiment: Experiment) -> Experiment:
        if experiment.dataset == "kinetics" or not isinstance(_find_block(experiment), NonLocal):
            return experiment
        return _with_block(experiment, initial=initial)

    return change


def leave_bias_out(experiment: Experiment) -> Experiment:
    """Give the one convolution of the simplified non-local block no bias."""
    return _with_block(experiment, bias=False) if _is_simplified(experiment) else experiment


def start_simplified_at_random(experiment: Experiment) -> Experiment:
    """Draw the weights of the simplified non-local block's convolutions from N(0, 0.01), none of them zero."""
    return _with_block(experiment, initial="normal") if _is_simplified(experiment) else experiment


def leave_layer_norm_out(experiment: Experiment) -> Experiment:
    """Leave the layer norm out of the blocks that fuse by scaling."""
    block = _find_block(experiment)
    if not isinstance(block, GlobalContext) or block.fusion != "scale":
        return experiment
    return _with_block(experiment, layer_norm=False)


def start_plain_bottleneck_at_random(experiment: Experiment) -> Experiment:
    """Draw the weights of bottlenecks that add without a layer norm from N(0, 0.01), none of them zero."""
    block = _find_block(experiment)
    if not isinstance(block, GlobalContext) or block.ratio is None or block.layer_norm or block.fusion != "add":
        return experiment
    return _with_block(experiment, initial="normal")


def propose_1000(experiment: Experiment) -> Experiment:
    """Let at most 1000 proposals pass at test, of each level and of all."""
    network = experiment.network
    if not isinstance(network, Detector):
        return experiment
    (training_of_level, of_level), (training, of_all) = network.proposals_per_level, network.proposals
    changed = replace(
        network,
        proposals_per_level=(training_of_level, min(of_level, 1000)),
        proposals=(training, min(of_all, 1000)),
    )
    return replace(experiment, network=changed)


def train_on_4_gpus(experiment: Experiment) -> Experiment:
    """Normalise losses over the 4 images of one of 4 GPUs instead of the 2 of one of 8."""
    network = experiment.network
    if not isinstance(network, Detector) or network.images_per_loss != 2:
        return experiment
    return replace(experiment, network=replace(network, images_per_loss=4))


def freeze_statistics(experiment: Experiment) -> Experiment:
    """Normalise in frozen stages with the statistics that they have, in training too."""
    network = experiment.network
    if network.backbone.frozen_statistics != "batch":
        return experiment
    return replace(
        experiment, network=replace(network, backbone=replace(network.backbone, frozen_statistics="running"))
    )


def train_196_epochs(experiment: Experiment) -> Experiment:
    """Train on Kinetics by the schedule that the text of [6] has for training from scratch."""
    if not _is_full(experiment, "kinetics"):
        return experiment
    kept = {name: getattr(experiment.recipe, name) for name in ("norm_weight_decay", "inflation")}
    return replace(experiment, recipe=replace(kinetics.RECIPES["196"], **kept))


def take_one_frame_in_8(experiment: Experiment) -> Experiment:
    """Take every eighth frame for a clip, as the text of [6]."""
    network = experiment.network
    if not isinstance(network, Classifier) or network.clip_frames != "span":
        return experiment
    return replace(experiment, network=replace(network, clip_frames="stride"))


def inflate_centre(experiment: Experiment) -> Experiment:
    """Put a 2-D kernel into the middle tap of a 3-D one."""
    return replace(experiment, recipe=replace(experiment.recipe, inflation="centre"))


def decay_batch_norm(experiment: Experiment) -> Experiment:
    """Decay the parameters of batch norm in networks for clips as all others."""
    if experiment.dataset != "kinetics":
        return experiment
    return replace(experiment, recipe=replace(experiment.recipe, norm_weight_decay=None))


def change_colours(colours: Literal["pixels", "none"]) -> Transform:
    """Change the colours of ImageNet's training images in another way. The mini profile's patterns have their own."""

    def change(experiment: Experiment) -> Experiment:
        if not _is_full(experiment, "imagenet"):
            return experiment
        return replace(experiment, recipe=replace(experiment.recipe, colours=colours))

    return change


def average_over_six(experiment: Experiment) -> Experiment:
    """Average the statistics of attention over the first six images of COCO's validation set."""
    if experiment.dataset != "coco" or not isinstance(_find_block(experiment), NonLocal):
        return experiment
    return replace(experiment, attention=replace(experiment.attention, images="six"))


def leave_padding_out(experiment: Experiment) -> Experiment:
    """Leave the query positions in the padding of COCO's images out of the statistics of attention.

    The images of the mini profile have none.
    """
    if not _is_full(experiment, "coco") or not isinstance(_find_block(experiment), NonLocal):
        return experiment
    return replace(experiment, attention=replace(experiment.attention, padding=False))


def choose_attention_of(block: Literal["first", "last"]) -> Transform:
    """Take the statistics of attention from one of the several non-local blocks of a network."""

    def change(experiment: Experiment) -> Experiment:
        context = experiment.network.backbone.context
        if context is None or not isinstance(context.block, NonLocal) or len(context.sites) < 2:
            return experiment
        return replace(experiment, attention=replace(experiment.attention, block=block))

    return change


def _find_block(experiment: Experiment) -> NonLocal | GlobalContext | BlockFactory | None:
    context = experiment.network.backbone.context
    return context.block if context else None


def _is_full(experiment: Experiment, dataset: str) -> bool:
    return (experiment.dataset, experiment.profile) == (dataset, "full")


def _is_simplified(experiment: Experiment) -> bool:
    block = _find_block(experiment)
    return isinstance(block, GlobalContext) and block.ratio is None


def _with_block(experiment: Experiment, **changes: Any) -> Experiment:
    context = experiment.network.backbone.context
    assert context is not None, "there is a block"
    assert isinstance(context.block, (NonLocal, GlobalContext)), "readings are of these alone"
    return _with_context(experiment, replace(context, block=replace(context.block, **changes)))


def _with_context(experiment: Experiment, context: Insertion) -> Experiment:
    network = experiment.network
    return replace(experiment, network=replace(network, backbone=replace(network.backbone, context=context)))

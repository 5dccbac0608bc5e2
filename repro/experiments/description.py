"""What a network and a recipe are, in words."""

from __future__ import annotations

from repro.experiments import (
    Backbone,
    BlockFactory,
    Classifier,
    Detector,
    Experiment,
    GlobalContext,
    Insertion,
    NonLocal,
    Site,
)
from repro.experiments.specification import name_factory

_TASKS = {"coco": "COCO", "imagenet": "ImageNet", "kinetics": "Kinetics-400"}


def describe_network(experiment: Experiment) -> str:
    """Describe the network: `Mask R-CNN with FPN on a ResNet-50, context block (attention pooling, ...) in ...`."""
    spec = experiment.network
    backbone = spec.backbone
    if isinstance(spec, Detector):
        what = f"{'Cascade ' if spec.cascade else ''}Mask R-CNN with FPN on a {_describe_backbone(backbone)}"
    else:
        what = f"{_describe_backbone(backbone)}, {spec.num_classes} classes, input {_write_size(spec)}"
        if backbone.dimensions == 3:
            what += ", every stride-th frame" if spec.clip_frames == "stride" else ", frames spread over the clip"
    if backbone.dcn:
        what += f", deformable 3x3 convolutions in {', '.join(backbone.dcn)}"
    return what + (f", {_describe_insertion(backbone.context)}" if backbone.context else ", no context block")


def describe_recipe(experiment: Experiment) -> str:
    """Describe the recipe: `12 epochs of COCO in batches of 16, SGD at a learning rate of 0.02, ..., from ...`."""
    spec = experiment.recipe
    length = f"{spec.iterations} iterations" if spec.iterations else f"{spec.epochs} epochs"
    parts = [f"{length} of {_TASKS[experiment.dataset]} in batches of {spec.batch_size}"]
    momentum = " with Nesterov's momentum" if spec.nesterov else ""
    parts.append(f"{spec.optimizer.upper()}{momentum} at a learning rate of {spec.learning_rate:g}")
    if spec.schedule == "cosine":
        parts.append("cosine decay")
    elif spec.decay_epochs:
        parts.append(f"a tenth of it after epochs {' and '.join(map(str, spec.decay_epochs))}")
    if spec.warmup_epochs or spec.warmup_iterations:
        warm = f"{spec.warmup_epochs} epochs" if spec.warmup_epochs else f"{spec.warmup_iterations} iterations"
        parts.append(f"{warm} of {'straight ' if spec.warmup == 'line' else ''}warm-up")
    own = "" if spec.norm_weight_decay is None else f", of batch norm {spec.norm_weight_decay:g}"
    parts.append(f"weight decay {spec.weight_decay:g}{own}")
    if spec.precise_norm:
        parts.append(f"statistics of batch norm over {spec.precise_norm} batches at the end")
    if spec.clip_norm:
        parts.append(f"gradients clipped at a norm of {spec.clip_norm:g}")
    frozen = experiment.network.backbone.frozen
    if frozen:
        statistics = ", but for their statistics" if experiment.network.backbone.frozen_statistics == "batch" else ""
        parts.append(f"{', '.join(frozen)} not trained{statistics}")
    begin = "random weights" if spec.initial_weights == "random" else spec.initial_weights
    if experiment.network.backbone.dimensions == 3 and spec.initial_weights != "random":
        begin += f", inflated ({spec.inflation})"
    return ", ".join([*parts, f"from {begin}"])


def _describe_backbone(spec: Backbone) -> str:
    depth = 3 * sum(spec.blocks) + 2
    kind = f"ResNeXt-{depth} {spec.groups}x{spec.width_per_group}d" if spec.groups > 1 else f"ResNet-{depth}"
    kind += f" of width {spec.width}" if spec.width != 64 else ""
    return f"{kind}, inflated to 3-D" if spec.dimensions == 3 else kind


def _write_size(spec: Classifier) -> str:
    return "x".join(map(str, spec.input_size))


def _describe_insertion(insertion: Insertion) -> str:
    return f"{_describe_block(insertion.block)} in {_describe_sites(insertion.sites)}, {insertion.position}"


def _describe_block(block: NonLocal | GlobalContext | BlockFactory) -> str:
    if isinstance(block, NonLocal):
        scale = ", logits multiplied by sqrt(d)" if block.inverted else ", scaled logits"
        scale = scale if block.scaled and block.instantiation.endswith("gaussian") else ""
        return f"non-local block ({block.instantiation.replace('_', ' ')}{scale})"
    if not isinstance(block, GlobalContext):
        if not callable(block):
            raise TypeError(f"no words for a context block that is specified by a {type(block).__name__}")
        return f"a block of the user's own, {name_factory(block)},"
    pooling = "attention" if block.pooling == "att" else "average"
    transform = "one 1x1 convolution" if block.ratio is None else f"bottleneck of ratio {block.ratio}"
    inside = [name for name, there in (("layer norm", block.layer_norm), ("ReLU", block.relu)) if there]
    transform += f" with {' and '.join(inside)}" if inside and block.ratio is not None else ""
    transform += "" if block.bias else " without bias"
    fusion = "addition" if block.fusion == "add" else "scaling"
    return f"context block ({pooling} pooling, {transform}, fusion by {fusion})"


def _describe_sites(sites: tuple[Site, ...]) -> str:
    """Name the stages in which all residual blocks have a context block, and single residual blocks."""
    return ", ".join(
        f"all blocks of {stage}" if block is None else _describe_site(stage, block) for stage, block in sites
    )


def _describe_site(stage: str, block: int) -> str:
    place = {-1: "the last block", -2: "the last but one block"}.get(block, f"block {block + 1}")
    return f"{place} of {stage}"

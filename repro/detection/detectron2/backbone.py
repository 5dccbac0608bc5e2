"""The project's backbones for Detectron2's `BACKBONE_REGISTRY` and LazyConfig, and its FPN around them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling import backbone as library
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from omegaconf import ListConfig
from torch import Tensor, nn

from repro import experiments
from repro.errors import ReproError
from repro.experiments import STAGES, Backbone
from repro.models.resnet import ResNet

#: Detectron2's names of c2 .. c5.
FEATURES = tuple(stage.replace("c", "res") for stage in STAGES)


class ContextResNet(ResNet, library.Backbone):
    """A `repro.models.resnet.ResNet` whose outputs have Detectron2's names: {"res2": (B, C, H/4, W/4), ..., "res5"}.

    Its parameters keep torchvision's names. `spec` may come from a LazyConfig, with lists where tuples should be.
    """

    def __init__(self, spec: Backbone) -> None:
        super().__init__(_to_tuples(spec))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return dict(zip(FEATURES, self.features(x).values(), strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            name: ShapeSpec(channels=channels, stride=4 * 2**i)
            for i, (name, channels) in enumerate(zip(FEATURES, self.channels.values(), strict=True))
        }


class FPN(library.FPN):
    """Detectron2's feature pyramid with the authors' initial weights (Xavier, uniform), float32 out.

    Its RoIAlign takes boxes in the precision of the features, and bfloat16 holds coordinates to some pixels only.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for layer in (*self.lateral_convs, *self.output_convs):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {name: level.float() for name, level in super().forward(x).items()}


def add_gcnet_config(cfg: CfgNode) -> None:
    """Add `MODEL.GCNET.EXPERIMENT`, the experiment whose backbone the registered builders build.

    Args:
        cfg: what `detectron2.config.get_cfg()` returned, changed in place.
    """
    cfg.MODEL.GCNET = CfgNode({"EXPERIMENT": "coco-r50-gc-r16"})


@BACKBONE_REGISTRY.register()
def build_gcnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ContextResNet:
    """Build the backbone of `MODEL.GCNET.EXPERIMENT`. It takes RGB images, normalised as the paper's.

    Raises:
        ReproError: no such experiment, or one for clips.
    """
    experiment = experiments.get(cfg.MODEL.GCNET.EXPERIMENT)
    if experiment.network.backbone.dimensions != 2:
        raise ReproError(f"MODEL.GCNET.EXPERIMENT: {experiment.name} is for clips; Detectron2 detects in images")
    return ContextResNet(experiment.network.backbone)


@BACKBONE_REGISTRY.register()
def build_gcnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build the backbone of `build_gcnet_backbone` with the feature pyramid of `MODEL.FPN`."""
    return FPN(
        bottom_up=build_gcnet_backbone(cfg, input_shape),
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def _to_tuples(value: Any) -> Any:
    """Turn the lists in `value` into tuples, also within dataclasses."""
    if isinstance(value, list | tuple | ListConfig):
        return tuple(_to_tuples(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _to_tuples(getattr(value, field.name)) for field in fields(value)})
    return value

"""The networks that weights are converted for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from repro.detection import engines
from repro.experiments import Classifier, Detector
from repro.experiments.conventions import AUTHORS, DetectionConventions
from repro.models import conventions as classifiers


def construct(
    network: Detector | Classifier,
    conventions: DetectionConventions | classifiers.ClassifierConventions | None = None,
    engine: str = "torchvision",
) -> nn.Module:
    """The module of a specification, with the conventions of its weights' framework (default: this project's)."""
    if isinstance(network, Detector):
        return engines.build(engine, network, conventions or AUTHORS)
    from repro.models.resnet import ResNet

    model = ResNet(network.backbone, network.num_classes)
    (conventions or classifiers.PAPER).apply(model)
    return model


def build_meta_state_dict(network: Detector | Classifier) -> dict[str, Tensor]:
    """The state dict of the network, without values (on the meta device)."""
    with torch.device("meta"):
        return construct(network).state_dict()

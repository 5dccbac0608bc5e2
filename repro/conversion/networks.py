"""The networks that weights are converted for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from repro.detection import engines
from repro.experiments import Classifier, Detector
from repro.experiments.conventions import DetectionConventions
from repro.models.conventions import PAPER, ClassifierConventions


def construct(
    network: Detector | Classifier,
    conventions: DetectionConventions | ClassifierConventions | None = None,
    engine: str = "torchvision",
) -> nn.Module:
    """Build the module of a specification, with the conventions of its weights' framework (default: this project's).

    Raises:
        TypeError: the conventions are those of another kind of network.
    """
    if isinstance(network, Detector):
        if isinstance(conventions, ClassifierConventions):
            raise TypeError(f"a detector cannot follow the conventions {conventions.name}")
        return engines.build(engine, network, conventions)
    if isinstance(conventions, DetectionConventions):
        raise TypeError(f"a classifier cannot follow the conventions {conventions.name}")
    from repro.models.resnet import ResNet

    model = ResNet(network.backbone, network.num_classes, network.fc_std)
    (conventions or PAPER).apply(model)
    return model


def build_meta_state_dict(network: Detector | Classifier) -> dict[str, Tensor]:
    """Build the network's state dict without values, on the meta device."""
    with torch.device("meta"):
        return construct(network).state_dict()

"""The networks of Tables 3, 4 and 5 at their full size: each runs, and each of its parameters takes part.

Those of Table 2 differ from ImageNet's only in their context blocks and run in the detector's tests.
"""

from __future__ import annotations

import pytest
import torch
from torchvision_peer import images

from repro.experiments import EXPERIMENTS, Backbone, Detector
from repro.models.resnet import ResNet

DISTINCT: dict[tuple[Backbone, int | None], str] = {}
for name, experiment in EXPERIMENTS.items():
    if not name.startswith("coco-r50"):
        network = experiment.network
        classes = None if isinstance(network, Detector) else network.num_classes
        DISTINCT.setdefault((network.backbone, classes), name)


@pytest.mark.parametrize(("spec", "num_classes"), DISTINCT, ids=DISTINCT.values())
def test_a_forward_and_a_backward_pass(spec: Backbone, num_classes: int | None) -> None:
    network = ResNet(spec, num_classes).eval()
    frames = (4,) if spec.dimensions == 3 else ()
    outputs = network(images(1, 3, *frames, 64, 64))
    if num_classes is None:
        shapes = {stage: tuple(value.shape) for stage, value in outputs.items()}
        assert shapes == {"c2": (1, 256, 16, 16), "c3": (1, 512, 8, 8), "c4": (1, 1024, 4, 4), "c5": (1, 2048, 2, 2)}
        outputs = torch.cat([value.flatten() for value in outputs.values()])
    else:
        assert outputs.shape == (1, num_classes)
    assert outputs.isfinite().all()
    outputs.square().mean().backward()
    for key, parameter in network.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key

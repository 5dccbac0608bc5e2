"""torchvision's networks, with the weights and at the sizes that the tests compare ours at."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models.resnet import Bottleneck as PeerBottleneck
from torchvision.models.resnet import ResNet as PeerResNet

from repro.experiments import Backbone

SMALL = Backbone(blocks=(1, 2, 3, 1), width=8)
LAYERS = {"c2": "layer1", "c3": "layer2", "c4": "layer3", "c5": "layer4"}


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """Running statistics, norms and zero-initialised blocks set to random values, so that every layer matters.

    What a residual or context block adds is kept small, so that values do not grow with depth.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            if name.endswith(("bn3.weight", "norm_c.weight", "context_block.norm.weight")):
                value.uniform_(0.1, 0.3, generator=generator)
            elif name.endswith("running_var") or (value.dim() == 1 and name.endswith("weight")):
                value.uniform_(0.5, 1.5, generator=generator)
            elif value.is_floating_point() and (value.dim() == 1 or "context_block" in name):
                value.normal_(0, 0.2, generator=generator)
    return network


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def small_peer(spec: Backbone = SMALL) -> PeerResNet:
    """torchvision's network at a small width: its stem's width cannot be set, so its parts are put together anew."""
    peer = PeerResNet(PeerBottleneck, list(spec.blocks), groups=spec.groups, width_per_group=spec.width_per_group)
    peer.conv1 = nn.Conv2d(3, spec.width, 7, stride=2, padding=3, bias=False)
    peer.bn1 = nn.BatchNorm2d(spec.width)
    peer.inplanes = spec.width
    for i, (layer, count) in enumerate(zip(LAYERS.values(), spec.blocks, strict=True)):
        setattr(peer, layer, peer._make_layer(PeerBottleneck, spec.width * 2**i, count, stride=2 if i else 1))
    peer.fc = nn.Linear(32 * spec.width, 10)
    return randomised(peer)


def peer_features(peer: PeerResNet, x: torch.Tensor) -> dict[str, torch.Tensor]:
    x = peer.maxpool(peer.relu(peer.bn1(peer.conv1(x))))
    outputs = {}
    for stage, layer in LAYERS.items():
        x = outputs[stage] = getattr(peer, layer)(x)
    return outputs

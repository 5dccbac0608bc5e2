"""torch.compile makes one graph of every network of the paper, and of a detector's backbone one for all sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from repro.detection.torchvision import MaskRCNN
from repro.engine import compilation
from repro.experiments import EXPERIMENTS, GC, Backbone, Detector, GlobalContext, Insertion
from repro.models.resnet import Bottleneck, ResNet


def list_residual_blocks() -> dict[str, tuple[str, Backbone, Insertion | None]]:
    """A residual block with each context block, position and convolution, by an experiment that has it.

    Of bottleneck ratios one is enough.
    """
    kinds: dict[tuple, tuple[str, str, Backbone, Insertion | None]] = {}
    for name, experiment in EXPERIMENTS.items():
        spec = experiment.network.backbone
        insertion = spec.context
        if insertion:
            block = insertion.block
            if isinstance(block, GlobalContext) and block.ratio:
                block = replace(block, ratio=4)
            insertion = replace(insertion, sites=(("c4", None),), block=block)
        small = replace(spec, width=16, width_per_group=64, groups=1)
        for stage in ("c4", *spec.dcn[:1]):
            deformed = stage in spec.dcn
            kinds.setdefault((spec.dimensions, deformed, deformed or insertion), (name, stage, small, insertion))
    return {f"{name} {stage}": (stage, spec, insertion) for name, stage, spec, insertion in kinds.values()}


KINDS = list_residual_blocks()


def count_graphs(module: nn.Module, *inputs: torch.Tensor) -> int:
    """Graphs that are made for a forward and backward pass of each input; a break within one is an error."""
    torch.compiler.reset()
    counter = CompileCounter()
    compiled = torch.compile(module, backend=counter, fullgraph=True, dynamic=len(inputs) > 1)
    for x in inputs:
        assert torch.allclose(compiled(x), module(x), atol=1e-5)
    return counter.frame_count


@pytest.mark.parametrize("name", KINDS)
def test_no_residual_block_breaks_the_graph(name):
    stage, spec, insertion = KINDS[name]
    torch.manual_seed(0)
    block = Bottleneck(spec, stage, 64, 16, 1, insertion).eval()
    shape = (2, 64, 2, 6, 8) if spec.dimensions == 3 else (2, 64, 6, 8)
    assert count_graphs(block, torch.randn(shape)) == 1


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_whole_network_is_one_graph_of_any_size(dimensions):
    torch.manual_seed(0)
    context = Insertion(replace(GC, ratio=4))
    spec = Backbone(blocks=(1, 1, 1, 1), width=8, norm="eval", dimensions=dimensions, context=context)
    network = ResNet(spec, num_classes=3)
    shapes = ((2, 3, 64, 96), (2, 3, 96, 64), (3, 3, 128, 64))  # a map of one row would be a case of its own
    inputs = [torch.randn(b, c, *((4,) if dimensions == 3 else ()), h, w) for b, c, h, w in shapes]
    assert count_graphs(network, *inputs) == 1


@pytest.fixture
def detector():
    torch.manual_seed(0)
    spec = Detector(
        Backbone(blocks=(1, 1, 1, 1), width=8, norm="eval", context=Insertion(replace(GC, ratio=4))),
        num_classes=6, fpn_channels=8, box_channels=16, mask_channels=4, short_side=64, long_side=192,
        proposals=(20, 20), score_threshold=0.0, detections=5,
    )  # fmt: skip
    return MaskRCNN(spec).eval()


def test_of_a_detector_the_backbone_is_compiled_once_for_all_sizes(detector):
    images = [torch.rand(2, 3, height, width) for height, width in ((64, 96), (96, 64), (128, 160))]
    expected = [detector.backbone.features(image) for image in images]
    names = list(detector.state_dict())
    torch.compiler.reset()
    counter = CompileCounter()
    detector.compile(backend=counter, fullgraph=True)
    assert counter.frame_count == 0
    for image, features in zip(images, expected, strict=True):
        found = detector.backbone.features(image)
        assert all(torch.allclose(found[stage], value, atol=1e-5) for stage, value in features.items())
    assert counter.frame_count == 1
    assert list(detector.state_dict()) == names


def test_the_user_is_told_how_long_it_took(monkeypatch, capfd):
    clock = iter(range(0, 1000, 40))
    monkeypatch.setattr(compilation.time, "monotonic", lambda: next(clock))
    model, compiled = nn.Linear(3, 3), nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled(module, backend="eager"))
    compilation.compile_model(model)
    model(torch.zeros(2, 3))
    assert capfd.readouterr().err.splitlines() == ["torch.compile took 40 s, 40 s in all"]
    model.train(False)
    model.double()(torch.zeros(2, 3, dtype=torch.float64))
    assert capfd.readouterr().err.splitlines() == ["torch.compile took 40 s, 80 s in all"]

"""What a device computes against the same in float64 on the CPU: features, blocks, their kernels, divergences."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from brute_force import brute_jensen_shannon
from device_samples import RandomSamples, build_network, build_task
from places import SUPPORT
from torch import Tensor, nn

from repro.analysis.divergence import jensen_shannon
from repro.detection.torchvision import MaskRCNN
from repro.engine import distributed
from repro.engine.arithmetic import choose_tf32
from repro.engine.devices import convert_memory_format
from repro.engine.launch import Processes
from repro.experiments import GC, SE, SNL, NonLocal
from repro.models import context

NETWORKS = ("coco-r50-gc-r16", "coco-r50-1nl", "imagenet-r50-gc-r16", "imagenet-r50-avg-scale", "kinetics-r50-5nl")
BLOCKS = {"gc": replace(GC, ratio=4), "snl": SNL, "se": replace(SE, ratio=4), "nl": NonLocal()}
LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def measure_error(found: Tensor, exact: Tensor) -> float:
    """|difference| / |exact|."""
    return float((found.detach().cpu().double() - exact).norm() / exact.norm())


def compute_features(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    backbone = getattr(network, "backbone", network)
    with torch.no_grad():
        return backbone.features(images)


@pytest.mark.parametrize("name", NETWORKS)
def test_features_agree_to_1e_5(name, device, tmp_path):
    task = build_task(name, tmp_path)
    network = build_network(task).eval()
    sample = RandomSamples(task).sample(0)
    pixels = (sample.clips if hasattr(sample, "clips") else sample.image[None]).double() / 128 - 1
    exact = compute_features(network.double(), pixels)
    network = network.float().to(device)
    if device == "cuda":
        convert_memory_format(network, LAST[pixels.dim()])
    found = compute_features(network, pixels.float().to(device))
    errors = {stage: measure_error(found[stage], value) for stage, value in exact.items()}
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.parametrize("pixels", ["continuous", "inclusive"])
@pytest.mark.parametrize("name", ["coco-r50-gc-r16", "coco-x101-cascade-gc-r4"])
def test_losses_in_groups_agree(name, pixels, device, tmp_path):
    """Targets, samples and means of three groups: all that is drawn is drawn on the CPU."""
    task = build_task(name, tmp_path)
    samples = [RandomSamples(task).sample(index) for index in (0, 1, 2, 3, 0)]
    losses = []
    for where in ("cpu", device):
        network = build_network(task)
        spec = replace(network.spec, pixels=pixels, images_per_loss=2, rpn_samples=10**6, roi_samples=10**6)
        anew = MaskRCNN(spec)
        anew.load_state_dict(network.state_dict())
        anew.to(where).train()
        moved = distributed.build_fabric(Processes(1, 1), where, "32-true").to_device(samples)
        losses.append({key: value.item() for key, value in anew(moved).items()})
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
@pytest.mark.parametrize("shape", [(2, 32, 12, 20), (2, 32, 3, 6, 10)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_and_their_gradients_agree(name, shape, layout, device):
    """By what is chosen on the device: on a GPU, the kernels."""
    torch.manual_seed(0)
    block = context.build(BLOCKS[name], shape[1], len(shape) - 2)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, g = torch.randn(2, *shape, dtype=torch.float64)

    def compute(block: nn.Module, x: Tensor, g: Tensor) -> list[Tensor]:
        x = x.requires_grad_()
        y = block(x)
        return [y, *torch.autograd.grad(y, [x, *block.parameters()], g)]

    exact = compute(block.double(), x.clone(), g)
    memory_format = LAST[len(shape)] if layout == "channels last" else torch.contiguous_format
    given = [one.float().to(device).contiguous(memory_format=memory_format) for one in (x, g)]
    for found, right in zip(compute(block.float().to(device), *given), exact, strict=True):
        scale = max(right.norm().item(), 0.1 * exact[1].norm().item())  # some gradients are nothing but rounding
        assert (found.detach().cpu().double() - right).norm().item() <= 1e-5 * scale


def test_the_divergence_is_brute_forces(device):
    rows = torch.randn(300, 90, generator=torch.Generator().manual_seed(0)).softmax(1)
    exact = brute_jensen_shannon(rows.double())
    here = rows.to(device)
    assert jensen_shannon([here]) == pytest.approx(exact, rel=2e-6)
    assert jensen_shannon(here.split(70)) == pytest.approx(exact, rel=2e-6)


@pytest.mark.cuda
def test_triton_kernels_on_the_device_itself(gpu):
    """All tests that Triton's interpreter executes on a CPU (tests/kernels/)."""
    tests = SUPPORT / "interpreted_kernels.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", tests]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # which deterministic matrix products need
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout


@pytest.mark.cuda
def test_tf32_is_another_arithmetic_only_where_it_is_asked_for(gpu):
    a, b = torch.randn(2, 512, 512, generator=torch.Generator().manual_seed(0))
    exact = a.double() @ b.double()
    errors = {}
    for precision in ("tf32", "32-true"):
        choose_tf32(precision)
        errors[precision] = measure_error(a.to(gpu) @ b.to(gpu), exact)
    assert errors["32-true"] < 1e-6 < 1e-4 < errors["tf32"] < 1e-2

"""The kernels against float64 tensors, where Triton interprets (tests/kernels) or on a GPU (tests/cuda)."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from repro.analysis import divergence
from repro.engine.arithmetic import choose_tf32
from repro.experiments import GC, SE, SNL, Backbone, GlobalContext, Insertion
from repro.kernels import context as context_kernels
from repro.kernels.moments import sum_moments
from repro.models import context, fused
from repro.models.resnet import ResNet

choose_tf32("32-true")  # as every measurement begins
DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
#: Channels that are no power of two; N divisible by 2, by 4 and by nothing, and a single position.
SHAPES = ((2, 16, 5, 6), (2, 24, 3, 4, 5), (1, 40, 7, 7), (3, 16, 1, 1))
SPECS = {
    "gc": replace(GC, ratio=2),
    "snl": SNL,
    "snl-without-bias": replace(SNL, bias=False),
    "gc-scale": replace(GC, ratio=2, fusion="scale"),
    "avg-add": replace(GC, ratio=2, pooling="avg"),
    "se": replace(SE, ratio=2),
}
LAYOUTS = {"contiguous": {}, "channels_last": {4: torch.channels_last, 5: torch.channels_last_3d}}


def make_maps(shape: tuple[int, ...], count: int, layout: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    memory_format = LAYOUTS[layout].get(len(shape), torch.contiguous_format)
    return [
        torch.randn(shape, generator=generator).to(DEVICE, dtype).contiguous(memory_format=memory_format)
        for _ in range(count)
    ]


def make_block(spec: GlobalContext, shape: tuple[int, ...]) -> nn.Module:
    torch.manual_seed(0)
    block = context.build(spec, shape[1], len(shape) - 2)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    return block.to(DEVICE)


def evaluate(
    chosen: fused.Implementation, block: nn.Module, x: Tensor, shortcut: Tensor, g: Tensor, residual: bool
) -> list[Tensor]:
    x, shortcut = x.detach().requires_grad_(), shortcut.detach().requires_grad_()
    with fused.force_implementation(chosen):
        y = block.forward_residual(x, shortcut) if residual else block(x)
        return [y, *torch.autograd.grad(y, [x, *block.parameters(), *([shortcut] if residual else [])], g)]


def assert_as_exact(found: list[Tensor], exact: list[Tensor], tolerance: float) -> None:
    for value, right in zip(found, exact, strict=True):
        scale = max(right.norm().item(), 1e-1 * exact[1].norm().item())  # some gradients are nothing but rounding
        assert (value.double() - right).norm().item() <= tolerance * scale


@pytest.mark.parametrize("residual", [False, True], ids=["block", "residual"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", SPECS)
def test_blocks(name: str, shape: tuple[int, ...], layout: str, residual: bool) -> None:
    block, inputs = make_block(SPECS[name], shape), make_maps(shape, 3, layout)
    found = evaluate("triton", block, *inputs, residual)
    exact = evaluate("autograd", block.double(), *(one.double() for one in inputs), residual)
    assert_as_exact(found, exact, 1e-5)
    memory_format = LAYOUTS[layout].get(len(shape), torch.contiguous_format)
    assert all(one.is_contiguous(memory_format=memory_format) for one in found[:2])


@pytest.mark.parametrize("position", ["after1x1", "afterAdd", "afterReLU"])
@pytest.mark.parametrize("name", SPECS)
def test_networks_where_a_relu_overwrites_the_result(name: str, position: str) -> None:
    insertion = Insertion(SPECS[name], sites=(("c3", None), ("c5", None)), position=position)
    torch.manual_seed(0)
    network = ResNet(Backbone(blocks=(1, 1, 1, 1), width=8, norm="eval", context=insertion), num_classes=3)
    for key, parameter in network.named_parameters():
        if "context_block" in key:
            nn.init.normal_(parameter, std=0.3)
    network.to(DEVICE)
    (images,) = make_maps((2, 3, 64, 64), 1, "contiguous")

    def compute(chosen: fused.Implementation, x: Tensor) -> list[Tensor]:
        with fused.force_implementation(chosen):
            logits = network(x.requires_grad_())
            gradients = torch.autograd.grad(logits.square().sum(), [x, *network.parameters()])
        return [logits, *gradients]

    found = compute("triton", images)
    network.double()
    assert_as_exact(found, compute("autograd", images.detach().double()), 1e-3)  # float32 through a whole network


@pytest.mark.parametrize("residual", [False, True], ids=["block", "residual"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["gc", "gc-scale", "avg-add"])
def test_bfloat16_under_autocast(name: str, layout: str, residual: bool) -> None:
    block, inputs = make_block(SPECS[name], SHAPES[0]), make_maps(SHAPES[0], 3, layout, torch.bfloat16)
    inputs[1] += 8 * inputs[1].sign()  # where rounding does not decide which side of the last ReLU a sum is on
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        found = evaluate("triton", block, *inputs, residual)
    assert found[0].dtype == found[1].dtype == torch.bfloat16
    assert found[2].dtype == torch.float32
    exact = evaluate("autograd", block.double(), *(one.double() for one in inputs), residual)
    assert_as_exact(found, exact, 3e-2)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("programs", [1, 1000])
def test_however_a_sample_is_split(programs: int, layout: str) -> None:
    shape = (2, 16, 9, 10)
    block, inputs = make_block(SPECS["gc"], shape), make_maps(shape, 3, layout)
    inputs[0] *= 20  # maxima of the parts far apart
    small = dict.fromkeys(context_kernels.FORWARD, (128, 4))
    with mock.patch.multiple(context_kernels, PROGRAMS=programs, FORWARD=small, BACKWARD=small):
        at = context_kernels.MapLayout.read(inputs[0])
        launch = context_kernels.Launch.plan(at, 128, 4)
        assert (launch.splits == 1) == (programs == 1)
        assert launch.splits * launch.tiles > 1
        found = evaluate("triton", block, *inputs, True)
    exact = evaluate("autograd", block.double(), *(one.double() for one in inputs), True)
    assert_as_exact(found, exact, 1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["gc-scale", "avg-add"])
def test_many_positions(name: str, layout: str) -> None:
    """Sums over positions that several programs share."""
    shape = (1, 16, 33, 40)
    block, inputs = make_block(SPECS[name], shape), make_maps(shape, 3, layout)
    found = evaluate("triton", block, *inputs, True)
    exact = evaluate("autograd", block.double(), *(one.double() for one in inputs), True)
    assert_as_exact(found, exact, 1e-5)


@pytest.mark.parametrize("residual", [False, True], ids=["block", "residual"])
def test_maps_of_any_strides(residual: bool) -> None:
    (wide,) = make_maps((2, 16, 10, 6), 1, "contiguous")
    inputs = wide[:, :, ::2], *(one.transpose(2, 3) for one in make_maps((2, 16, 6, 5), 2, "contiguous"))
    block = make_block(SPECS["gc"], SHAPES[0])
    found = evaluate("triton", block, *inputs, residual)
    exact = evaluate("autograd", block.double(), *(one.double() for one in inputs), residual)
    assert_as_exact(found, exact, 1e-5)


class Counting:
    """A kernel that says when it is launched."""

    def __init__(self, name: str, launched: list[str]) -> None:
        self.name, self.kernel, self.launched = name, getattr(context_kernels, name), launched

    def __getitem__(self, grid: tuple[int, ...]) -> object:
        self.launched.append(self.name)
        return self.kernel[grid]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("programs", [1, 1000])
def test_two_launches_each_way(programs: int, layout: str) -> None:
    """Attention pooling, rank-2 update and fusion; and one more where samples are split."""
    launched: list[str] = []
    names = [f"_{name}_kernel" for name in ("pool", "combine", "pool_backward", "fuse", "fuse_backward")]
    counting = {name: Counting(name, launched) for name in names}
    block, (x, shortcut, g) = make_block(SPECS["gc"], (2, 16, 9, 10)), make_maps((2, 16, 9, 10), 3, layout)
    small = dict.fromkeys(context_kernels.FORWARD, (128, 4))
    parts = {"PROGRAMS": programs, "FORWARD": small, "BACKWARD": small, **counting}
    with mock.patch.multiple(context_kernels, **parts), fused.force_implementation("triton"):
        y = block.forward_residual(x.requires_grad_(), shortcut)
        assert launched == ["_pool_kernel", *(["_combine_kernel"] if programs > 1 else []), "_fuse_kernel"]
        launched.clear()
        torch.autograd.grad(y, [x, *block.parameters()], g)
        assert launched == ["_fuse_backward_kernel", "_pool_backward_kernel"]


def test_every_element_is_written() -> None:
    block, inputs = make_block(SPECS["gc"], SHAPES[1]), make_maps(SHAPES[1], 3, "contiguous")
    expected = evaluate("triton", block, *inputs, True)
    torch.use_deterministic_algorithms(True)  # fresh memory is filled with NaN
    try:
        assert torch.empty(1, device=DEVICE).isnan()
        found = evaluate("triton", block, *inputs, True)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(map(torch.equal, found, expected))


def test_undefined_numbers_stay() -> None:
    x, shortcut = make_maps(SHAPES[0], 2, "contiguous")
    shortcut[0, 3, 2, 2] = math.nan
    y = context_kernels.fuse(x, torch.zeros(2, 16, device=DEVICE), False, shortcut, relu=True)
    assert y[0, 3, 2, 2].isnan()
    assert y.isnan().sum() == 1
    x[1, 0, 0, 0] = math.nan
    assert context_kernels.pool(x, torch.ones(16, device=DEVICE))[0][1].isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (63, 65), (150, 90)], ids=str)
def test_moments(shape: tuple[int, int], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    d, real, imaginary = (
        (torch.randn(shape, generator=generator, dtype=torch.float64) / 10).to(DEVICE) for _ in range(3)
    )
    found = sum_moments(d.to(dtype), real.to(dtype), imaginary.to(dtype), nodes=26)
    at, w = torch.complex(d, torch.zeros_like(d)), torch.complex(real, imaginary)
    for one in found:
        right = at.sum(dim=0)
        assert (one - right).abs().max() <= (1e-14 if dtype == torch.float64 else 2e-6) * right.abs().max()
        at = at + w + at * w


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_divergence_by_the_kernel(dtype: torch.dtype) -> None:
    rows = torch.randn(200, 90, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(1).to(dtype)
    on_cpu = divergence.jensen_shannon([rows])
    rows = rows.to(DEVICE)
    with mock.patch.object(divergence, "_has_kernel", return_value=True) as asked:
        assert divergence.jensen_shannon([rows]) == pytest.approx(on_cpu, rel=1e-7)
        with mock.patch.dict(divergence._TILE, clear=True):
            assert divergence.jensen_shannon(rows.split(70)) == pytest.approx(on_cpu, rel=1e-7)
    assert asked.called

"""Context blocks in few passes against the same blocks by ordinary autograd in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from repro import kernels
from repro.experiments import GC, SE, SNL, Backbone, GlobalContext, Insertion, NonLocal
from repro.models import context, fused
from repro.models.resnet import ResNet

pytestmark = pytest.mark.rounding

SHAPES = {"2-D": (2, 16, 5, 6), "3-D": (2, 16, 3, 4, 5), "one position": (3, 16, 1, 1)}
SPECS = {
    "gc": replace(GC, ratio=2),
    "gc-plain": replace(GC, ratio=4, layer_norm=False, relu=False),
    "snl": SNL,
    "snl-without-bias": replace(SNL, bias=False),
    "gc-scale": replace(GC, ratio=2, fusion="scale"),
    "avg-add": replace(GC, ratio=2, pooling="avg"),
    "se": replace(SE, ratio=2),
}
LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def make_block(spec: GlobalContext, shape: tuple[int, ...]) -> nn.Module:
    block = context.build(spec, shape[1], len(shape) - 2).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    return block


def make_maps(shape: tuple[int, ...], count: int, channels_last: bool) -> list[Tensor]:
    layout = LAST[len(shape)] if channels_last else torch.contiguous_format
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(count)]
    return [one.contiguous(memory_format=layout) for one in made]


def evaluate(
    implementation: fused.Implementation, block: nn.Module, inputs: list[Tensor], residual: bool
) -> dict[str, Tensor]:
    """The result and the gradients of all that goes in. The last of the inputs is the gradient of the result."""
    x, shortcut, g = inputs
    x, shortcut = x.detach().requires_grad_(), shortcut.detach().requires_grad_()
    parameters = dict(block.named_parameters())
    with fused.force_implementation(implementation):
        y = block.forward_residual(x, shortcut) if residual else block(x)
        wanted = [x, *parameters.values(), *([shortcut] if residual else [])]
        gradients = torch.autograd.grad(y, wanted, g)
    names = ["x", *parameters, *(["shortcut"] if residual else [])]
    return {"y": y.detach(), **dict(zip(names, gradients, strict=True))}


def assert_as_exact(found: dict[str, Tensor], exact: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == exact.keys()
    for name, value in exact.items():
        # The gradient of what a softmax cancels is nothing but rounding.
        scale = max(value.norm().item(), 1e-2 * exact["x"].norm().item())
        assert (found[name].double() - value).norm().item() <= tolerance * scale, name


@pytest.mark.parametrize("residual", [False, True], ids=["block", "residual"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("name", SPECS)
def test_values_and_gradients_are_ordinary_autograds(name: str, kind: str, channels_last: bool, residual: bool) -> None:
    shape = SHAPES[kind]
    block, inputs = make_block(SPECS[name], shape), make_maps(shape, 3, channels_last)
    exact = evaluate("autograd", block, inputs, residual)
    found = evaluate("functions", block, inputs, residual)
    assert_as_exact(found, exact, 1e-12)
    assert found["y"].stride() == inputs[0].stride()
    single = evaluate("functions", block.float(), [one.float() for one in inputs], residual)
    assert_as_exact(single, exact, 1e-5)


@pytest.mark.parametrize("pool", [fused.pool_by_attention, lambda x, *_: fused.pool_average(x)], ids=["att", "avg"])
@pytest.mark.parametrize("shape", [(2, 3, 2, 4), (1, 2, 2, 2, 2)], ids=str)
def test_analytic_gradients_are_numerical_ones(pool: Callable, shape: tuple[int, ...]) -> None:
    x = make_maps(shape, 1, channels_last=False)[0].requires_grad_()
    weight = torch.randn(1, shape[1], *(1,) * (len(shape) - 2), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    given = (x, weight, bias)
    assert torch.autograd.gradcheck(lambda *given: pool(*given), given, fast_mode=False)
    # Each of the two results alone, too.
    assert torch.autograd.gradcheck(lambda *given: pool(*given)[0], given)
    assert torch.autograd.gradcheck(lambda *given: pool(*given)[1], given)


def test_maps_of_any_strides() -> None:
    x = torch.randn(2, 16, 10, 6, dtype=torch.float64)[:, :, ::2]
    given = [x, torch.randn_like(x), torch.randn(2, 16, 6, 5, dtype=torch.float64).transpose(2, 3)]
    block = make_block(SPECS["gc"], (2, 16, 5, 6))
    for residual in (False, True):
        exact = evaluate("autograd", block, given, residual)
        assert_as_exact(evaluate("functions", block, given, residual), exact, 1e-12)


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
def test_a_map_in_parts_of_a_cache_has_the_gradient_of_the_whole(channels_last: bool) -> None:
    block, inputs = make_block(SPECS["gc"], SHAPES["2-D"]), make_maps(SHAPES["2-D"], 3, channels_last)
    exact = evaluate("autograd", block, inputs, residual=False)
    for size in (1, 3 * 30 * 8, 7 * 16 * 8):  # one row, and parts that do not divide the channels or the positions
        with mock.patch.object(fused, "_CACHED", size):
            assert_as_exact(evaluate("functions", block, inputs, residual=False), exact, 1e-12)


@pytest.mark.parametrize("name", ["gc", "se"])
def test_what_needs_no_gradient_gets_none(name: str) -> None:
    block, (x, g) = make_block(SPECS[name], SHAPES["2-D"]), make_maps(SHAPES["2-D"], 2, channels_last=False)
    for frozen in (list(block.parameters()), []):
        block.requires_grad_(True)
        for parameter in frozen:
            parameter.requires_grad_(False)
        block.zero_grad()
        given = x.clone().requires_grad_(bool(frozen))
        with fused.force_implementation("functions"):
            block(given).backward(g)
        assert (given.grad is not None) == bool(frozen)
        assert all((parameter.grad is None) == bool(frozen) for parameter in block.parameters())
    with fused.force_implementation("functions"), torch.no_grad():
        assert not block(x).requires_grad


def test_a_softmax_does_not_depend_on_its_bias() -> None:
    block, inputs = make_block(GC, (2, 32, 4, 4)), make_maps((2, 32, 4, 4), 3, channels_last=False)
    found = evaluate("functions", block, inputs, residual=False)
    assert torch.equal(found["conv_mask.bias"], torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize("name", ["gc", "avg-add"])
def test_a_second_differentiation_is_refused(name: str) -> None:
    block, (x, g) = make_block(SPECS[name], SHAPES["2-D"]), make_maps(SHAPES["2-D"], 2, channels_last=False)
    x.requires_grad_()
    with fused.force_implementation("functions"):
        (first,) = torch.autograd.grad(block(x), x, g, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_under_autocast(dtype: torch.dtype) -> None:
    """`dtype` is that of the map, which a norm may return in either."""
    shape = (2, 32, 8, 9)
    block, inputs = make_block(replace(GC, ratio=2), shape), make_maps(shape, 3, channels_last=False)
    rounded = [one.to(dtype).double() for one in inputs]
    exact = evaluate("autograd", block, rounded, residual=False)
    block.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = evaluate("functions", block, [one.to(dtype) for one in inputs], residual=False)
    assert found["y"].dtype == found["x"].dtype == dtype
    assert all(found[name].dtype == torch.float32 for name, _ in block.named_parameters())
    assert_as_exact(found, exact, 3e-2)


def test_autocast_does_not_round_what_is_pooled() -> None:
    (x,) = make_maps((2, 32, 8, 9), 1, channels_last=False)
    weight, bias = torch.randn(1, 32, 1, 1), torch.zeros(1)
    exact, _ = fused.pool_by_attention(x, weight.double(), bias.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        context, _ = fused.pool_by_attention(x.float(), weight, bias)
    torch.testing.assert_close(context.double(), exact, rtol=0, atol=1e-5)


def mock_on_gpu(elements: int, element_size: int, **attributes: object) -> mock.Mock:
    sizes = {"numel.return_value": elements, "element_size.return_value": element_size}
    return mock.Mock(is_cuda=True, **attributes, **sizes)


@pytest.mark.parametrize(
    ("elements", "dtype", "expected"),
    [
        (2**25 - 1, torch.bfloat16, "autograd"),
        (2**25, torch.bfloat16, "triton"),
        (2**25 - 1, torch.float32, "triton"),
    ],
)
def test_small_maps_of_16_bits_are_left_to_autograd(elements, dtype, expected) -> None:
    x = mock_on_gpu(elements, element_size=dtype.itemsize, dtype=dtype, shape=(1, 256, 2, 2))
    with mock.patch.object(kernels, "can_run_on", return_value=True):
        assert fused.choose_implementation(x) == expected


def test_on_a_cpu_and_in_compiled_graphs_autograd_is_chosen() -> None:
    x = torch.zeros(1, 16, 2, 2)
    assert fused.choose_implementation(x) == "autograd"
    on_gpu = mock_on_gpu(x.numel(), element_size=4, dtype=torch.float32, shape=x.shape)
    with mock.patch.object(kernels, "can_run_on", return_value=True):
        assert fused.choose_implementation(on_gpu) == "triton"
        with mock.patch.object(torch.compiler, "is_compiling", return_value=True):
            assert fused.choose_implementation(on_gpu) == "autograd"
        for change in ({"dtype": torch.float64}, {"shape": (1, 8192, 2, 2)}):
            other = mock_on_gpu(1, element_size=8, **{"dtype": x.dtype, "shape": x.shape, **change})
            assert fused.choose_implementation(other) == "functions"
    with mock.patch.object(kernels, "can_run_on", return_value=False):
        assert fused.choose_implementation(on_gpu) == "functions"


def compute_with_gradients(network: ResNet, images: torch.Tensor, implementation) -> dict[str, torch.Tensor]:
    network.zero_grad()
    images = images.clone().requires_grad_()
    with fused.force_implementation(implementation):
        logits = network(images)
        logits.square().sum().backward()
    gradients = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    return {"logits": logits.detach(), "images": images.grad, **gradients}


BLOCKS = {
    "gc": replace(GC, ratio=4),
    "scale": replace(GC, ratio=4, fusion="scale"),
    "snl": SNL,
    "snl-without-bias": replace(SNL, bias=False),
    "avg": replace(GC, ratio=4, pooling="avg"),
    "nl": NonLocal(),
}


@pytest.mark.parametrize("position", ["after1x1", "afterAdd", "afterReLU"])
@pytest.mark.parametrize("block", BLOCKS)
def test_a_network_computes_the_same(block: str, position: str) -> None:
    """Also where a ReLU overwrites the block's result in place."""
    spec = Backbone(blocks=(1, 1, 1, 1), width=8, context=Insertion(BLOCKS[block], position=position))
    network = ResNet(spec, num_classes=3).double()
    for name, parameter in network.named_parameters():
        if "context_block" in name:
            nn.init.normal_(parameter, std=0.3)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    ordinary = compute_with_gradients(network, images, "autograd")
    for name, value in compute_with_gradients(network, images, "functions").items():
        torch.testing.assert_close(value, ordinary[name], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("spec", [GC, NonLocal()], ids=["gc", "nl"])
def test_compiling_does_not_break_the_graph(spec: GlobalContext | NonLocal) -> None:
    block, x = context.build(spec, 32), torch.randn(2, 32, 4, 6)
    compiled = torch.compile(block, backend="eager", fullgraph=True)
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            torch.testing.assert_close(compiled(x), block(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", SPECS)
def test_small_maps_have_their_contexts_transformed_as_vectors_on_a_gpu(name: str, dtype: torch.dtype) -> None:
    block, inputs = make_block(SPECS[name], SHAPES["3-D"]), make_maps(SHAPES["3-D"], 3, channels_last=False)
    exact = evaluate("autograd", block, [one.to(dtype).double() for one in inputs], residual=False)
    block.float()
    on_gpu = mock.patch.object(torch.Tensor, "is_cuda", new=True)
    with on_gpu, torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = evaluate("autograd", block, [one.to(dtype) for one in inputs], residual=False)
    assert found["y"].dtype == found["x"].dtype == dtype
    for gradients in (found, exact):
        gradients.pop("conv_mask.bias", None)  # that the softmax cancels: nothing but rounding
    assert_as_exact(found, exact, 1e-5 if dtype == torch.float32 else 3e-2)


def test_where_launches_are_free_small_maps_take_the_kernels(monkeypatch):
    monkeypatch.setattr(fused.kernels, "can_run_on", lambda device: True)
    small, large = (
        SimpleNamespace(
            is_cuda=True, dtype=torch.bfloat16, shape=(2, 64, 8, 8), device="cuda", element_size=lambda: 2,
            numel=lambda count=count: count,
        )
        for count in (1 << 24, 1 << 25)
    )  # fmt: skip
    assert [fused.choose_implementation(x) for x in (small, large)] == ["autograd", "triton"]
    with fused.free_launches():
        assert [fused.choose_implementation(x) for x in (small, large)] == ["triton", "triton"]
    assert fused.choose_implementation(small) == "autograd"

"""The blocks against the paper's equations, written out once more in numpy, position by position."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import nn
from torchvision.ops import SqueezeExcitation

from repro.experiments import GC, SE, SNL, GlobalContext, NonLocal
from repro.models.context import GlobalContextBlock, NonLocalBlock, build

pytestmark = pytest.mark.rounding

CHANNELS = 8
SHAPES = {2: (2, CHANNELS, 5, 6), 3: (2, CHANNELS, 3, 4, 5)}
INSTANTIATIONS = ("gaussian", "embedded_gaussian", "dot_product", "concat")
NON_LOCAL = [NonLocal(kind, subsample=pool) for kind in INSTANTIATIONS for pool in (True, False)]
NON_LOCAL += [NonLocal(kind, scaled=False) for kind in INSTANTIATIONS]
NON_LOCAL += [NonLocal(kind, inverted=True) for kind in INSTANTIATIONS]
NON_LOCAL += [NonLocal(output_norm=True), NonLocal(reduction=4)]
FRAMEWORK = {
    "gc": replace(GC, ratio=2),
    "gc-scale": replace(GC, ratio=2, fusion="scale"),
    "gc-plain": replace(GC, ratio=2, layer_norm=False, relu=False),
    "gc-relu": replace(GC, ratio=2, layer_norm=False),
    "avg-add": replace(GC, ratio=2, pooling="avg"),
    "snl": SNL,
    "snl-dnl": replace(SNL, bias=False, initial="normal"),
    "gc-no-bias": replace(GC, ratio=2, bias=False),
    "se": replace(SE, ratio=2),
}


def perturbed(spec: NonLocal | GlobalContext, dimensions: int = 2, channels: int = CHANNELS) -> nn.Module:
    """A float64 block whose every parameter is random, so that zero-initialised layers take part."""
    block = build(spec, channels, dimensions).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2)
    return block


def features(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(block: nn.Module) -> dict[str, np.ndarray]:
    """Convolutions as matrices, everything else as vectors."""
    matrices = {f"{name}.weight" for name, m in block.named_modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))}
    arrays = {name: value.detach().numpy() for name, value in block.state_dict().items()}
    return {name: a.reshape(a.shape[:2]) if name in matrices else a.ravel() for name, a in arrays.items()}


def affine(w: dict[str, np.ndarray], name: str, vectors: np.ndarray) -> np.ndarray:
    """W v + b for column vectors (C, N); b is zero where the layer has none."""
    return np.einsum("oc,cn->on", w[f"{name}.weight"], vectors) + w.get(f"{name}.bias", np.zeros(1))[:, None]


def max_pooled(sample: np.ndarray) -> np.ndarray:
    """2x2 maxima over the last two axes of (C, ..., H, W), an odd last row or column left out."""
    height, width = (size // 2 * 2 for size in sample.shape[-2:])
    corners = [sample[..., i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]
    return np.max(corners, axis=0)


def omega_of_equations(spec: NonLocal, w: dict[str, np.ndarray], x: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """omega (N, M) of Section 3.1 for column vectors x (C, N) and keys (C, M), by a loop over all pairs."""
    if spec.instantiation in ("embedded_gaussian", "dot_product"):
        x, keys = affine(w, "theta", x), affine(w, "phi", keys)
    omega = np.empty((x.shape[1], keys.shape[1]))
    for i in range(x.shape[1]):
        for j in range(keys.shape[1]):
            if spec.instantiation == "concat":
                pair = np.concatenate([x[:, i], keys[:, j]])
                omega[i, j] = max(0.0, (w["concat_project.weight"] @ pair).item())
            else:
                omega[i, j] = np.einsum("c,c->", x[:, i], keys[:, j])
    if spec.instantiation in ("dot_product", "concat"):
        return omega / keys.shape[1]
    if spec.scaled:
        omega *= np.sqrt(x.shape[0]) if spec.inverted else 1 / np.sqrt(x.shape[0])
    exponentials = np.exp(omega - omega.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("spec", NON_LOCAL, ids=str)
def test_non_local_block_is_equation_1(spec: NonLocal, dimensions: int) -> None:
    block, x = perturbed(spec, dimensions).eval(), features(SHAPES[dimensions])
    w = weights(block)
    with torch.no_grad():
        outputs, maps = block(x), block.attention(x)
    for sample, output, attention in zip(x.numpy(), outputs.numpy(), maps.numpy(), strict=True):
        columns = sample.reshape(CHANNELS, -1)
        keys = (max_pooled(sample) if spec.subsample else sample).reshape(CHANNELS, -1)
        omega = omega_of_equations(spec, w, columns, keys)
        context = affine(w, "conv_out", np.einsum("nm,cm->cn", omega, affine(w, "g", keys)))
        if spec.output_norm:  # fresh running statistics: mean 0, variance 1
            context = context / np.sqrt(1 + 1e-5) * w["norm.weight"][:, None] + w["norm.bias"][:, None]
        np.testing.assert_allclose(attention, omega, rtol=0, atol=1e-12)
        np.testing.assert_allclose(output.reshape(CHANNELS, -1), columns + context, rtol=0, atol=1e-11)


def framework_equation(spec: GlobalContext, w: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Eq. 4 for column vectors x (C, N)."""
    if spec.pooling == "att":
        exponentials = np.exp(affine(w, "conv_mask", x)[0])
        alpha = exponentials / exponentials.sum()
    else:
        alpha = np.full(x.shape[1], 1 / x.shape[1])
    name = "channel_add_conv" if spec.fusion == "add" else "channel_mul_conv"
    t = affine(w, f"{name}.0", np.einsum("n,cn->c", alpha, x)[:, None])
    if spec.ratio is not None:
        if spec.layer_norm:
            t = (t - t.mean()) / np.sqrt(t.var() + 1e-5)
            t = t * w[f"{name}.1.weight"][:, None] + w[f"{name}.1.bias"][:, None]
        if spec.relu:
            t = np.where(t > 0, t, 0)
        t = affine(w, f"{name}.3", t)
    return x + t if spec.fusion == "add" else x / (1 + np.exp(-t))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", FRAMEWORK)
def test_framework_is_equation_4(name: str, dimensions: int) -> None:
    spec = FRAMEWORK[name]
    block, x = perturbed(spec, dimensions), features(SHAPES[dimensions])
    with torch.no_grad():
        outputs = block(x).numpy()
    for sample, output in zip(x.numpy(), outputs, strict=True):
        expected = framework_equation(spec, weights(block), sample.reshape(CHANNELS, -1))
        np.testing.assert_allclose(output.reshape(CHANNELS, -1), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("spec", [*NON_LOCAL, *FRAMEWORK.values()], ids=str)
def test_float32_stays_within_1e_5_of_float64(spec: NonLocal | GlobalContext, dimensions: int) -> None:
    block, x = perturbed(spec, dimensions).eval(), features(SHAPES[dimensions])
    with torch.no_grad():
        exact, single = block(x), block.float()(x.float())
    assert (exact - single).abs().max() <= 1e-5 * exact.abs().max()


def test_squeeze_excitation_is_torchvisions() -> None:
    block, x = perturbed(replace(SE, ratio=2)), features(SHAPES[2])
    peer = SqueezeExcitation(CHANNELS, CHANNELS // 2).double()
    peer.fc1.load_state_dict(block.channel_mul_conv[0].state_dict())
    peer.fc2.load_state_dict(block.channel_mul_conv[3].state_dict())
    torch.testing.assert_close(block(x), peer(x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_embedded_gaussian_is_torchs_attention(dimensions: int, scaled: bool) -> None:
    """Whose default scale is 1 / sqrt(width)."""
    block, x = perturbed(NonLocal(subsample=False, scaled=scaled), dimensions), features(SHAPES[dimensions])
    q, k, v = (conv(x).flatten(2).transpose(1, 2) for conv in (block.theta, block.phi, block.g))
    context = nn.functional.scaled_dot_product_attention(q, k, v, scale=None if scaled else 1.0).transpose(1, 2)
    expected = x + block.conv_out(context.reshape(2, CHANNELS // 2, *x.shape[2:]))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_equation_2_is_equation_3(dimensions: int) -> None:
    block, x = perturbed(SNL, dimensions), features(SHAPES[dimensions])
    w = weights(block)
    with torch.no_grad():
        outputs = block.forward_undistributed(x)
        torch.testing.assert_close(outputs, block(x), rtol=0, atol=1e-12)
    columns = x[0].numpy().reshape(CHANNELS, -1)
    exponentials = np.exp(affine(w, "conv_mask", columns)[0])
    context = affine(w, "channel_add_conv.0", columns) @ (exponentials / exponentials.sum())
    np.testing.assert_allclose(outputs[0].reshape(CHANNELS, -1), columns + context[:, None], rtol=0, atol=1e-12)


@pytest.mark.parametrize("spec", [GC, replace(SNL, pooling="avg")], ids=str)
def test_equation_2_is_only_for_the_simplified_block(spec: GlobalContext) -> None:
    with pytest.raises(ValueError, match=r"Eq\. 2"):
        build(spec, 32).forward_undistributed(torch.zeros(1, 32, 2, 2))


@pytest.mark.parametrize("subsample", [True, False])
@pytest.mark.parametrize("kind", ["gaussian", "embedded_gaussian"])
def test_gaussian_attention_rows_are_distributions(kind: str, subsample: bool) -> None:
    attention = perturbed(NonLocal(kind, subsample=subsample)).attention(features((2, CHANNELS, 5, 6)))
    assert attention.shape == (2, 30, 6 if subsample else 30)
    assert (attention >= 0).all()
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(2, 30, dtype=torch.float64))
    assert attention.std(dim=1).max() > 1e-3  # query-specific


@pytest.mark.parametrize("kind", INSTANTIATIONS)
def test_attention_is_float32_under_autocast(kind: str) -> None:
    block = perturbed(NonLocal(kind)).float()
    x = features(SHAPES[2]).float()
    plain = block.attention(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = block.attention(x)
        assert block(x).dtype == torch.float32
    assert plain.dtype == under_autocast.dtype == torch.float32
    assert torch.equal(plain, under_autocast)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    "spec", [*NON_LOCAL, *(s for s in FRAMEWORK.values() if s.fusion == "add" and s.initial == "zero")], ids=str
)
def test_fresh_block_changes_nothing(spec: NonLocal | GlobalContext, dimensions: int) -> None:
    block, x = build(spec, CHANNELS, dimensions), features(SHAPES[dimensions]).float()
    assert torch.equal(block(x), x)
    # ... and yet can start to learn.
    (block(x) * x).sum().backward()
    assert any(p.grad.abs().max() > 0 for p in block.parameters())


CONVOLUTIONS = {
    "gaussian": {"g"},
    "embedded_gaussian": {"g", "theta", "phi"},
    "dot_product": {"g", "theta", "phi"},
    "concat": {"g", "concat_project"},
}


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("output_norm", [False, True])
@pytest.mark.parametrize("initial", ["normal", "msra"])
@pytest.mark.parametrize("kind", INSTANTIATIONS)
def test_initial_weights_of_non_local_blocks(kind: str, initial: str, output_norm: bool, dimensions: int) -> None:
    """Normal, with the spread of [31]'s code or He's by fan-out; zero where the block is to change nothing at first."""
    block = build(NonLocal(kind, initial=initial, output_norm=output_norm), 512, dimensions)
    convolutions = {name: m for name, m in block.named_modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))}
    assert convolutions.keys() == CONVOLUTIONS[kind] | {"conv_out"}
    for name, layer in convolutions.items():
        if layer.bias is not None:
            assert not layer.bias.any(), name
        w = layer.weight.detach().flatten().double().numpy()
        if name == "conv_out" and not output_norm:
            assert not w.any()
            continue
        spread = 0.01 if initial == "normal" else (2 / layer.out_channels) ** 0.5
        assert abs(w.std() / spread - 1) < 5 / (2 * w.size) ** 0.5, name
        assert abs(w.mean()) < 5 * spread / w.size**0.5, name
        assert kstest(w / spread, "norm").pvalue > 1e-4, name
    if output_norm:
        assert not block.norm.weight.any()
        assert not block.norm.bias.any()


@pytest.mark.parametrize("bias", [True, False])
def test_initial_weights_of_snl_as_in_dnl(bias: bool) -> None:
    block = build(replace(SNL, bias=bias, initial="normal"), 512)
    transform = block.channel_add_conv[0]
    assert (transform.bias is not None) == bias
    for layer in (transform, block.conv_mask):
        assert layer.bias is None or not layer.bias.any()
        w = layer.weight.detach().flatten().double().numpy()
        assert abs(w.std() / 0.01 - 1) < 5 / (2 * w.size) ** 0.5


@pytest.mark.parametrize(("scaled", "least", "most"), [(False, 20, 200), (True, 1.1, 1.6)])
def test_attention_of_a_fresh_block_is_all_but_uniform_only_with_the_scale(
    scaled: bool, least: float, most: float
) -> None:
    """At 1024 channels, a row's largest weight in units of its mean, on features as a batch norm and ReLU leave them.

    Weights of spread s give queries and keys a variance of q = 1024 s^2 E[x^2] and logits one of 512 q^2.
    """
    torch.manual_seed(0)
    block = build(NonLocal(scaled=scaled), 1024)
    x = features((1, 1024, 40, 60)).float().relu() * 2**0.5
    with torch.no_grad():
        largest = block.attention(x).amax(2).mean() * 20 * 30
    assert least < largest < most


def without_influence(spec: NonLocal | GlobalContext) -> set[str]:
    """Parameters that the equations cancel: a softmax ignores what it adds to all keys, batch norm a constant."""
    if isinstance(spec, GlobalContext):
        return {"conv_mask.bias"} if spec.pooling == "att" else set()
    names = {"phi.bias"} if spec.instantiation == "embedded_gaussian" else set()
    # Rows of attention sum to one, so that the bias of the values is a constant, too.
    return names | ({"g.bias", "conv_out.bias"} if spec.output_norm else set())


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("spec", [*NON_LOCAL, *FRAMEWORK.values()], ids=str)
def test_gradients_reach_every_parameter_and_the_input(spec: NonLocal | GlobalContext, dimensions: int) -> None:
    block, x = perturbed(spec, dimensions).train(), features(SHAPES[dimensions]).requires_grad_()
    (block(x) * features(SHAPES[dimensions], seed=2)).sum().backward()
    magnitude = {name: p.grad.abs().max().item() for name, p in block.named_parameters()}
    cancelled = {name for name, largest in magnitude.items() if largest < 1e-10}
    assert cancelled == without_influence(spec)
    assert all(np.isfinite(value) for value in magnitude.values())
    assert (x.grad.abs() > 0).all()


@pytest.mark.parametrize("spec", [NonLocal("concat"), NonLocal(), replace(GC, ratio=2)], ids=str)
def test_analytic_gradients_are_numerical_ones(spec: NonLocal | GlobalContext) -> None:
    assert torch.autograd.gradcheck(perturbed(spec, channels=4), features((1, 4, 2, 4)).requires_grad_())


def shapes(block: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in block.state_dict().items()}


def test_parameter_names_of_the_authors_context_block() -> None:
    mask = {"conv_mask.weight": (1, 64, 1, 1), "conv_mask.bias": (1,)}

    def transform(name: str) -> dict[str, tuple[int, ...]]:
        return {
            f"{name}.0.weight": (4, 64, 1, 1), f"{name}.0.bias": (4,), f"{name}.1.weight": (4, 1, 1),
            f"{name}.1.bias": (4, 1, 1), f"{name}.3.weight": (64, 4, 1, 1), f"{name}.3.bias": (64,),
        }  # fmt: skip

    assert shapes(build(GC, 64)) == mask | transform("channel_add_conv")
    assert shapes(build(replace(GC, fusion="scale"), 64)) == mask | transform("channel_mul_conv")
    plain = {name: shape for name, shape in transform("channel_add_conv").items() if ".1." not in name}
    assert shapes(build(replace(GC, layer_norm=False, pooling="avg"), 64)) == plain
    single = {"channel_add_conv.0.weight": (64, 64, 1, 1), "channel_add_conv.0.bias": (64,)}
    assert shapes(build(SNL, 64)) == mask | single


@pytest.mark.parametrize(
    ("spec", "channels", "dimensions", "parameters"),
    [
        (NonLocal(), 1024, 2, 46_500_405 - 44_400_693),
        (SNL, 1024, 2, 45_451_318 - 44_400_693),
        (GC, 1024, 2, 44_534_006 - 44_400_693),
        (SE, 512, 2, 2 * 512 * 512 // 16 + 512 // 16 + 512),
    ],
)
def test_exact_parameters(spec: NonLocal | GlobalContext, channels: int, dimensions: int, parameters: int) -> None:
    assert sum(p.numel() for p in build(spec, channels, dimensions).parameters()) == parameters


@pytest.mark.parametrize(
    ("spec", "total"),
    [(NonLocal(output_norm=True), 39_812_560), (SNL, 36_132_309), (replace(GC, ratio=4), 34_300_373)],
    ids=["nl", "snl", "gc"],
)
def test_exact_parameters_of_five_video_blocks(spec: NonLocal | GlobalContext, total: int) -> None:
    with torch.device("meta"):
        blocks = [build(spec, channels, 3) for channels in (512, 512, 1024, 1024, 1024)]
    assert sum(p.numel() for block in blocks for p in block.parameters()) == total - 32_454_096


@pytest.mark.parametrize(("bias", "total", "as_printed"), [(True, 64_352_322, "64.4M"), (False, 64_337_986, "64.3M")])
def test_of_table_2d_snl_with_a_bias_has_the_printed_parameters(bias: bool, total: int, as_printed: str) -> None:
    """The table prints 64.4M for one block after each residual block of c3, c4 and c5, of 44,400,693 without blocks.

    It is the one cell that tells the two apart: one block has 45,451,318 or 45,450,294 (45.4M, which both are
    truncated), on ImageNet 26,607,657 or 26,606,633 (26.61), five in videos 36,132,309 or 36,128,213 (36.13).
    """
    channels = [512] * 4 + [1024] * 6 + [2048] * 3
    with torch.device("meta"):
        blocks = [build(replace(SNL, bias=bias), each) for each in channels]
    # A weight per pair of channels; per channel one of the mask and perhaps a bias; the mask's bias.
    assert sum(each * each + (2 if bias else 1) * each + 1 for each in channels) + 44_400_693 == total
    assert sum(p.numel() for block in blocks for p in block.parameters()) + 44_400_693 == total
    assert f"{total / 1e6:.1f}M" == as_printed
    assert GlobalContext().bias


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(12)), st.sampled_from([*FRAMEWORK.values(), NonLocal(subsample=False)]))
def test_blocks_do_not_know_the_order_of_positions(order: list[int], spec: NonLocal | GlobalContext) -> None:
    block, x = perturbed(spec), features((1, CHANNELS, 3, 4))

    def permuted(maps: torch.Tensor) -> torch.Tensor:
        return maps.flatten(2)[..., order].view_as(maps)

    with torch.no_grad():
        torch.testing.assert_close(block(permuted(x)), permuted(block(x)), rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(2, 5), st.integers(2, 5), st.sampled_from([*FRAMEWORK.values(), *NON_LOCAL]))
def test_two_dimensions_are_three_with_one_frame(
    batch: int, height: int, width: int, spec: NonLocal | GlobalContext
) -> None:
    flat, deep = perturbed(spec, 2).eval(), perturbed(spec, 3).eval()
    x = features((batch, CHANNELS, height, width))
    with torch.no_grad():
        torch.testing.assert_close(deep(x.unsqueeze(2)), flat(x).unsqueeze(2), rtol=0, atol=1e-12)


def test_global_context_is_one_for_all_positions() -> None:
    x = features(SHAPES[2])
    added = (perturbed(FRAMEWORK["gc"])(x) - x).flatten(2)
    torch.testing.assert_close(added, added[..., :1].expand_as(added), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (GlobalContext(ratio=None), "no place for layer norm"),
        (replace(GC, ratio=16), "ratio 16 leaves none of 8"),
        (NonLocal(reduction=9), "reduction 9 leaves none of 8"),
    ],
)
def test_impossible_specifications(spec: NonLocal | GlobalContext, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(spec, CHANNELS)


def test_build_chooses_the_class() -> None:
    assert isinstance(build(NonLocal(), 4), NonLocalBlock)
    assert isinstance(build(SNL, 4), GlobalContextBlock)

"""The blocks that others published: their equations, their parameters, and their places in all three tasks.

Forward passes are compared with the equations written out here, position by position, and where timm has the block,
with timm's.
"""

from __future__ import annotations

import itertools
import math
from functools import partial

import pytest
import torch
from own_blocks import trained
from places import ROOT
from timm.layers.cbam import CbamModule
from timm.layers.coord_attn import CoordAttn
from timm.layers.eca import EcaModule
from timm.layers.gather_excite import GatherExcite
from torch import nn

from repro import experiments
from repro.analysis.attention import compute_statistics, observe
from repro.complexity import count_experiment
from repro.experiments import ALL_STAGES, BEFORE_LAST_OF_C4, FIVE_OF_C3_C4, get, mini, own
from repro.models.own_blocks import check_network

BLOCKS = ROOT / "examples" / "blocks"
#: By file, what its experiments are called behind the task.
NAMES = {
    "coordinate_attention": ["coordinate"],
    "cbam": ["cbam"],
    "eca": ["eca"],
    "gather_excite": ["ge-minus", "ge", "ge-plus"],
    "criss_cross": ["criss-cross"],
    "double_attention": ["a2"],
    "disentangled_non_local": ["dnl"],
}
WITH_MAPS = ["criss-cross", "a2", "dnl"]
ALL = [name for names in NAMES.values() for name in names]
EVERYWHERE = [f"{task}-{name}" for name in ALL for task in ("coco", "imagenet", "kinetics")]
ONCE = [f"{place}-{name}" for name in WITH_MAPS for place in ("coco-1", "imagenet-1", "kinetics-5")]
SIZES = {2: (3, 5), 3: (2, 3, 4)}


@pytest.fixture(autouse=True, scope="module")
def loaded():
    """The experiments of all files, which no other test sees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "_OWN", {})
        yield [name for file in NAMES for name in own.load(str(BLOCKS / f"{file}.py"))]


def make(name: str, channels: int = 16, dimensions: int = 2) -> nn.Module:
    return get(f"coco-{name}").own_block(channels, dimensions)


def draw(*size: int) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(7))


def positions(x: torch.Tensor) -> list[tuple[int, ...]]:
    return list(itertools.product(*map(range, x.shape[2:])))


def at(x: torch.Tensor, position: tuple[int, ...]) -> torch.Tensor:
    return x[(0, slice(None), *position)]


def apply(layer: nn.Module, vector: torch.Tensor) -> torch.Tensor:
    """A 1x1 convolution, or a linear layer, of one position."""
    out = layer.weight.flatten(1) @ vector
    return out if layer.bias is None else out + layer.bias


# -- places -----------------------------------------------------------------------------------------------------------


def test_every_file_has_its_experiments(loaded):
    assert sorted(loaded) == sorted([*EVERYWHERE, *ONCE])
    assert {path.stem for path in BLOCKS.glob("*.py")} - {"insertions"} == set(NAMES)


@pytest.mark.parametrize("name", EVERYWHERE)
def test_it_stands_where_all_gc_blocks_stand_and_is_trained_as_they_are(name):
    experiment = get(name)
    theirs = get({"coco": "coco-r50-gc-r16", "imagenet": "imagenet-r50-gc-r16", "kinetics": "kinetics-r50-gc-r4"}[
        name.partition("-")[0]
    ])  # fmt: skip
    context = experiment.network.backbone.context
    assert (context.sites, context.position) == (ALL_STAGES, "after1x1")
    assert (experiment.recipe, experiment.derived_from) == (theirs.recipe, theirs.name)


@pytest.mark.parametrize("name", ONCE)
def test_attention_also_stands_where_non_local_blocks_do(name):
    context = get(name).network.backbone.context
    video = name.startswith("kinetics")
    assert context.sites == (FIVE_OF_C3_C4 if video else BEFORE_LAST_OF_C4)
    assert context.position == ("afterReLU" if video else "afterAdd")


@pytest.mark.parametrize("name", [*EVERYWHERE, *ONCE])
def test_it_fits_in_the_mini_network_of_its_task(name):
    check_network(mini.get_at_profile(name, "mini"))


# -- equations --------------------------------------------------------------------------------------------------------


def compute_eca(block, x):
    means = [at(x, p) for p in positions(x)]
    means = sum(means) / len(means)
    kernel = block.conv.weight.flatten()
    reach = len(kernel) // 2
    logits = [
        sum(kernel[j + reach] * means[c + j] for j in range(-reach, reach + 1) if 0 <= c + j < len(means))
        for c in range(len(means))
    ]
    gates = torch.stack(logits).sigmoid()
    return {p: at(x, p) * gates for p in positions(x)}


def compute_cbam(block, x):
    first, _, second = block.mlp
    vectors = torch.stack([at(x, p) for p in positions(x)])
    logits = sum(apply(second, apply(first, v).clamp(min=0)) for v in (vectors.mean(0), vectors.max(0).values))
    scaled = {p: at(x, p) * logits.sigmoid() for p in positions(x)}
    result = {}
    for p in scaled:
        logit = torch.tensor(0.0)
        for offset in itertools.product(range(-3, 4), repeat=len(p)):
            q = tuple(a + b for a, b in zip(p, offset, strict=True))
            if q in scaled:
                weights = block.conv.weight[(0, slice(None), *(o + 3 for o in offset))]
                logit = logit + weights[0] * scaled[q].mean() + weights[1] * scaled[q].max()
        norm = block.norm
        logit = (logit - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
        result[p] = scaled[p] * logit.sigmoid()
    return result


def compute_coordinate(block, x):
    convolution, norm, _ = block.shared
    gates = []
    for axis, last in enumerate(block.gates):
        of_axis = []
        for index in range(x.shape[2 + axis]):
            line = [at(x, p) for p in positions(x) if p[axis] == index]
            coded = apply(convolution, sum(line) / len(line))
            coded = (coded - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
            coded = coded * (coded + 3).clamp(0, 6) / 6
            of_axis.append(apply(last, coded).sigmoid())
        gates.append(of_axis)
    return {p: at(x, p) * math.prod(gates[axis][index] for axis, index in enumerate(p)) for p in positions(x)}


def compute_parameter_free_gathering(block, x):
    mean = sum(at(x, p) for p in positions(x)) / len(positions(x))
    return {p: at(x, p) * mean.sigmoid() for p in positions(x)}


def compute_learned_gathering(block, x):
    maps = {p: at(x, p) for p in positions(x)}
    layers = list(block.gather)
    sizes = x.shape[2:]
    for number, start in enumerate(range(0, len(layers), 3)):
        convolution, norm = layers[start : start + 2]
        sizes, gathered = [math.ceil(size / 2) for size in sizes], {}
        for p in itertools.product(*map(range, sizes)):
            total = torch.zeros(x.shape[1])
            for offset in itertools.product((-1, 0, 1), repeat=len(p)):
                q = tuple(2 * a + b for a, b in zip(p, offset, strict=True))
                if q in maps:
                    total = total + maps[q] * convolution.weight[(slice(None), 0, *(o + 1 for o in offset))]
            out = (total - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
            gathered[p] = out if number == 2 else out.clamp(min=0)
        maps = gathered
    if isinstance(block.excite, nn.Sequential):
        first, _, second = block.excite
        maps = {p: apply(second, apply(first, v).clamp(min=0)) for p, v in maps.items()}
    result = {}
    for p in positions(x):
        near = tuple(math.floor(a * small / size) for a, small, size in zip(p, sizes, x.shape[2:], strict=True))
        result[p] = at(x, p) * maps[near].sigmoid()
    return result


def compute_double_attention(block, x):
    a, b, v = (torch.stack([apply(layer, at(x, p)) for p in positions(x)], dim=1)
               for layer in (block.features, block.gather, block.distribute))  # fmt: skip
    descriptors = [sum(a[:, j] * weight for j, weight in enumerate(row.softmax(0))) for row in b]
    result = {}
    for i, p in enumerate(positions(x)):
        z = sum(weight * one for weight, one in zip(v[:, i].softmax(0), descriptors, strict=True))
        result[p] = at(x, p) + apply(block.conv_out, z)
    return result


def compute_criss_cross(block, x):
    values = {p: at(x, p) for p in positions(x)}
    for _ in range(len(x.shape) - 2):
        q, k, v = ({p: apply(layer, one) for p, one in values.items()}
                   for layer in (block.query, block.key, block.value))  # fmt: skip
        after = {}
        for p in values:
            met = [j for j in values if sum(a != b for a, b in zip(p, j, strict=True)) <= 1]
            assert len(met) == sum(x.shape[2:]) - (len(p) - 1)  # H + W - 1, or T + H + W - 2
            weights = torch.stack([q[p] @ k[j] for j in met]).softmax(0)
            after[p] = block.gamma * sum(w * v[j] for w, j in zip(weights, met, strict=True)) + values[p]
        values = after
    return values


def compute_disentangled(block, x):
    places = positions(x)
    q, k, v, m = (torch.stack([apply(layer, at(x, p)) for p in places])
                  for layer in (block.query, block.key, block.value, block.mask))  # fmt: skip
    unary = m.flatten().softmax(0)
    result = {}
    for i, p in enumerate(places):
        pairs = torch.stack([(q[i] - q.mean(0)) @ (k[j] - k.mean(0)) for j in range(len(places))]).softmax(0)
        result[p] = at(x, p) + sum((pairs[j] + unary[j]) * v[j] for j in range(len(places)))
    return result


EQUATIONS = {
    "eca": compute_eca,
    "cbam": compute_cbam,
    "coordinate": compute_coordinate,
    "ge-minus": compute_parameter_free_gathering,
    "ge": compute_learned_gathering,
    "ge-plus": compute_learned_gathering,
    "a2": compute_double_attention,
    "criss-cross": compute_criss_cross,
    "dnl": compute_disentangled,
}


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", EQUATIONS)
@torch.no_grad()
def test_it_computes_its_equations(name, dimensions):
    channels = 64 if name in ("cbam", "ge-plus") else 16  # of a single hidden channel, ReLU may leave nothing
    block = trained(make(name, channels, dimensions))
    norms = [layer for layer in block.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    for number, norm in enumerate(norms):
        norm.running_mean.fill_(0.1 * (number + 1))
        norm.running_var.fill_(1.5 + number)
    x = draw(1, channels, *SIZES[dimensions])
    expected = EQUATIONS[name](block, x)
    got = block(x)
    assert got.shape == x.shape
    for p in positions(x):
        torch.testing.assert_close(at(got, p), expected[p].reshape(-1), rtol=1e-4, atol=1e-5)


def test_a_learned_operator_over_all_positions_is_refused():
    make_block = partial(get("coco-ge").own_block.func, learned=True)
    with pytest.raises(ValueError, match="over all positions needs feature maps of one size"):
        make_block(16, 2)


@pytest.mark.parametrize("name", WITH_MAPS)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_fresh_block_with_addition_returns_its_input_and_learns(name, dimensions):
    block = make(name, 16, dimensions)
    x = draw(2, 16, *SIZES[dimensions])
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert any(parameter.grad.abs().sum() > 0 for parameter in block.parameters() if parameter.grad is not None)


# -- attention --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", WITH_MAPS)
@torch.no_grad()
def test_its_map_is_a_distribution_for_each_position_and_can_be_analysed(name, dimensions):
    block = trained(make(name, 16, dimensions))
    (observation,) = observe(block, draw(1, 16, *SIZES[dimensions]))
    statistics = compute_statistics(observation)
    assert statistics.jsd_att is not None
    assert statistics.keys == statistics.positions == math.prod(SIZES[dimensions])


@torch.no_grad()
def test_the_maps_are_those_of_the_forward_pass():
    x = draw(1, 16, 3, 5)
    double = trained(make("a2"))
    context = double.features(x).flatten(2) @ double.attention(x).transpose(1, 2)
    torch.testing.assert_close(double(x), x + double.conv_out(context.unflatten(2, (3, 5))))
    disentangled = trained(make("dnl"))
    context = 2 * disentangled.value(x).flatten(2) @ disentangled.attention(x).transpose(1, 2)
    torch.testing.assert_close(disentangled(x), x + context.unflatten(2, (3, 5)))
    crossing, expected = trained(make("criss-cross")), x
    for _ in range(2):
        context = crossing.value(expected).flatten(2) @ crossing.attention(expected).transpose(1, 2)
        expected = expected + crossing.gamma * context.view_as(x)
    torch.testing.assert_close(crossing(x), expected)


@torch.no_grad()
def test_a_criss_cross_map_is_zero_off_the_row_and_the_column():
    block = trained(make("criss-cross"))
    weights = block.attention(draw(1, 16, 3, 5))[0].view(3, 5, 3, 5)
    for i, j, k, m in itertools.product(range(3), range(5), range(3), range(5)):
        assert (weights[i, j, k, m] > 0) == (i == k or j == m)


# -- peers ------------------------------------------------------------------------------------------------------------


def copy_parameters(theirs: nn.Module, ours: nn.Module) -> nn.Module:
    """Give a peer our parameters and buffers, in order, whatever they are called there."""
    given = list(ours.state_dict().values())
    keys = list(theirs.state_dict())
    assert len(given) == len(keys)
    theirs.load_state_dict({k: v.reshape(theirs.state_dict()[k].shape) for k, v in zip(keys, given, strict=True)})
    return theirs.eval()


PEERS = {
    "eca": EcaModule,
    "cbam": partial(CbamModule, mlp_bias=True),
    "coordinate": partial(CoordAttn, rd_channels=8, bias=True),
    "ge-minus": partial(GatherExcite, use_mlp=False),
}


@pytest.mark.parametrize("name", PEERS)
@torch.no_grad()
def test_it_is_timms(name):
    ours = trained(make(name, 64))
    theirs = copy_parameters(PEERS[name](64), ours)
    x = draw(2, 64, 6, 9)
    torch.testing.assert_close(ours(x), theirs(x))


@torch.no_grad()
def test_gathering_over_some_positions_without_parameters_is_timms():
    ours = get("coco-ge-minus").own_block(64, 2, extent=4)
    theirs = GatherExcite(64, extent=4, use_mlp=False)
    x = draw(2, 64, 11, 9)
    torch.testing.assert_close(ours(x), theirs(x))


# -- parameters -------------------------------------------------------------------------------------------------------


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def nearest_odd(number: float) -> int:
    return min(range(1, 99, 2), key=lambda odd: (abs(odd - number), -odd))


#: By the number of channels C and of dimensions d, from the sizes that the papers give.
PARAMETERS = {
    "eca": lambda c, d: nearest_odd((math.log2(c) + 1) / 2),
    "cbam": lambda c, d: 2 * c * (c // 16) + c // 16 + c + 2 * 7**d + 2,
    "coordinate": lambda c, d: c * max(8, c // 32) * (1 + d) + 3 * max(8, c // 32) + d * c,
    "ge-minus": lambda c, d: 0,
    "ge": lambda c, d: 3 * (c * 3**d + 2 * c),
    "ge-plus": lambda c, d: 3 * (c * 3**d + 2 * c) + 2 * c * (c // 16),
    "criss-cross": lambda c, d: 2 * (c * (c // 8) + c // 8) + c * c + c + 1,
    "a2": lambda c, d: 4 * c * (c // 2) + 3 * (c // 2) + c,
    "dnl": lambda c, d: 2 * (c * (c // 4) + c // 4) + c * c + c + 1,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_it_has_the_parameters_of_its_sizes(name):
    with torch.device("meta"):
        for channels, dimensions in itertools.product((64, 256, 512, 1024, 2048), (2, 3)):
            assert count(make(name, channels, dimensions)) == PARAMETERS[name](channels, dimensions)


#: ResNet-50's parameters, its residual blocks by stage and their channels.
RESNET50, STAGES = 25_557_032, {256: 3, 512: 4, 1024: 6, 2048: 3}


def test_resnet_50_has_the_parameters_that_the_papers_print():
    with torch.device("meta"):
        cbam = sum(number * count(make("cbam", channels)) for channels, number in STAGES.items())
        without_biases = cbam - sum(number * (c // 16 + c) for c, number in STAGES.items())
        five = 2 * count(make("a2", 512)) + 3 * count(make("a2", 1024))
        eca = sum(number * count(make("eca", channels)) for channels, number in STAGES.items())
    assert f"{(RESNET50 + cbam) / 1e6:.2f}" == "28.09"  # CBAM's Table 4
    assert f"{(RESNET50 + without_biases) / 1e6:.2f}" == "28.07"
    assert (RESNET50 + five) / 1e6 == pytest.approx(33.0, abs=0.1)  # with half the channels; with a quarter 29.2
    assert (eca, 3 * 3 + 4 * 5 + 6 * 5 + 3 * 7) == (86, 80)  # by the formula, and with the authors' own sizes


@pytest.mark.parametrize(
    ("name", "kind"),
    [("coco-eca", "eca"), ("coco-1-criss-cross", "criss-cross"), ("imagenet-ge", "ge"), ("kinetics-5-a2", "a2")],
)
def test_the_full_size_network_has_them_at_every_place(name, kind):
    backbone = get(name).network.backbone
    bare = count_experiment(get(f"{name.partition('-')[0]}-r50-baseline"))
    counted = count_experiment(get(name))
    channels = {"c3": [512] * 4, "c4": [1024] * 6, "c5": [2048] * 3}
    chosen = [c for stage, index in backbone.context.sites for c in channels[stage][: 1 if index is not None else None]]
    assert counted.params - bare.params == sum(PARAMETERS[kind](c, backbone.dimensions) for c in chosen)
    assert counted.macs > bare.macs

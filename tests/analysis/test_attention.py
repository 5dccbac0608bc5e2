"""Statistics of non-local blocks against brute force over pairs of positions, and against planted attention."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from brute_force import brute_cosine, brute_jensen_shannon
from own_blocks import Whole, trained
from scipy.spatial.distance import jensenshannon
from torch import Tensor, nn

from repro.analysis import subjects
from repro.analysis.attention import (
    Observation,
    choose_row_count,
    compute_statistics,
    find_blocks,
    leave_padding_out,
    observe,
)
from repro.errors import ReproError
from repro.experiments import GC, Backbone, Insertion, NonLocal, get
from repro.models.context import NonLocalBlock, build
from repro.models.resnet import ResNet

pytestmark = pytest.mark.rounding

INSTANTIATIONS = ("gaussian", "embedded_gaussian", "dot_product", "concat")
SHAPES = {2: (1, 8, 5, 7), 3: (1, 8, 3, 4, 5)}


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def one(network: nn.Module, x: Tensor) -> Observation:
    (found,) = observe(network, x)
    return found


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("subsample", [False, True])
@pytest.mark.parametrize("instantiation", INSTANTIATIONS)
class TestAnyBlock:
    def block(self, instantiation: str, subsample: bool, dimensions: int) -> NonLocalBlock:
        spec = NonLocal(instantiation, subsample=subsample, output_norm=dimensions == 3)
        return trained(build(spec, 8, dimensions))

    @pytest.mark.parametrize("count", [1, 8, 1000])
    def test_rows_in_blocks_are_those_of_the_whole_map(self, instantiation, subsample, dimensions, count):
        block, x = self.block(instantiation, subsample, dimensions), features(*SHAPES[dimensions])
        rows = list(block.attention_rows(x, count))
        assert all(part.shape[1] <= count for part in rows)
        torch.testing.assert_close(torch.cat(rows, dim=1), block.attention(x))

    def test_statistics_are_brute_forces(self, instantiation, subsample, dimensions):
        block, x = self.block(instantiation, subsample, dimensions), features(*SHAPES[dimensions])
        with torch.no_grad():
            attention, output = block.attention(x)[0].double(), (block(x) - x)[0].double()
        found = compute_statistics(one(block, x))
        assert (found.positions, found.keys) == attention.shape
        assert found.cos_input == pytest.approx(brute_cosine(x[0].flatten(1).T.double()), rel=1e-9)
        assert found.cos_output == pytest.approx(brute_cosine(output.flatten(1).T), rel=1e-5)
        assert found.cos_att == pytest.approx(brute_cosine(attention), rel=1e-5)
        if instantiation in ("gaussian", "embedded_gaussian"):
            assert found.jsd_att == pytest.approx(brute_jensen_shannon(attention), rel=1e-5)
        else:
            assert found.jsd_att is None

    def test_keys_are_sub_sampled(self, instantiation, subsample, dimensions):
        found = compute_statistics(one(self.block(instantiation, subsample, dimensions), features(*SHAPES[dimensions])))
        positions, keys = {2: (35, 6), 3: (60, 3 * 2 * 2)}[dimensions]
        assert (found.positions, found.keys) == (positions, keys if subsample else positions)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("instantiation", ["gaussian", "embedded_gaussian"])
def test_statistics_are_of_the_attention_that_the_network_computes_with(instantiation, scaled):
    """Logits divided by the square root of the number of their terms, or not, by einsum."""
    block, x = trained(build(NonLocal(instantiation, subsample=False, scaled=scaled), 16)), features(1, 16, 4, 6)
    queries = keys = x.flatten(2)[0].double()
    if instantiation == "embedded_gaussian":
        queries, keys = (
            torch.einsum("dc,cn->dn", layer.weight.flatten(1).double(), queries) + layer.bias.double()[:, None]
            for layer in (block.theta, block.phi)
        )
    logits = torch.einsum("dn,dm->nm", queries, keys).detach()
    attention = (logits / math.sqrt(len(queries)) if scaled else logits).softmax(dim=1)
    found = compute_statistics(one(block, x))
    assert found.cos_att == pytest.approx(brute_cosine(attention), rel=1e-5)
    assert found.jsd_att == pytest.approx(brute_jensen_shannon(attention), rel=1e-5)


def test_planted_query_independent_attention_gives_zeros():
    """Queries that do not look at their position: one map for all, and one output."""
    block = trained(build(NonLocal(subsample=False), 16))
    nn.init.zeros_(block.theta.weight)
    x = features(1, 16, 9, 11)
    found = compute_statistics(one(block, x))
    assert found.jsd_att == pytest.approx(0, abs=1e-12)
    assert found.cos_att == pytest.approx(0, abs=1e-12)
    assert found.cos_output == pytest.approx(0, abs=1e-12)
    assert found.cos_input > 0.4
    assert block.attention(x)[0, 0].std() > 1e-3  # the one map is no uniform one


def test_planted_query_specific_attention_gives_the_analytic_value():
    """Orthogonal inputs so long that each position sees itself alone: the map is the identity."""
    n = 12
    x = (30 * torch.eye(n)).view(1, n, 3, 4)
    block = build(NonLocal("gaussian", reduction=1, subsample=False), n)
    with torch.no_grad():
        for layer in (block.g, block.conv_out):
            layer.weight.copy_(torch.eye(n).view(n, n, 1, 1))
            layer.bias.zero_()
    found = compute_statistics(one(block, x))
    assert found.jsd_att == pytest.approx((1 - 1 / n) * math.log(2), rel=2e-6)
    for column in ("cos_input", "cos_output", "cos_att"):
        assert getattr(found, column) == pytest.approx((1 - 1 / n) / 2, rel=1e-6)


def test_planted_clusters_give_the_analytic_value():
    """Two kinds of positions, a and N - a of them: a pair differs with probability 2 a (N - a) / N^2."""
    n, a = 20, 5
    x = torch.zeros(1, 2, 4, 5)
    x.flatten(2)[0, 0, :a] = 1.5
    x.flatten(2)[0, 1, a:] = 1.0
    block = build(NonLocal("gaussian", subsample=False, scaled=False), 2)
    found = compute_statistics(one(block, x))
    p, q = (np.exp(v * np.r_[np.full(a, w), np.full(n - a, u)]) for v, w, u in ((1.5, 1.5, 0), (1.0, 0, 1.0)))
    p, q = p / p.sum(), q / q.sum()
    differing = 2 * a * (n - a) / n**2
    assert found.jsd_att == pytest.approx(differing * jensenshannon(p, q) ** 2, rel=1e-5)
    cosine = p @ q / np.linalg.norm(p) / np.linalg.norm(q)
    assert found.cos_att == pytest.approx(differing * (1 - cosine) / 2, rel=1e-5)
    assert found.cos_input == pytest.approx(differing / 2, rel=1e-9)


def test_a_fresh_block_has_no_output_and_says_so():
    found = compute_statistics(one(build(NonLocal(), 8), features(1, 8, 4, 4)))
    assert found.cos_output == 0.5
    assert found.zeros == {"cos_output": 16}


def test_five_blocks_of_a_video_network():
    """As in the networks for Kinetics: every other block of res3 and res4, on a clip."""
    context = get("kinetics-r50-5nl").network.backbone.context
    spec = Backbone(blocks=(1, 4, 6, 1), width=4, dimensions=3, context=context)
    torch.manual_seed(0)
    network = ResNet(spec, num_classes=3).eval()
    for block in find_blocks(network).values():
        trained(block)
    clip = features(1, 3, 2, 48, 48)
    found = {one.block: compute_statistics(one) for one in observe(network, clip)}
    names = [f"layer2.{i}.context_block" for i in (1, 3)] + [f"layer3.{i}.context_block" for i in (1, 3, 5)]
    assert list(found) == names
    assert [one.positions for one in found.values()] == [2 * 6 * 6] * 2 + [2 * 3 * 3] * 3
    # The last one against the block itself, given what it is given in a whole forward pass.
    seen = []
    network.layer3[5].context_block.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        network(clip)
        attention = network.layer3[5].context_block.attention(seen[0])[0].double()
    assert found[names[-1]].jsd_att == pytest.approx(brute_jensen_shannon(attention), rel=1e-4)


class Signed(Whole):
    def attention(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return tokens @ tokens.transpose(1, 2)


class Unreachable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("computed although every block had been seen")


def test_a_module_of_ones_own():
    x = features(1, 6, 5, 5)
    network = nn.Sequential(Whole(), nn.ReLU(inplace=True), Signed(), Unreachable())
    own, signed = observe(network, x)
    assert (own.block, own.distributions, signed.block, signed.distributions) == ("0", True, "2", False)
    found = compute_statistics(own)
    block = Whole()
    assert found.jsd_att == pytest.approx(brute_jensen_shannon(block.attention(x)[0].double()), rel=1e-5)
    # The ReLU after the block works in place on what the block returned.
    assert found.cos_output == pytest.approx(brute_cosine((block(x) - x)[0].flatten(1).T.double()), rel=1e-5)
    assert compute_statistics(signed).jsd_att is None


class Reusing(nn.Module):
    """Overwrites the first block's input while the second is still to come."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = build(NonLocal(subsample=False), 6), Whole()

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x)
        x.zero_()
        return self.second(z)


def test_what_becomes_of_the_input_later_does_not_matter():
    network, x = Reusing(), features(1, 6, 5, 5)
    attention = network.first.attention(x)[0]
    first = observe(network, x.clone())[0]
    torch.testing.assert_close(torch.cat(list(first.rows)), attention)
    assert torch.equal(first.input, x[0])


def test_a_function_that_gives_observations():
    made = [torch.eye(4), torch.eye(4)]
    observations = [Observation("any", torch.eye(4), torch.ones(3, 4), [part], True) for part in made]
    found = observe(lambda inputs: observations, torch.zeros(1, 3, 2, 2))
    for one in map(compute_statistics, found):
        assert one.jsd_att == pytest.approx(0.75 * math.log(2), rel=1e-6)
        assert (one.cos_input, one.cos_output, one.cos_att) == pytest.approx((0.375, 0, 0.375))
        assert (one.positions, one.keys, one.zeros) == (4, 4, {})


class InPlace(Whole):
    def forward(self, x: Tensor) -> Tensor:
        return x.add_(1)


class OfTokens(Whole):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2)


class Bare(Whole):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1


class Transposed(Bare):
    def attention(self, x: Tensor) -> Tensor:
        return super().attention(x)[:, :-1]


class Half(Bare):
    def attention(self, x: Tensor) -> Tensor:
        return super().attention(x).bfloat16()


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = Whole()

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (nn.Conv2d(6, 6, 1), "no non-local block"),
        (nn.Sequential(build(GC, 32)), "one attention map for all positions"),
        (InPlace(), "changes its input in place"),
        (OfTokens(), "no function of one feature map"),
        (Transposed(), r"gives \(1, 24, 25\), not the map \(1, 25, M\)"),
        (Half(), "too few digits"),
        (Unused(), "does not call its block block"),
    ],
)
def test_what_is_no_network_with_blocks(network, says):
    with pytest.raises(ReproError, match=says):
        observe(network, features(1, 6, 5, 5))


def test_a_batch_is_refused():
    with pytest.raises(ReproError, match="one image a batch"):
        observe(Whole(), features(2, 6, 5, 5))


def test_what_is_not_finite_is_named():
    block, x = build(NonLocal(), 8), features(1, 8, 4, 4)
    nn.init.constant_(block.theta.weight, math.nan)
    with pytest.raises(ReproError, match="block NonLocalBlock, cos_output: a vector is not finite"):
        compute_statistics(one(block, x))
    x[0, 3, 1, 1] = math.inf
    with pytest.raises(ReproError, match="cos_input"):
        compute_statistics(one(block, x))


def test_a_map_with_too_few_rows_is_refused():
    observation = Observation("any", torch.randn(4, 3, 3), torch.randn(4, 3, 3), [torch.eye(9)[:8]], True)
    with pytest.raises(ReproError, match="8 attention maps for 9 positions"):
        compute_statistics(observation)


def test_on_a_gpu_blocks_of_rows_are_larger_and_bounded():
    """As far as it can be seen without one, on a device of no memory: 4200 positions, and as many as there could be."""
    assert choose_row_count(torch.zeros(1, 4, 50, 84)) == 256
    assert [choose_row_count(torch.empty(1, 4, *shape, device="meta")) for shape in ((50, 84), (400, 400))] == [
        1997,
        256,
    ]


def test_hooks_do_not_stay():
    network = nn.Sequential(Whole())
    observe(network, features(1, 6, 5, 5))
    assert not network[0]._forward_hooks
    assert not network[0]._forward_pre_hooks
    with pytest.raises(ReproError):
        observe(nn.Sequential(InPlace()), features(1, 6, 5, 5))


def test_the_paper_s_network_has_its_block_before_the_last_of_c4():
    spec = replace(get("coco-r50-1nl").network.backbone, width=4)
    assert isinstance(spec.context, Insertion)
    assert list(find_blocks(ResNet(spec))) == ["layer3.4.context_block"]


def test_positions_in_the_padding_are_left_out_as_queries_and_stay_as_keys():
    block, x = trained(build(NonLocal(), 8, 2)), features(1, 8, 6, 8)
    with torch.no_grad():
        attention, output = block.attention(x)[0].double(), (block(x) - x)[0].double()
    kept = [row * 8 + column for row in range(5) for column in range(7)]
    found = compute_statistics(leave_padding_out(one(block, x), 5, 7))
    assert (found.positions, found.keys) == (35, attention.shape[1])
    assert found.cos_input == pytest.approx(brute_cosine(x[0].flatten(1).T[kept].double()), rel=1e-9)
    assert found.cos_output == pytest.approx(brute_cosine(output.flatten(1).T[kept]), rel=1e-5)
    assert found.cos_att == pytest.approx(brute_cosine(attention[kept]), rel=1e-5)
    assert found.jsd_att == pytest.approx(brute_jensen_shannon(attention[kept]), rel=1e-4)
    whole = compute_statistics(leave_padding_out(one(block, x), 6, 8))
    assert whole == compute_statistics(one(block, x))


def test_cells_that_begin_inside_the_image_are_counted():
    # 750 x 1300 pixels, padded to 768 x 1312: c4 has a cell for each 16 pixels, and 750 / 16 = 46.9, 1300 / 16 = 81.3.
    assert subjects._count_cells((750, 1300), (768, 1312), (48, 82)) == [47, 82]
    assert subjects._count_cells((736, 1312), (768, 1312), (48, 82)) == [46, 82]

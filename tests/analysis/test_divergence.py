"""Mean distances over all pairs against brute force over the pairs, and against analytic values."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from brute_force import brute_cosine, brute_jensen_shannon
from scipy.spatial.distance import jensenshannon
from torch import Tensor

from repro.analysis import divergence
from repro.analysis.divergence import NODES, STEP, cosine, jensen_shannon
from repro.errors import ReproError

pytestmark = pytest.mark.rounding

N, K = 300, 90


def rows(kind: str) -> Tensor:
    """Hard cases, float64 (N, K), each row a distribution."""
    generator = torch.Generator().manual_seed(sum(map(ord, kind)))
    noise = torch.randn(N, K, generator=generator, dtype=torch.float64)
    if kind.startswith("temperature"):
        return (noise / float(kind.split()[1])).softmax(1)
    if kind.startswith("nearly equal"):
        return (noise * float(kind.split()[2])).softmax(1)
    if kind == "one-hot":
        return torch.nn.functional.one_hot(torch.randint(0, K, (N,), generator=generator), K).double()
    if kind == "zeros":
        sparse = noise.exp() * (torch.rand(N, K, generator=generator) < 0.3)
        sparse[:, 0] += 1e-3
        return sparse / sparse.sum(1, keepdim=True)
    if kind == "underflow":
        return (noise * 300).softmax(1)
    if kind == "one outlier":
        same = torch.full((N, K), 1 / K, dtype=torch.float64)
        same[7] = (noise[7] * 3).softmax(0)
        return same
    raise ValueError(kind)


KINDS = [
    *(f"temperature {t}" for t in (0.1, 0.3, 1, 3, 10)), *(f"nearly equal {s}" for s in (1e-4, 1e-3, 1e-2)),
    "one-hot", "zeros", "underflow", "one outlier",
]  # fmt: skip


@cache
def exact(kind: str) -> float:
    return brute_jensen_shannon(rows(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_divergence_of_float64_rows_is_brute_forces(kind):
    assert jensen_shannon(rows(kind).split(17)) == pytest.approx(exact(kind), rel=1e-6)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("nearly equal 0.0001", "nearly equal 0.001")])
def test_divergence_of_float32_rows_above_a_ten_thousandth(kind):
    bound = 2e-6 if exact(kind) > 1e-4 else 1e-5
    assert jensen_shannon(rows(kind).float().split(17)) == pytest.approx(exact(kind), rel=bound)


def test_scipy_agrees_on_every_pair():
    few = rows("temperature 1")[:12]
    pairs = [jensenshannon(a, b) ** 2 for a in few.numpy() for b in few.numpy()]
    assert brute_jensen_shannon(few) == pytest.approx(np.mean(pairs), rel=1e-12)
    assert jensen_shannon([few]) == pytest.approx(np.mean(pairs), rel=1e-6)


def test_the_quadrature_is_as_exact_as_stated_for_any_two_numbers():
    """The error of a pair depends on u = ln(x / y) alone: one scan of u bounds that of any map."""
    u = torch.cat([torch.linspace(1e-3, 60, 60_001, dtype=torch.float64), torch.linspace(60, 700, 2000).double()])
    nodes = STEP * torch.arange(NODES, dtype=torch.float64)
    beta = 1 / (torch.cosh(math.pi * nodes) * (1 + 4 * nodes**2))
    weights = torch.where(nodes > 0, 2 * STEP * beta, STEP * beta)
    # Divided by e^(u/2), which would overflow: |x^(1/2 + i l) - y^(1/2 + i l)|^2 for x = 1, y = e^-u.
    y = torch.exp(-u)
    squares = 1 + y[:, None] - 2 * torch.exp(-u / 2)[:, None] * torch.cos(u[:, None] * nodes)
    exact = torch.log(2 / (1 + y)) + torch.where(y > 0, y * torch.log(2 * y / (1 + y)), 0)
    # Small u: the exact expression cancels; its series is u^2 / 4.
    exact = torch.where(u < 0.02, torch.exp(-u / 2) * (u**2 / 4 + u**4 / 3 / 64 / 2), exact)
    error = ((squares @ weights) / exact - 1)[u > 0.02].abs()
    assert error.max() < 9.7e-7
    assert error.max() > 1e-8  # the scan sees the error, not a cancelled one


def test_identity_map():
    assert jensen_shannon([torch.eye(50, dtype=torch.float64)]) == pytest.approx((1 - 1 / 50) * math.log(2), rel=1e-6)


def test_two_equal_clusters():
    p, q = rows("temperature 1")[:2]
    both = torch.stack([p] * 30 + [q] * 30)
    assert jensen_shannon([both]) == pytest.approx(jensenshannon(p, q) ** 2 / 2, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_identical_rows_are_zero(dtype):
    same = rows("temperature 1")[:1].to(dtype).expand(40, K).contiguous()
    assert jensen_shannon([same]) == pytest.approx(0, abs=1e-12)
    assert cosine([same]).mean == pytest.approx(0, abs=1e-30)


@pytest.mark.parametrize("measure", [jensen_shannon, lambda blocks: cosine(blocks).mean])
class TestInvariance:
    made = rows("temperature 0.3")

    def test_order_of_rows(self, measure):
        order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
        assert measure([self.made[order]]) == pytest.approx(measure([self.made]), rel=1e-12)

    @pytest.mark.parametrize("size", [1, 7, 64, 1000])
    def test_blocks(self, measure, size):
        assert measure(self.made.split(size)) == pytest.approx(measure([self.made]), rel=1e-12)

    def test_the_whole_set_twice(self, measure):
        assert measure([self.made, self.made]) == pytest.approx(measure([self.made]), rel=1e-12)

    def test_columns_of_zeros(self, measure):
        wider = torch.nn.functional.pad(self.made, (0, 5))
        assert measure([wider]) == pytest.approx(measure([self.made]), rel=1e-12)

    def test_one_row_twice_is_another_set(self, measure):
        more = torch.cat([self.made, self.made[:1]])
        assert measure([more]) != pytest.approx(measure([self.made]), rel=1e-5)

    def test_a_block_dropped_is_another_set(self, measure):
        assert measure([self.made[17:]]) != pytest.approx(measure([self.made]), rel=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_cosine_is_brute_forces(scale, offset):
    vectors = offset + scale * torch.randn(60, 33, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert cosine(vectors.split(7)).mean == pytest.approx(brute_cosine(vectors), rel=1e-12)


def test_vectors_of_any_length_and_zero_vectors():
    vectors = torch.randn(20, 9, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    vectors *= torch.logspace(-280, 280, 20, dtype=torch.float64)[:, None]
    unit = vectors / vectors.abs().amax(1, keepdim=True)
    assert cosine([vectors]).mean == pytest.approx(brute_cosine(unit), rel=1e-12)
    unit[[0, 5]] = 0
    found = cosine(unit.split(3))
    assert found.zeros == 2
    assert found.mean == pytest.approx(brute_cosine(unit), rel=1e-12)
    assert cosine([torch.zeros(3, 4)]) == cosine([torch.zeros(1, 4)] * 3)


def test_opposite_vectors():
    v = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])
    assert cosine([v]).mean == pytest.approx(0.5)  # two of the four ordered pairs are 1, two are 0


@pytest.mark.parametrize(
    ("blocks", "says"),
    [
        ([], "no rows"),
        ([torch.ones(2, 4)], "does not sum to 1"),
        ([torch.tensor([[1.5, -0.5]])], "negative"),
        ([torch.tensor([[math.nan, 1.0]])], "negative or undefined"),
        ([torch.full((2, 4), 0.25, dtype=torch.bfloat16)], "too few digits"),
    ],
)
def test_what_is_no_set_of_distributions(blocks, says):
    with pytest.raises(ReproError, match=says):
        jensen_shannon(blocks)


def test_a_generator_that_is_used_up_is_noticed():
    with pytest.raises(ReproError, match="not the same when iterated again"):
        jensen_shannon(block for block in rows("temperature 1").split(30))


@pytest.mark.parametrize("kind", ["temperature 1", "nearly equal 0.01", "underflow"])
def test_a_devices_large_tile_gives_the_same(kind, monkeypatch):
    """What counts on a CPU is its cache, so that its tile is small whatever the map: its bits never change."""
    made = rows(kind)
    assert divergence._choose_tile(torch.device("cpu")) == (64, 1024)
    assert divergence._choose_tile(torch.device("cuda")) == divergence._LARGE_TILE
    on_cpu = jensen_shannon([made])
    monkeypatch.setattr(divergence, "_TILE", {})
    for tile in ((4096, 8192), (100, 40)):
        monkeypatch.setattr(divergence, "_LARGE_TILE", tile)
        assert jensen_shannon([made]) == pytest.approx(on_cpu, rel=1e-12)

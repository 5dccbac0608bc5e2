"""Matrix products: each operator by hand, random equations and shapes by enumeration and by torch's own counter."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import random
import sys
import warnings
from decimal import Decimal

import numpy as np
import pytest
import samples
import torch
import torch.nn.functional as F
import typer
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from repro import paper
from repro.cli.complexity import command
from repro.complexity import count, tree
from repro.complexity.contractions import count_chain_products, count_einsum_products
from repro.records import Store
from repro.rendering import counts


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def products(function, *shapes, device="meta", dtype=None):
    counted = count(Function(function), tuple(torch.zeros(shape, device=device, dtype=dtype) for shape in shapes))
    assert not any("matmul" in name or "einsum" in name for name in counted.uncounted)
    return counted.macs


def products_of_torch(function, *shapes):
    """What torch executes, by its own counter, told of the kernels that it passes over: mul, mv, dot."""

    def elements(*args, out_shape, **kwargs):
        return 2 * math.prod(out_shape)

    def first(shape, *args, **kwargs):
        return 2 * math.prod(shape)

    aten = torch.ops.aten
    mapping = {aten.mul: elements, aten.mv: first, aten.dot: first}
    if function is F.scaled_dot_product_attention:
        del mapping[aten.mul]  # by which it scales the query
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        function(*(torch.zeros(shape, device="meta") for shape in shapes))
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def write_into(operator, *shape):
    return lambda *inputs: operator(*inputs, out=torch.empty(*shape, device=inputs[0].device))


def autocast(operator):
    def call(*inputs):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return operator(*inputs)

    return call


BY_HAND = {
    "baddbmm": (torch.baddbmm, [(2, 3, 5), (2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
    "baddbmm, broadcast": (torch.baddbmm, [(1,), (2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
    "baddbmm_": (lambda c, a, b: c.baddbmm_(a, b), [(2, 3, 5), (2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
    "addbmm": (torch.addbmm, [(3, 5), (2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
    "addbmm_": (lambda c, a, b: c.addbmm_(a, b), [(3, 5), (2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
    "addmm": (torch.addmm, [(5,), (3, 4), (4, 5)], 3 * 4 * 5),
    "addmm_": (lambda c, a, b: c.addmm_(a, b), [(3, 5), (3, 4), (4, 5)], 3 * 4 * 5),
    "addmm out": (write_into(torch.addmm, 3, 5), [(5,), (3, 4), (4, 5)], 3 * 4 * 5),
    "addmv": (torch.addmv, [(3,), (3, 4), (4,)], 3 * 4),
    "addmv_": (lambda c, a, b: c.addmv_(a, b), [(3,), (3, 4), (4,)], 3 * 4),
    "mv": (torch.mv, [(3, 4), (4,)], 3 * 4),
    "mv out": (write_into(torch.mv, 3), [(3, 4), (4,)], 3 * 4),
    "mm out": (write_into(torch.mm, 3, 5), [(3, 4), (4, 5)], 3 * 4 * 5),
    "bmm out": (write_into(torch.bmm, 2, 3, 5), [(2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
    "matmul out": (write_into(torch.matmul, 3, 5), [(3, 4), (4, 5)], 3 * 4 * 5),
    "baddbmm out": (write_into(torch.baddbmm, 2, 3, 5), [(1,), (2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
    "@": (lambda a, b: a @ b, [(3, 4), (4, 5)], 3 * 4 * 5),
    "autocast": (autocast(lambda a, b: (a @ b) @ F.linear(b.t(), a)), [(3, 4), (4, 5)], 60 + 60 + 45),
    "dot": (torch.dot, [(4,), (4,)], 4),
    "vdot": (torch.vdot, [(4,), (4,)], 4),
    "vecdot": (torch.linalg.vecdot, [(2, 4), (2, 4)], 8),
    "vecdot, broadcast, dim": (lambda a, b: torch.linalg.vecdot(a, b, dim=0), [(4, 1), (4, 5)], 20),
    "inner": (torch.inner, [(2, 6, 3), (4, 3)], 2 * 6 * 4 * 3),
    "inner, number": (torch.inner, [(), (4, 3)], 12),
    "outer": (torch.outer, [(2,), (3,)], 6),
    "ger": (torch.ger, [(2,), (3,)], 6),
    "addr": (torch.addr, [(2, 3), (2,), (3,)], 6),
    "addr_": (lambda c, a, b: c.addr_(a, b), [(2, 3), (2,), (3,)], 6),
    "kron": (torch.kron, [(2, 3), (4, 5)], 120),
    "tensordot": (lambda a, b: torch.tensordot(a, b, dims=2), [(2, 3, 4), (3, 4, 5)], 2 * 3 * 4 * 5),
    "tensordot, dims": (lambda a, b: torch.tensordot(a, b, ([0, 2], [1, 0])), [(2, 3, 4), (4, 2, 5)], 3 * 2 * 4 * 5),
    "tensordot, negative": (lambda a, b: torch.tensordot(a, b, ([-1], [-2])), [(2, 3), (3, 4)], 24),
    "tensordot, none": (lambda a, b: torch.tensordot(a, b, dims=0), [(2, 3), (4, 5)], 120),
    "tensordot, broadcast": (lambda a, b: torch.tensordot(a, b, dims=1), [(2, 1), (3, 4)], 2 * 4),
    "tensordot out": (write_into(lambda a, b, out: torch.tensordot(a, b, 1, out=out), 2, 4), [(2, 3), (3, 4)], 24),
    # 10 x 100 x 5, then 10 x 5 x 50; from the right it were 75,000
    "chain_matmul": (torch.chain_matmul, [(10, 100), (100, 5), (5, 50)], 7500),
    "multi_dot": (lambda *m: torch.linalg.multi_dot(m), [(10, 100), (100, 5), (5, 50)], 7500),
    "multi_dot of two": (lambda *m: torch.linalg.multi_dot(m), [(2, 3), (3, 4)], 24),
    "multi_dot of vectors": (lambda *m: torch.linalg.multi_dot(m), [(3,), (3, 4), (4,)], 12 + 3),
    "multi_dot out": (write_into(lambda *m, out: torch.linalg.multi_dot(m, out=out), 2, 4), [(2, 3), (3, 4)], 24),
    "matrix_power": (lambda a: torch.linalg.matrix_power(a, 5), [(2, 3, 3)], 2 * 3 * 27),
    "matrix_power 0": (lambda a: torch.matrix_power(a, 0), [(3, 3)], 0),
    # 7 rows: each of 5 outputs multiplies a 3 x 4 weight by one row, and the 4 sums by the other
    "bilinear": (F.bilinear, [(7, 3), (7, 4), (5, 3, 4)], 7 * 5 * (3 * 4 + 4)),
    "attention, broadcast": (F.scaled_dot_product_attention, [(1, 2, 3, 4), (5, 2, 7, 4), (5, 2, 7, 6)], 210 * (4 + 6)),
    "attention, grouped": (
        lambda q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True),
        [(1, 4, 3, 5), (1, 2, 7, 5)],
        4 * 3 * 7 * 10,
    ),
    "einsum, issue's": (lambda a, b: torch.einsum("ij,jk->ik", a, b), [(1, 1_040_502), (1_040_502, 1)], 1_040_502),
    "einsum, elementwise": (lambda a, b: torch.einsum("ij,ij->ij", a, b), [(3, 4), (3, 4)], 12),
    "einsum, sum": (lambda a: torch.einsum("ij->i", a), [(3, 4)], 0),
    "einsum, trace": (lambda a: torch.einsum("ii->", a), [(4, 4)], 0),
    "einsum, diagonal": (lambda a, b: torch.einsum("ii,i->i", a, b), [(4, 4), (4,)], 4),
    "einsum, implicit": (lambda a, b: torch.einsum("ba,cb", a, b), [(2, 3), (4, 2)], 24),
    "einsum, ellipsis": (lambda a, b: torch.einsum("...ij,...jk->...ik", a, b), [(5, 1, 2, 3), (7, 3, 4)], 35 * 24),
    "einsum, ellipsis summed": (lambda a, b: torch.einsum("...i,i->i", a, b), [(5, 3), (3,)], 3),
    "einsum, sublists": (lambda a, b: torch.einsum(a, [0, 1], b, [1, 2], [0, 2]), [(2, 3), (3, 4)], 24),
    "einsum, list": (lambda a, b: torch.einsum("ij,jk", [a, b]), [(2, 3), (3, 4)], 24),
    # what only the first has is summed before it is multiplied
    "einsum, summed first": (lambda a, b: torch.einsum("ij,jk->k", a, b), [(9, 3), (3, 4)], 12),
    "einsum, three": (lambda *x: torch.einsum("ij,jk,kl->il", *x), [(2, 3), (3, 4), (4, 5)], 24 + 40),
    # the path of opt_einsum, as torch.einsum hands it on: the last two first, then an outer product
    "einsum, path": (
        lambda *x: torch._VF.einsum("ab,bc,cd,de", list(x), path=[2, 3, 0, 2, 0, 1]),
        [(2, 3), (3, 4), (4, 5), (5, 6)],
        4 * 5 * 6 + 2 * 3 * 4 * 6 + 2 * 3 * 4 * 6,
    ),
    "conv_tbc": (torch.conv_tbc, [(7, 2, 3), (3, 3, 4), (4,)], 5 * 2 * 4 * 9),
    "conv1d, no batch": (F.conv1d, [(3, 7), (4, 3, 3)], 4 * 5 * 9),
    "conv2d same, no batch": (lambda x, w: F.conv2d(x, w, padding="same"), [(3, 5, 6), (4, 3, 3, 3)], 4 * 30 * 27),
    "conv_transpose1d": (lambda x, w: F.conv_transpose1d(x, w, stride=2), [(2, 4, 5), (4, 3, 3)], 2 * 4 * 5 * 9),
    "conv_transpose2d, no batch": (F.conv_transpose2d, [(4, 5, 6), (4, 3, 2, 2)], 4 * 30 * 12),
    "conv_transpose3d, groups": (
        lambda x, w: F.conv_transpose3d(x, w, stride=2, output_padding=1, groups=2),
        [(1, 4, 2, 3, 4), (4, 3, 2, 2, 2)],
        4 * 24 * 24,
    ),
}


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize(("function", "shapes", "expected"), BY_HAND.values(), ids=BY_HAND)
def test_products_by_hand(function, shapes, expected, device):
    assert products(function, *shapes, device=device) == expected


#: Operators whose kernels torch's counter does not know, and one whose scaling of the query it would take for products.
UNSEEN = {
    "addbmm", "addbmm_", "addmm_", "addmv", "addmv_", "addr", "addr_", "baddbmm_", "bilinear", "conv_tbc", "mv out",
    "vdot", "attention, grouped",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in BY_HAND if name not in UNSEEN])
def test_torch_executes_as_many(name):
    function, shapes, expected = BY_HAND[name]
    assert products_of_torch(function, *shapes) == expected


def test_bilinear_layers_need_what_the_equation_needs():
    shapes = [(7, 3), (5, 3, 4), (7, 4)]
    expected = products_of_torch(lambda *x: torch.einsum("ni,oij,nj->no", *x), *shapes)
    assert products(F.bilinear, shapes[0], shapes[2], shapes[1]) == expected


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_complex_numbers(device):
    """A product of complex numbers is one; a convolution is computed as three of real ones."""
    for function, *shapes in [
        (torch.matmul, (2, 3), (3, 4)),
        (lambda a, b: torch.einsum("ij,jk", a, b), (2, 3), (3, 4)),
    ]:
        assert products(function, *shapes, device=device, dtype=torch.complex64) == 24
    layers = [nn.Conv1d(2, 3, 3, dtype=torch.complex64), nn.ConvTranspose1d(2, 3, 3, dtype=torch.complex64)]
    for layer, macs in zip(layers, (3 * 3 * 3 * 6, 3 * 5 * 2 * 9), strict=True):
        assert count(layer.to(device), torch.zeros(1, 2, 5, dtype=torch.complex64, device=device)).macs == macs


def test_whole_numbers():
    a, b = torch.zeros(32, 16, dtype=torch.int8), torch.zeros(16, 8, dtype=torch.int8)
    assert count(Function(torch._int_mm), (a, b)).macs == 32 * 16 * 8


# -- random equations and shapes --------------------------------------------------------------------------------------


def draw_einsum(draw: random.Random) -> tuple[str, list[tuple[int, ...]]]:
    """Draw an equation of one to four operands, with diagonals, broadcast sizes, ellipses or an implicit output."""
    sizes = {letter: draw.randint(1, 5) for letter in "abcAB"}
    ellipsis = [draw.randint(1, 4) for _ in range(draw.choice([0, 0, 1, 2]))]
    terms, shapes = [], []
    for _ in range(draw.choice([1, 2, 2, 2, 3, 3, 4])):
        letters = [draw.choice(list(sizes)) for _ in range(draw.randint(0 if ellipsis else 1, 3))]
        shape = [1 if draw.random() < 0.1 and letters.count(letter) == 1 else sizes[letter] for letter in letters]
        place = draw.randint(0, len(letters))
        if ellipsis and draw.random() < 0.8:
            dots = [1 if draw.random() < 0.2 else size for size in ellipsis[draw.randint(0, len(ellipsis)) :]]
            letters[place:place], shape[place:place] = ["..."], dots
        elif not letters:
            letters, shape = ["a"], [sizes["a"]]
        terms.append("".join(letters))
        shapes.append(tuple(shape))
    equation = ",".join(terms)
    if draw.random() < 0.3:
        return equation, shapes
    used = sorted({letter for letter in equation if letter.isalpha()})
    output = draw.sample(used, draw.randint(0, len(used)))
    if "..." in equation and draw.random() < 0.8:
        output.insert(draw.randint(0, len(output)), "...")
    return draw.choice(["{}->{}", " {} -> {} "]).format(equation, "".join(output)), shapes


def enumerate_products(equation: str, shapes: list[tuple[int, ...]]) -> int:
    """Count by writing down every product: a set of index values for each pair of operands, from left to right."""
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    terms = []
    for term, shape in zip(inputs.split(","), shapes, strict=True):
        missing = len(shape) - len(term.replace("...", ""))
        terms.append(term.replace("...", "543210"[6 - missing :] if missing else ""))
    joined = "".join(terms)
    if not arrow:
        output = "543210" + "".join(letter for letter in joined if joined.count(letter) == 1)
    output = output.replace("...", "543210")
    # an operand's entries: the values of the indices on which it depends
    tables = [dict(zip(term, shape, strict=True)) for term, shape in zip(terms, shapes, strict=True)]
    sizes = {label: max(table.get(label, 1) for table in tables) for label in joined}
    depends = [{label for label, size in table.items() if size > 1} for table in tables]
    done = depends[0]
    total = 0
    for place, right in enumerate(depends[1:], start=1):
        later = set(output).union(*depends[place + 1 :])
        labels = sorted(label for label in done | right if label in later or (label in done and label in right))
        total += len(set(itertools.product(*(range(sizes[label]) for label in labels))))
        done = {label for label in labels if label in later}
    return total


def test_random_einsum_equations():
    draw = random.Random(18)
    several = 0
    for _ in range(400):
        equation, shapes = draw_einsum(draw)
        expected = enumerate_products(equation, shapes)
        call = lambda *operands, equation=equation: torch.einsum(equation, *operands)  # noqa: E731
        assert count_einsum_products(equation, shapes) == expected, (equation, shapes)
        assert products_of_torch(call, *shapes) == expected, (equation, shapes)
        several += len(shapes) > 2
    assert several > 100


@pytest.mark.parametrize("seed", range(20))
def test_random_einsum_equations_are_traced(seed):
    draw = random.Random(seed)
    equation, shapes = draw_einsum(draw)
    found = count(Function(lambda *operands: torch.einsum(equation, *operands)), tuple(map(torch.zeros, shapes)))
    assert (found.macs, found.paper_flops) == (enumerate_products(equation, shapes),) * 2


def test_random_matmul_shapes():
    draw = random.Random(18)
    for _ in range(60):
        rows, summed, columns = (draw.randint(1, 6) for _ in range(3))
        batch = [draw.randint(1, 4) for _ in range(draw.randint(0, 3))]
        sides = []
        for matrix in ((rows, summed), (summed, columns)):
            part = [1 if draw.random() < 0.3 else size for size in batch[draw.randint(0, len(batch)) :]]
            sides.append((summed,) if draw.random() < 0.25 else (*part, *matrix))
        left, right = sides
        outer = np.broadcast_shapes(left[:-2], right[:-2])
        expected = math.prod(outer) * math.prod(left[-2:]) * math.prod(right[-1:] if len(right) > 1 else ())
        assert products(torch.matmul, left, right) == expected, sides
        assert products_of_torch(torch.matmul, left, right) == expected, sides


def test_random_chains():
    draw = random.Random(18)
    for _ in range(30):
        sizes = [draw.randint(1, 9) for _ in range(draw.randint(3, 6))]
        shapes = list(itertools.pairwise(sizes))
        expected = min_over_orders(tuple(sizes))
        assert count_chain_products(sizes) == expected == products(lambda *m: torch.linalg.multi_dot(m), *shapes)
        assert products_of_torch(lambda *m: torch.linalg.multi_dot(m), *shapes) == expected


def min_over_orders(sizes: tuple[int, ...]) -> int:
    """Try every order: remove one inner size after the other."""
    return min(
        (
            sizes[i - 1] * sizes[i] * sizes[i + 1] + min_over_orders(sizes[:i] + sizes[i + 1 :])
            for i in range(1, len(sizes) - 1)
        ),
        default=0,
    )


def test_powers_as_torch_computes_them():
    for exponent in range(20):
        power = lambda matrix, exponent=exponent: torch.linalg.matrix_power(matrix, exponent)  # noqa: E731
        assert products(power, (3, 3)) == products_of_torch(power, (3, 3))


# -- what is not counted ----------------------------------------------------------------------------------------------


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        return a @ b


def scripted(a, b):
    return a @ b


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it is deprecated
    scripted = torch.jit.script(scripted)


NOT_COUNTED = {
    "aten::lstm": (nn.LSTM(3, 4), [(5, 2, 3)]),
    "aten::gru": (nn.GRU(3, 4), [(5, 2, 3)]),
    "aten::rnn_tanh": (nn.RNN(3, 4), [(5, 2, 3)]),
    "aten::rnn_relu": (nn.RNN(3, 4, nonlinearity="relu"), [(5, 2, 3)]),
    "aten::fft_fft": (Function(torch.fft.fft), [(4, 8)]),
    "aten::stft": (Function(lambda x: torch.stft(x, 8, window=torch.ones(8), return_complex=True)), [(2, 64)]),
    "aten::embedding_bag": (
        Function(lambda i, w, s: F.embedding_bag(i.long(), w, mode="sum", per_sample_weights=s)),
        [(2, 3), (5, 4), (2, 3)],
    ),
    "aten::cdist": (Function(torch.cdist), [(2, 3), (4, 3)]),
    "aten::cov": (Function(torch.cov), [(3, 5)]),
    "aten::linalg_matrix_exp": (Function(torch.linalg.matrix_exp), [(3, 3)]),
    "aten::linalg_pinv": (Function(torch.linalg.pinv), [(3, 4)]),
    "aten::linalg_matrix_power": (Function(lambda a: torch.linalg.matrix_power(torch.eye(3) + a, -2)), [(3, 3)]),
    "aten::matmul": (Function(lambda a, b: a.to_sparse() @ b), [(2, 3), (3, 4)]),
    "aten::_sparse_mm": (Function(lambda a, b: torch.sparse.mm(a.to_sparse(), b)), [(2, 3), (3, 4)]),
    "Tensor.numpy": (Function(lambda x: x + torch.from_numpy(np.linalg.matrix_power(x.numpy(), 2))), [(3, 3)]),
    "Tensor.__array__": (Function(lambda x: x + torch.tensor(np.matmul(x, np.eye(3)))), [(3, 3)]),
    "prim::CallFunction": (Function(scripted), [(2, 3), (3, 4)]),
}


@pytest.mark.parametrize("name", NOT_COUNTED)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_products_that_are_not_counted_are_named(name):
    model, shapes = NOT_COUNTED[name]
    found = count(nn.Sequential(model) if len(shapes) == 1 else model, tuple(map(torch.zeros, shapes)))
    assert found.uncounted[name] == 1
    assert found.macs == found.paper_flops == 0
    assert f"{name} 1 time" in tree.format_text(found, 0, "")
    if len(shapes) == 1 and "::" in name:
        assert found.children[0].uncounted[name] == 1  # in the module that performs it
        assert found.own.uncounted == {}


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_functions_with_a_backward_pass_compute_is_counted(device):
    """They are named all the same: they may call kernels of their own."""
    inputs = torch.zeros(2, 3, device=device), torch.zeros(3, 4, device=device)
    found = count(Function(Product.apply), inputs)
    assert (found.macs, found.uncounted) == (24, {"prim::PythonOp.Product": 1})
    found = count(Function(lambda a, b: checkpoint(torch.matmul, a, b, use_reentrant=True)), inputs)
    assert (found.macs, found.uncounted) == (24, {"prim::PythonOp.CheckpointFunction": 1})


class WithAuxiliaryHead(nn.Module):
    """Computes more than it returns: a head whose output is dropped, and a product that is only compared."""

    def __init__(self):
        super().__init__()
        self.head, self.auxiliary = nn.Linear(4, 5), nn.Sequential(nn.Conv1d(4, 7, 1, bias=False), nn.ReLU())

    def forward(self, x):
        self.auxiliary(x.t())
        torch.mm(x, x.t(), out=torch.empty(3, 3))
        if (x @ x.t()).sum() > 0:
            return x
        return self.head(x)


def test_results_that_are_not_returned_are_counted():
    found = count(WithAuxiliaryHead(), torch.zeros(3, 4))
    head, auxiliary = found.children
    assert (head.macs, auxiliary.macs, found.own.macs) == (3 * 4 * 5, 3 * 4 * 7, 2 * 3 * 3 * 4)
    assert auxiliary.paper_flops == 84 + 21  # its ReLU
    assert found.uncounted == {"aten::sum": 1}


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells_are_linear_layers(cell):
    made = cell(3, 4)
    found = count(made, torch.zeros(2, 3))
    assert found.macs == 2 * (made.weight_ih.numel() + made.weight_hh.numel())


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_encoder_layers_have_no_fast_path_here(device):
    """In evaluation torch may fuse such a layer into one operator, which no handle would know."""
    with torch.device(device):
        found = count(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), torch.zeros(2, 5, 8))
    projections, feed_forward, attention = 10 * 4 * 64, 10 * 2 * 8 * 16, 2 * 2 * 2 * 25 * 4
    assert found.macs == projections + feed_forward + attention


# -- output -----------------------------------------------------------------------------------------------------------


def test_numbers_beyond_two_to_the_53_stay_exact():
    rows, summed, columns = 2**30 + 1, 2**25 + 1, 2**12 + 1
    expected = rows * summed * columns
    assert expected > 2**64
    shapes = ((rows, summed), (summed, columns))
    found = count(Function(torch.matmul), tuple(torch.empty(shape, device="meta") for shape in shapes))
    assert found.macs == found.paper_flops == expected != int(float(expected))
    assert f"{expected:,}" in tree.format_text(found, 0, "")
    assert json.loads(tree.format_json(found, 0))["macs"] == expected
    assert products(lambda a, b: torch.einsum("ij,jk", a, b), *shapes) == expected


def test_tables_and_records_of_numbers_beyond_two_to_the_53(tmp_path):
    number = 2**62 + 12_345_678_901
    for name in paper.load(3).experiments:
        made = samples.count(name, number, 0, macs=number).model_copy(update={"paper_flops": number})
        Store(tmp_path).add_count(made)
    rows = counts.list_rows([3], {made.experiment: made for made in Store(tmp_path).counts().values()})
    for row in json.loads(counts.render(rows, "json")):
        assert (row["params"], row["macs"], row["paper_flops"]) == (number,) * 3
    lines = list(csv.DictReader(io.StringIO(counts.render(rows, "csv"))))
    assert {(line["params"], line["macs"], line["paper_flops"]) for line in lines} == {(str(number),) * 3}
    markdown = counts.render(rows, "md")
    assert f"{number:,}" in markdown
    assert f"{Decimal(number) / 10**9:.3f}" in markdown


FILE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.LSTM(4, 4)
        self.mix = nn.Bilinear(4, 4, 3, bias=False)

    def forward(self, x):
        x = torch.einsum("tbi,tbj->tij", x, x)
        x = torch.baddbmm(x, x, x, out=torch.empty_like(x))
        x, _ = self.recurrent(x)
        return self.mix(x, x), torch.fft.rfft(x)
"""


def test_a_module_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", list(sys.path))
    (tmp_path / "net.py").write_text(FILE)
    app = typer.Typer()
    app.command()(command)
    answer = CliRunner().invoke(app, ["--model", f"{tmp_path}/net.py:Net", "--input", "5x2x4", "--json"])
    data = json.loads(answer.stdout)
    # 5 of 4 x 2 x 4; 5 of 4 x 4 x 4; 20 rows, each of 3 outputs 4 x 4 and 4
    assert data["itself"]["macs"] == 5 * 32 + 5 * 64
    assert {child["name"]: child["macs"] for child in data["children"]} == {"recurrent": 0, "mix": 20 * 3 * 20}
    assert data["macs"] == 480 + 1200
    assert data["uncounted"]["aten::lstm"] == data["uncounted"]["aten::fft_rfft"] == 1

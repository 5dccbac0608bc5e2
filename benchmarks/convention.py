"""How many printed cells each reading of the paper's conventions gives: the evidence in docs/complexity.md.

Run with `python benchmarks/convention.py`; it prints two Markdown tables, of the FLOPs and of the parameters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from functools import cache

from torch import nn

from repro import paper
from repro.complexity import networks
from repro.complexity.convention import MACS, PAPER
from repro.complexity.trace import count_parameters, trace_operations
from repro.detection.torchvision import MaskRCNN
from repro.experiments import get
from repro.models.norm import BatchNorm
from repro.paper import Cell

#: (name, weights of the ingredients, what one G is)
READINGS = [
    ("**as above**", PAPER, 2**30),
    ("G = 10^9", PAPER, 10**9),
    ("MACs, G = 2^30", MACS, 2**30),
    ("MACs, G = 10^9", MACS, 10**9),
    ("2 x MACs, G = 10^9", {name: 2 * weight for name, weight in MACS.items()}, 10**9),
    ("batch norm not counted", PAPER | {"batch_norm": 0}, 2**30),
    ("batch norm 2 per element", PAPER | {"batch_norm": 2}, 2**30),
    ("ReLU not counted", PAPER | {"relu": 0}, 2**30),
    ("ReLU of the RPN not counted", PAPER | {"rpn_relu": -1}, 2**30),
    ("biases not counted", PAPER | {"conv_bias": 0, "deconv_bias": 0}, 2**30),
    ("bias of the transposed convolution not counted", PAPER | {"deconv_bias": 0}, 2**30),
    ("transposed convolution by its MACs", PAPER | {"deconv_output": 0, "deconv": 1}, 2**30),
    ("linear layers by their MACs", PAPER | {"linear": 1, "linear_output": 0}, 2**30),
    ("max-pool not counted", PAPER | {"max_pool": 0}, 2**30),
    ("average pool not counted", PAPER | {"average_pool": 0}, 2**30),
]


def norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, BatchNorm)]


def frozen(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if not parameter.requires_grad]


def background(model: nn.Module) -> int:
    """Parameters of the background's outputs: every class has as many."""
    if not isinstance(model, MaskRCNN):
        return 0
    box, mask = model.roi_heads.box_predictor, model.roi_heads.mask_predictor.mask_fcn_logits
    return (count_parameters(box) + count_parameters(mask)) // box.cls_score.out_features


PARAMETERS: list[tuple[str, Callable[[nn.Module], int]]] = [
    ("**all learnable parameters**", count_parameters),
    (
        "without the frozen stages c1 and c2",
        lambda model: count_parameters(model) - sum(parameter.numel() for parameter in frozen(model)),
    ),
    (
        "without the norm parameters of c1 and c2",
        lambda model: (
            count_parameters(model) - sum(parameter.numel() for parameter in frozen(model) if parameter.dim() == 1)
        ),
    ),
    (
        "without the affine parameters of batch norm",
        lambda model: count_parameters(model) - sum(map(count_parameters, norms(model))),
    ),
    (
        "running statistics added",
        lambda model: (
            count_parameters(model) + sum(buffer.numel() for norm in norms(model) for buffer in norm.buffers())
        ),
    ),
    (
        "80 outputs of the box and mask heads, without background",
        lambda model: count_parameters(model) - background(model),
    ),
]


@cache
def ingredients(name: str) -> Counter[str]:
    """The ingredients of the whole network of that experiment, and the ReLUs of the RPN once more as `rpn_relu`."""
    network = get(name).network
    model = networks.build(network)
    found: Counter[str] = Counter()
    for part, inputs in networks.list_traced_parts(model, network):
        for module, operations in trace_operations(part, inputs).items():
            found += operations.ingredients
            if isinstance(model, MaskRCNN) and module is model.rpn.head.conv[0][1]:
                found["rpn_relu"] += operations.ingredients["relu"]
    return found


def cells(column: str) -> list[tuple[str, Cell]]:
    """(experiment, cell) of every printed cell of a column, in all tables."""
    return [(row.experiment, row.cell(column)) for table in paper.load_all() for row in table.rows if row.cell(column)]


def printed(value: int, unit: int, cell: Cell, rounding: str) -> bool:
    """Whether the cell prints `value` in units of `unit`, rounded that way."""
    digit = Decimal(1).scaleb(-cell.decimals)
    return (Decimal(value) / unit).quantize(digit, rounding) == Decimal(cell.value).quantize(digit)


def print_flops() -> None:
    found = cells("flops")
    print(f"| reading | equal by rounding, of {len(found)} | within one digit | largest difference (G) |")
    print("| :--- | ---: | ---: | ---: |")
    for reading, weights, giga in READINGS:
        equal = within = 0
        largest = 0.0
        for name, cell in found:
            ours = sum(weight * ingredients(name)[ingredient] for ingredient, weight in weights.items())
            equal += printed(ours, giga, cell, ROUND_HALF_UP)
            within += abs(ours / giga - cell.value) <= 10**-cell.decimals
            largest = max(largest, abs(ours / giga - cell.value))
        print(f"| {reading} | {equal} | {within} | {largest:.3f} |")


def print_parameters() -> None:
    found = cells("params")
    models = {name: networks.build(get(name).network) for name in dict.fromkeys(name for name, _ in found)}
    print(f"| reading | baseline of Table 2 | equal by rounding, of {len(found)} | by truncation only | neither |")
    print("| :--- | ---: | ---: | ---: | ---: |")
    for reading, of in PARAMETERS:
        ours = {name: of(model) for name, model in models.items()}
        rounded = [printed(ours[name], 10**6, cell, ROUND_HALF_UP) for name, cell in found]
        truncated = [printed(ours[name], 10**6, cell, ROUND_DOWN) for name, cell in found]
        only = sum(down and not half for half, down in zip(rounded, truncated, strict=True))
        baseline = f"{ours['coco-r50-baseline']:,}"
        print(f"| {reading} | {baseline} | {sum(rounded)} | {only} | {len(found) - sum(rounded) - only} |")


if __name__ == "__main__":
    print_flops()
    print()
    print_parameters()

"""How many printed FLOPs cells each reading of the paper's convention gives: the evidence in docs/complexity.md.

Run with `python benchmarks/convention.py`; it prints a Markdown table.
"""

from __future__ import annotations

import torch

from repro import paper
from repro.complexity import networks, unsupported
from repro.complexity.convention import MACS, PAPER
from repro.complexity.report import tables
from repro.complexity.trace import count
from repro.experiments import get

#: (name, weights of the ingredients, what one G is)
READINGS = [
    ("the paper's convention", PAPER, 2**30),
    ("G = 10^9", PAPER, 10**9),
    ("MACs, G = 2^30", MACS, 2**30),
    ("MACs, G = 10^9", MACS, 10**9),
    ("2 x MACs, G = 10^9", {name: 2 * weight for name, weight in MACS.items()}, 10**9),
    ("batch norm not counted", PAPER | {"batch_norm": 0}, 2**30),
    ("batch norm 2 per element", PAPER | {"batch_norm": 2}, 2**30),
    ("ReLU not counted", PAPER | {"relu": 0}, 2**30),
    ("biases not counted", PAPER | {"conv_bias": 0, "deconv_bias": 0}, 2**30),
    ("bias of the transposed convolution not counted", PAPER | {"deconv_bias": 0}, 2**30),
    ("transposed convolution by its MACs", PAPER | {"deconv_output": 0, "deconv": 1}, 2**30),
    ("linear layers by their MACs", PAPER | {"linear": 1, "linear_output": 0}, 2**30),
    ("max-pool not counted", PAPER | {"max_pool": 0}, 2**30),
    ("average pool not counted", PAPER | {"average_pool": 0}, 2**30),
]


def ingredients(name: str):
    """The ingredients of the whole network of that experiment, from one trace of each of its parts."""
    network = get(name).network
    with torch.device("meta"):
        parts = networks.traceable(networks.build(network), network)
    return sum((count(module, inputs).ingredients for module, inputs in parts[1:]), count(*parts[0]).ingredients)


def main() -> None:
    cells = [
        (row.experiment, row.cell("flops"))
        for number in tables()
        for row in paper.load(number).rows
        if row.cell("flops") and not unsupported(get(row.experiment))
    ]
    counted = {name: ingredients(name) for name in dict.fromkeys(name for name, _ in cells)}
    print(f"| reading | equal by rounding, of {len(cells)} | within one digit | largest difference (G) |")
    print("| :--- | ---: | ---: | ---: |")
    for reading, weights, giga in READINGS:
        equal = within = 0
        largest = 0.0
        for name, cell in cells:
            ours = sum(weight * counted[name][ingredient] for ingredient, weight in weights.items()) / giga
            equal += f"{ours:.{cell.decimals}f}" == f"{cell.value:.{cell.decimals}f}"
            within += abs(ours - cell.value) <= 10**-cell.decimals
            largest = max(largest, abs(ours - cell.value))
        print(f"| {reading} | {equal} | {within} | {largest:.3f} |")


if __name__ == "__main__":
    main()

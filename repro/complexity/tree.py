"""The count of a module with those of its submodules, as text and as plain data. Imports no torch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from repro.complexity.convention import Operations

_HEADER = ("module", "class", "#param", "MACs", "paper FLOPs")
TOTAL = "(total)"  #: in place of a name for the module that was counted
OWN = "(itself)"  #: the line of what a module does and holds outside its submodules


@dataclass(frozen=True)
class Counted:
    """What one forward pass through a module performs, its submodules included, and how many parameters it has.

    A submodule that is called more than once has all its calls; one that two modules share is listed under the first.
    """

    name: str  #: within the module above; "" for the module that was counted
    kind: str  #: its class
    params: int  #: learnable parameters, each once
    operations: Operations
    own_params: int  #: those that belong to no submodule
    own: Operations  #: performed outside the submodules
    children: tuple[Counted, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions, matrix products and linear layers."""
        return self.operations.macs

    @property
    def paper_flops(self) -> int:
        """Operations in the paper's convention; it prints this number divided by 2**30 as "G"."""
        return self.operations.paper_flops

    @property
    def uncounted(self) -> Counter[str]:
        """How often each operator was met that no convention counts (views and copies are not named)."""
        return self.operations.uncounted

    def format_tree(self, depth: int | None = None) -> str:
        """Format a table with a line for each module, down to `depth` levels below this one, all by default.

        The lines below a module add up to its own.
        """
        lines = [_HEADER, *self._format_lines(0, depth)]
        name, kind, *numbers = (max(map(len, column)) for column in zip(*lines, strict=True))
        return "\n".join(
            "  ".join([line[0].ljust(name), line[1].ljust(kind), *map(str.rjust, line[2:], numbers)]) for line in lines
        )

    def _format_lines(self, level: int, depth: int | None) -> Iterator[tuple[str, ...]]:
        indent = "  " * level
        yield indent + (self.name or TOTAL), self.kind, *_format_numbers(self.params, self.operations)
        if depth is None or level < depth:
            for child in self.children:
                yield from child._format_lines(level + 1, depth)
            own = _format_numbers(self.own_params, self.own)
            if self.children and any(number != "0" for number in own):
                yield f"{indent}  {OWN}", "", *own

    def as_data(self, depth: int | None = None) -> dict[str, object]:
        """Return the same for JSON: name, class, params, macs, paper_flops, and `children` and `itself` to `depth`."""
        data = {"name": self.name, "class": self.kind, **_to_data(self.params, self.operations)}
        if depth != 0 and self.children:
            below = None if depth is None else depth - 1
            data["children"] = [child.as_data(below) for child in self.children]
            data["itself"] = _to_data(self.own_params, self.own)
        return data


def format_text(counted: Counted, depth: int, heading: str) -> str:
    """Format what was counted at which size, the tree, and which operators were not counted, how often each."""
    times = (f"{name} {number} time{'s' * (number > 1)}" for name, number in sorted(counted.uncounted.items()))
    return "\n\n".join(
        [
            heading,
            counted.format_tree(depth),
            "MACs: multiply-accumulates of convolutions, matrix products and linear layers; what is not counted "
            "adds nothing.\n"
            "Paper FLOPs: operations in the paper's convention, which prints them in units of 2^30.",
            f"Not counted: {', '.join(times) or 'nothing'}. Views and copies are no operations.",
        ]
    )


def format_json(counted: Counted, depth: int, **about: object) -> str:
    """Format the same as JSON: `about`, the operators that were not counted, and the tree."""
    return json.dumps({**about, "uncounted": counted.uncounted, **counted.as_data(depth)}, indent=1)


def _to_data(params: int, operations: Operations) -> dict[str, object]:
    return {"params": params, "macs": operations.macs, "paper_flops": operations.paper_flops}


def _format_numbers(params: int, operations: Operations) -> tuple[str, str, str]:
    return f"{params:,}", f"{operations.macs:,}", f"{operations.paper_flops:,}"

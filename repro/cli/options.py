"""Options that several verbs share, so that they read and behave the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Table = Annotated[int, typer.Option("--table", min=1, max=5, help="Table of the paper.")]
AnyTable = Annotated[int | None, typer.Option("--table", min=1, max=5, help="One table only; all by default.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Results = Annotated[
    Path, typer.Option("--results", envvar="REPRO_RESULTS", help="Where records, weights and caches are kept.")
]
RESULTS = Path("results")
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", envvar="REPRO_DATA", help="COCO 2017: annotations/, train2017/ and val2017/."),
]
Profile = Annotated[
    str,
    typer.Option("--profile", help="full: the paper's protocol. mini: generated data. auto: full where it can run."),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Precision = Annotated[str, typer.Option("--precision", help="32-true or bf16-mixed.")]
Initial = Annotated[
    str | None,
    typer.Option("--init", help="Initial weights of the full profile: a FILE, or 'random' (recorded as a deviation)."),
]
Iterations = Annotated[
    int | None,
    typer.Option("--iterations", min=1, help="Train for so many iterations only (recorded as a deviation)."),
]


BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        min=1,
        help="Effective batch instead of 16; the learning rate is scaled with it (recorded as a deviation).",
    ),
]
MicroBatch = Annotated[
    int | None,
    typer.Option(
        "--micro-batch",
        min=1,
        help="Images of one forward pass in training, to fit the memory; gradients are accumulated to the "
        "effective batch, but batch norm sees so many images only (recorded as a deviation).",
    ),
]


def one_of(option: str, value: str, allowed: tuple[str, ...]) -> str:
    """`value`, checked.

    Raises:
        ReproError: it is not among those allowed.
    """
    from repro.errors import unknown

    if value not in allowed:
        raise unknown(f"value of {option}", value, allowed)
    return value

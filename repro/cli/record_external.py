"""`repro record-external`: what COCO's evaluation server answered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repro.cli import completion, options
from repro.cli.command_line import describe_command
from repro.cli.streams import print_line


def command(
    experiment: Annotated[
        str,
        typer.Argument(help="Its name; `repro list` prints them all.", autocompletion=completion.complete_experiments),
    ],
    submission: Annotated[Path, typer.Option("--submission", help="The directory that `repro submit` wrote.")],
    metrics: Annotated[
        Path | None, typer.Option("--metrics", help='JSON with the answer: {"ap_box": 45.0, "ap50_box": ...}.')
    ] = None,
    ap_box: Annotated[float | None, typer.Option("--ap-box", help="In percent, like the next five.")] = None,
    ap50_box: Annotated[float | None, typer.Option("--ap50-box")] = None,
    ap75_box: Annotated[float | None, typer.Option("--ap75-box")] = None,
    ap_mask: Annotated[float | None, typer.Option("--ap-mask")] = None,
    ap50_mask: Annotated[float | None, typer.Option("--ap50-mask")] = None,
    ap75_mask: Annotated[float | None, typer.Option("--ap75-mask")] = None,
    results: options.Results = options.RESULTS,
) -> None:
    """Enter the server's answer to a submission as a record, which Table 3(b) then shows as measured by the server.

    The three numbers of a task must be given together; those of the other task can follow later. A new answer for a
    task replaces the earlier one.

    Example: repro record-external coco-x101-cascade-gc-r4 --submission results/submissions/... --metrics answer.json
    """
    from repro.errors import ReproError
    from repro.measuring import server_answer
    from repro.records import Store

    answer = {
        "ap_box": ap_box, "ap50_box": ap50_box, "ap75_box": ap75_box,
        "ap_mask": ap_mask, "ap50_mask": ap50_mask, "ap75_mask": ap75_mask,
    }  # fmt: skip
    given = {name: value for name, value in answer.items() if value is not None}
    if metrics is not None:
        if given:
            raise ReproError("give the metrics in --metrics or one by one, not both")
        given = server_answer.read_metrics(metrics)
    store = Store(results / "records")
    record = server_answer.record_answer(experiment, submission, given, store, command=describe_command())
    for metric in record.metrics:
        print(f"{metric.name:<12} {metric.value:6.2f} {metric.unit}  (n = {metric.n})")
    for deviation in record.deviations:
        print_line(f"deviation: {deviation}")
    print_line(f"record: {store.directory / record.filename}")

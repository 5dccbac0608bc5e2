"""`repro export`: experiments in the forms that other tools take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repro.cli import options
from repro.cli.completion import complete_experiments
from repro.cli.help import Verb, create_group

app = create_group("Write an experiment in the form that another tool takes.")


@app.callback()
def _verbs() -> None:
    """Keeps `detectron2` a verb of its own while it is the only one."""


@app.command("detectron2", cls=Verb)
def detectron2(
    experiment: Annotated[
        str,
        typer.Argument(
            help="An experiment on COCO; `repro list` prints them all.", autocompletion=complete_experiments
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", help="FILE.py to write to; standard output by default.")
    ] = None,
) -> None:
    """Write a LazyConfig file that Detectron2's own tools train and evaluate. Needs Detectron2.

    Example: repro export detectron2 coco-r50-gc-r16 --output gc.py
    """
    from repro import experiments
    from repro.detection import engines
    from repro.errors import ReproError
    from repro.files.outputs import is_stdout, write_output

    chosen = experiments.get(experiment)
    engines.resolve("detectron2")
    from repro.detection.detectron2 import export

    text = export.format_source(chosen)
    if output is None:
        print(text, end="")
        return
    if output.suffix != ".py" and not is_stdout(output):
        raise ReproError(f"--output {output}: Detectron2 reads a LazyConfig from a file whose name ends in .py")
    write_output(output, text)
    options.say_beside(output)(
        f"{output}: train with Detectron2's tools/lazyconfig_train_net.py --config-file {output}"
    )

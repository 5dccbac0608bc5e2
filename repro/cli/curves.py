"""`repro curves`: losses, speed and evaluations of trainings over their iterations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repro.cli import completion, options


def command(
    experiments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[EXPERIMENT]...",
            help="Their names; every one that was trained here by default.",
            autocompletion=completion.complete_experiments,
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            help="Only of this one: full or mini.",
            autocompletion=completion.complete_words("full", "mini"),
        ),
    ] = None,
    results: options.Results = options.RESULTS,
    output: Annotated[
        Path, typer.Option("--output", help="Write to this file: .svg or .png; - is SVG on stdout.")
    ] = Path("curves.svg"),
) -> None:
    """Draw how trainings went, running ones too: losses, gradient, learning rate, speed, evaluations; seeds together.

    Examples:

      repro curves coco-r50-gc-r16 coco-r50-baseline --profile mini

      repro curves --output curves.png
    """
    from repro.errors import ReproError
    from repro.files.outputs import is_stdout, write_output
    from repro.rendering.curves import draw_curves, find_logs, write_png, write_svg

    if profile is not None:
        options.one_of("--profile", profile, ("full", "mini"))
    kind = ".svg" if is_stdout(output) else options.one_of("--output", output.suffix.lower(), (".svg", ".png"))
    logs = find_logs(results, experiments or (), profile)
    missing = [name for name in experiments or () if name not in {log.experiment for log in logs}]
    if missing or not logs:
        raise ReproError(
            f"no training of {', '.join(missing) or 'any experiment'} is logged in {results / 'runs'}: `repro run` "
            "trains one, `repro status` lists what is there"
        )
    figure = draw_curves(logs)
    names = ", ".join(dict.fromkeys(log.experiment for log in logs))
    write_output(output, write_svg(figure, "curves", f"Curves of {names}") if kind == ".svg" else write_png(figure))
    options.say_beside(output)(str(output))

"""`repro figure`: draws Figure 1 or 2 of any network with non-local blocks."""

from __future__ import annotations

from typing import Annotated

import typer

from repro.cli import analysis_options, completion, options
from repro.cli.streams import print_line
from repro.errors import ReproError


def command(
    number: Annotated[int, typer.Argument(min=1, max=2, help="Figure of the paper: 1 or 2.")],
    experiment: Annotated[
        str | None,
        typer.Option(
            "--experiment",
            metavar="NAME|FILE.py:NAME",
            help=options.EXPERIMENT,
            autocompletion=completion.complete_experiments,
        ),
    ] = None,
    model: analysis_options.Model = None,
    weights: analysis_options.Weights = None,
    random: analysis_options.Random = False,
    profile: analysis_options.Profile = "auto",
    seed: analysis_options.Seed = 0,
    images: analysis_options.ImageFiles = None,
    data_root: analysis_options.DataRoot = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=12, help="For Figure 2: draw this many images, the first ones.")
    ] = 6,
    block: Annotated[
        str | None,
        typer.Option("--block", help="Which non-local block to draw, if there are several; the last by default."),
    ] = None,
    device: analysis_options.Device = "auto",
    threads: options.Threads = 1,
    results: options.Results = options.RESULTS,
) -> None:
    """Draw attention maps of query positions as PNG and PDF: Figure 1 of one image, Figure 2 of several.

    For a video, it draws the middle frame of the clip in the middle.

    Figure 2 adds the distances between all positions of a grid, as a matrix and as a distribution.

    Examples:

      repro figure 2 --experiment coco-r50-1nl --profile mini

      repro figure 1 --experiment coco-r50-1nl --random --images photograph.jpg
    """
    count = 1 if number == 1 else limit
    subject, shown, _ = analysis_options.choose(
        experiment, model, weights, random, profile, seed, images, data_root, count, device, threads, results
    )

    from repro.analysis import figures
    from repro.errors import unknown
    from repro.files.outputs import write_output
    from repro.records import cache_key

    panels = []
    for index, name in enumerate(shown.names):
        pixels = shown.pixels(index)
        try:
            observations = {observation.block: observation for observation in subject.observe(pixels)}
            if not observations:
                raise ReproError("the network's function gave no observation")
            wanted = block or list(observations)[-1]
            if wanted not in observations:
                raise unknown("block", wanted, observations)
            panels.append(figures.build_panel(pixels, observations[wanted]))
        except ReproError as error:
            raise ReproError(f"image {name}: {error}") from None
    figure = figures.draw_figure1(panels[0]) if number == 1 else figures.draw_figure2(panels)
    key = cache_key(network=subject.key or subject.name, images=shown.identity, block=block)
    for suffix, content in figures.save(figure).items():
        path = results / "figures" / f"figure{number}.{subject.name}.{key[:12]}.{suffix}"
        write_output(path, content)
        print_line(str(path))
    print_line(f"{subject.name}: {subject.weights}; {shown.source}")

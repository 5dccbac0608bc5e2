"""`repro analyze`: Table 1's statistics of the attention in a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import analysis_options, completion, options
from repro.cli.progress import show_stages
from repro.cli.streams import print_line
from repro.cli.terminal_table import align_columns

if TYPE_CHECKING:
    from repro.analysis.survey import Survey, Value


def command(
    experiment: Annotated[
        str | None,
        typer.Argument(metavar="[EXPERIMENT]", help=options.EXPERIMENT, autocompletion=completion.complete_experiments),
    ] = None,
    model: analysis_options.Model = None,
    weights: analysis_options.Weights = None,
    random: analysis_options.Random = False,
    profile: analysis_options.Profile = "auto",
    seed: analysis_options.Seed = 0,
    images: analysis_options.ImageFiles = None,
    data_root: analysis_options.DataRoot = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, max=10**9, help="Use only this many images or videos, the first ones."),
    ] = None,
    device: analysis_options.Device = "auto",
    threads: options.Threads = 1,
    json: options.Json = False,
    results: options.Results = options.RESULTS,
) -> None:
    """Average the distances between all pairs of positions in each image or clip, as Table 1 does.

    After an interruption, the same command continues. In a network of your own, every submodule with a method
    `attention(x)` counts as a non-local block; it returns the attention map (1, N, M) of the feature map x (1, C, ...).

    Examples:

      repro analyze coco-r50-1nl --profile mini

      repro analyze kinetics-r50-5nl --profile mini

      repro analyze coco-r50-1nl --random --data-root /data/coco --limit 100

      repro analyze --model net.py:build --images photographs/
    """
    subject, shown, hardware = analysis_options.choose(
        experiment, model, weights, random, profile, seed, images, data_root, limit, device, threads, results
    )

    from repro.analysis.survey import survey

    with show_stages(subject.name) as progress:
        surveyed, place = survey(subject, shown, results / "analysis", hardware, progress)
    if json:
        print(surveyed.model_dump_json(indent=1))
        return
    print(_describe(surveyed))
    print_line(f"each image's: {place / 'images.jsonl'}")


def _describe(surveyed: Survey) -> str:
    from repro import paper
    from repro.analysis.survey import load_published

    columns = [
        column for column in paper.STATISTICS if any(column in values for values in surveyed.statistics.values())
    ]
    rows = [("", *(paper.COLUMNS[column].heading for column in columns))]
    for name, values in surveyed.statistics.items():
        rows.append((name, *(_write_value(values.get(column)) for column in columns)))
    if printed := load_published(surveyed.experiment):
        rows.append(("Table 1 prints", *(f"{printed[c]:.3f}" if c in printed else "-" for c in columns)))
        if not surveyed.not_comparable:
            own = surveyed.statistics[surveyed.total]
            rows.append(("difference", *(f"{own[c].mean - printed[c]:+.4f}" if c in printed else "-" for c in columns)))
    lines = [
        f"{surveyed.name}: {surveyed.weights}",
        surveyed.images,
        f"{surveyed.n} looked at, {surveyed.seconds_per_image:.2f} s each; mean and standard error over them"
        if surveyed.n > 1
        else f"one looked at, {surveyed.seconds_per_image:.2f} s",
        *([f"could not be read: {', '.join(surveyed.failed)}"] if surveyed.failed else []),
        "",
        *align_columns(rows),
        "",
    ]
    for name, (fewest, most) in surveyed.positions.items():
        lines.append(f"{name}: {fewest if fewest == most else f'{fewest} to {most}'} query positions in each")
    for name, zeros in surveyed.zeros.items():
        for column, count in zeros.items():
            what = paper.COLUMNS[column].heading
            lines.append(f"{name}, {what}: {count} zero vectors in all; their cosines count as 0")
    if printed and surveyed.not_comparable:
        lines.append(f"Not to be compared with Table 1: {'; '.join(surveyed.not_comparable)}.")
    return "\n".join(lines)


def _write_value(value: Value | None) -> str:
    if value is None:
        return "-"
    error = "" if value.standard_error is None else f" ± {value.standard_error:.2g}"
    return f"{value.mean:.4f}{error}"

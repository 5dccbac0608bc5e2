"""`repro predict`: what a network finds in pictures and videos."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import completion, options
from repro.cli.progress import StageLines
from repro.cli.streams import print_line
from repro.settings import LARGEST_SEED, Device, Profile, Settings

if TYPE_CHECKING:
    from repro.evaluation.predictor import Failed
    from repro.inference.prediction import Found, Ranked
    from repro.planning.trained_weights import TrainedWeights

_OUTPUT = Path("predictions")


def command(
    experiment: Annotated[
        str,
        typer.Argument(metavar="EXPERIMENT", help=options.EXPERIMENT, autocompletion=completion.complete_experiments),
    ],
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE|DIR...", help="Photographs, or videos for a network for clips.")
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="ID|FILE|DIR",
            help="An id of checkpoints.yaml, a file, or a directory that `repro export hub` wrote. Default: what "
            "`repro run` trained in --results.",
            autocompletion=completion.complete_weights,
        ),
    ] = None,
    profile: Annotated[
        str,
        typer.Option(
            "--profile",
            help="full: the paper's network. mini: the small one. auto: as the weights are.",
            autocompletion=completion.complete_words("auto", "full", "mini"),
        ),
    ] = "auto",
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, max=LARGEST_SEED, help="Of what was trained here; the lowest by default."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="Directory for a detector's pictures: boxes and masks, and what its context blocks attend to. "
            "Default: predictions; with --json none are drawn unless this is given.",
        ),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option("--threshold", min=0, max=1, help="Of a detector: draw and list what has at least this score."),
    ] = 0.5,
    device: Annotated[
        str,
        typer.Option(
            "--device", help="auto, cpu or cuda.", autocompletion=completion.complete_words("auto", "cpu", "cuda")
        ),
    ] = "auto",
    threads: options.Threads = 1,
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print JSON on stdout; of a detector all detections, in COCO's results format, masks as RLE."
        ),
    ] = False,
    results: options.Results = options.RESULTS,
) -> None:
    """Find the objects in photographs, or name the five likeliest classes of photographs or videos.

    Inputs are prepared and networks computed as in the evaluation, so that predictions are those of the evaluation.

    Examples:

      repro predict coco-r50-gc-r16 --weights gcnet/r50-syncbn-gc-r16-1x photograph.jpg

      repro predict mine.py:coordinate-attention photographs/ --output drawn

      repro predict kinetics-r50-5nl --profile mini video.mp4 --json
    """
    from repro.errors import ReproError
    from repro.experiments import get, own

    name = own.name_one(experiment)
    if output is not None and get(name).dataset != "coco":
        raise ReproError(f"--output is for what detectors draw, and {name} is none")
    trained, settings = _choose(name, weights, profile, seed, device, threads, results)

    from repro.evaluation.predictor import Failed
    from repro.inference.items import list_items
    from repro.inference.networks import load_given, load_trained
    from repro.inference.prediction import Found, classify, detect

    paths = list_items(get(name), files)
    network = load_trained(trained, settings) if trained else load_given(name, settings, StageLines())
    print_line(f"{name}, profile {network.task.settings.profile}: {network.weights}", file=sys.stderr)
    place = output or (None if json else _OUTPUT)
    detector = network.task.experiment.dataset == "coco"
    predicted = detect(network, paths, attention=place is not None) if detector else classify(network, paths)
    rows: list[dict] = []
    failed: list[Failed] = []
    for one in _watch(predicted, len(paths), json):
        if isinstance(one, Failed):
            failed.append(one)
            continue
        drawn = _draw(one, place, threshold) if isinstance(one, Found) and place is not None else []
        if json:
            rows += one.list_results() if isinstance(one, Found) else [one.as_dict()]
        else:
            for line in _describe(one, threshold, drawn):
                print_line(line)
    if json:
        import json as json_

        print(json_.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False))
    if failed:
        raise ReproError(f"{len(failed)} of {len(paths)} files could not be read: {failed[0].reason}")


def _choose(
    name: str, weights: str | None, profile: str, seed: int | None, device: str, threads: int, results: Path
) -> tuple[TrainedWeights | None, Settings]:
    """Choose what was trained here, or else what `weights` names, and set up the instructions of its profile."""
    from repro.checkpoints import hub_directories
    from repro.detection import engines
    from repro.engine import instructions
    from repro.errors import ReproError
    from repro.planning.trained_weights import find_trained

    asked = options.one_of("--profile", profile, ("auto", "full", "mini"))
    on_device: Device = options.one_of("--device", device, ("auto", "cpu", "cuda"))
    at: Profile | None = None if asked == "auto" else "full" if asked == "full" else "mini"
    trained = None
    if weights is None:
        trained = find_trained(name, results, at, seed)
        at = trained.record.profile
    else:
        if seed is not None:
            raise ReproError("--seed chooses among what was trained here; --weights names other weights")
        exported = hub_directories.find(weights)
        at = at or (exported.exported.profile if exported else "full")
    os.environ.update(instructions.pin(at))  # what follows computes with them
    if at == "mini" and on_device == "auto":
        on_device = "cpu"  # where its networks are trained
    return trained, Settings(
        results, at, weights=weights, engine=engines.resolve("auto"), device=on_device, threads=threads
    )


def _watch(
    predicted: Iterator[Found | Failed] | Iterator[Ranked | Failed], count: int, silent: bool
) -> Iterator[Found | Ranked | Failed]:
    """Hand on what is predicted, and tell how far it is where nothing is printed meanwhile."""
    progress = StageLines()
    for number, one in enumerate(predicted, 1):
        if silent:
            progress("prediction", number, count)
        yield one


def _draw(found: Found, place: Path, threshold: float) -> list[Path]:
    """Write the pictures; their paths."""
    from repro.files.outputs import write_output
    from repro.inference import drawing

    pictures = {place / f"{found.path.name}.detections.png": drawing.draw_detections(found, threshold)}
    if found.attention:
        pictures[place / f"{found.path.name}.attention.png"] = drawing.draw_attention(found, found.attention)
    for path, content in pictures.items():
        write_output(path, content)
    return list(pictures)


def _describe(one: Found | Ranked, threshold: float, drawn: Sequence[Path]) -> Iterator[str]:
    from repro.inference.prediction import Ranked

    if isinstance(one, Ranked):
        yield one.path.name
        for category, score in one.classes:
            yield f"  {score:.4f}  {category.name}"
        return
    found = one.detections
    shown = [(label, score) for label, score in zip(found.labels, found.scores, strict=True) if score >= threshold]
    many = f"{len(shown)} object{'s'[: len(shown) != 1]}"
    yield f"{one.path.name}: {many} with a score of at least {threshold:g}, of {len(found.scores)} detections"
    for label, score in shown:
        yield f"  {score:.4f}  {one.categories[label].name}"
    for path in drawn:
        yield f"  {path}"

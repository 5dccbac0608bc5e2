"""What `analyze` and `figure` let a user choose: a network, its weights, and the images or videos to show it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from repro.cli.completion import complete_weights, complete_words
from repro.cli.options import one_of
from repro.errors import ReproError
from repro.settings import LARGEST_SEED, Settings

if TYPE_CHECKING:
    from repro.analysis.images import Images
    from repro.analysis.subjects import Subject

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="FILE.py:FACTORY",
        help="A network of your own, which a function in a Python file returns; the file is executed.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="ID|FILE|DIR",
        help="Weights of the full profile: an id of checkpoints.yaml, or a file; or a directory that `repro export "
        "hub` wrote, of either profile.",
        autocompletion=complete_weights,
    ),
]
Random = Annotated[bool, typer.Option("--random", help="Random weights, drawn from --seed.")]
Profile = Annotated[
    str,
    typer.Option(
        "--profile",
        help="full: the paper's network. mini: the small one that `repro run` trains. auto: full where --weights, "
        "--images or --data-root is given.",
        autocompletion=complete_words("auto", "full", "mini"),
    ),
]
Seed = Annotated[
    int,
    typer.Option("--seed", min=0, max=LARGEST_SEED, help="Seed of the mini profile's training, or of random weights."),
]
ImageFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--images",
        metavar="DIR|FILE",
        help="Photographs, or videos for a 3-D network, instead of a validation split. Repeatable.",
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        envvar="REPRO_DATA",
        help="The data set of the experiment, or a directory that holds coco/, imagenet/ and kinetics400/.",
    ),
]
Device = Annotated[
    str, typer.Option("--device", help="auto, cpu or cuda.", autocompletion=complete_words("auto", "cpu", "cuda"))
]


def choose(
    experiment: str | None,
    model: str | None,
    weights: str | None,
    random: bool,
    profile: str,
    seed: int,
    images: list[Path] | None,
    data_root: Path | None,
    limit: int | None,
    device: str,
    threads: int,
    results: Path,
) -> tuple[Subject, Images, str]:
    """Choose the network on its device, the images, and the device in words.

    Raises:
        ReproError: options that do not go together, or something is missing or malformed.
    """
    profiles: tuple[Literal["auto", "full", "mini"], ...] = ("auto", "full", "mini")
    devices: tuple[Literal["auto", "cpu", "cuda"], ...] = ("auto", "cpu", "cuda")
    wanted = one_of("--profile", profile, profiles)
    on_device = one_of("--device", device, devices)
    if (experiment is None) == (model is None):
        raise ReproError("name an experiment (`repro list` prints them all), or bring a network with --model, not both")
    if model is not None and (weights is not None or random):
        raise ReproError("--weights and --random are for experiments; the function of --model sets its own weights")
    if weights is not None and random:
        raise ReproError("--weights and --random exclude each other")

    from repro.checkpoints import hub_directories

    exported = None if weights is None else hub_directories.find(weights)
    if wanted == "auto" and exported:
        wanted = exported.exported.profile
    if wanted == "auto":
        wanted = "full" if weights is not None or images or data_root is not None or model else "mini"
    if wanted == "mini" and weights is not None and not exported:
        raise ReproError("--weights belongs to the full profile; mini has the weights that `repro run` trains")

    from repro.analysis import subjects
    from repro.detection import engines
    from repro.engine.devices import describe_hardware, set_up_device
    from repro.experiments import own

    settings = Settings(
        results=results,
        profile=wanted,
        engine=engines.resolve("auto"),
        weights=weights,
        data_root=data_root,
        seed=seed,
        device=on_device,
        threads=threads,
    )
    if experiment is not None:
        experiment = own.name_one(experiment)
    fabric = set_up_device(settings)
    if model is not None:
        subject = subjects.load_user_network(model)
    elif experiment is not None:
        subject = subjects.load_experiment(experiment, settings, random)
    shown = subjects.choose_images(subject, settings, images, limit)
    return subject.to(fabric.device), shown, describe_hardware(fabric)

"""What every verb that measures lets a user choose: its options, and the checked `Settings` that they become."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from repro.cli.options import RESULTS, Results, one_of
from repro.detection import engines
from repro.errors import ReproError
from repro.settings import Settings


def settings(
    profile: Annotated[
        str,
        typer.Option(
            "--profile", help="full: the paper's protocol. mini: generated data. auto: full where it can run."
        ),
    ] = "auto",
    source: Annotated[
        str,
        typer.Option(
            "--source",
            help="Of the full profile: checkpoint evaluates public weights, trained trains here; auto takes the "
            "authors' weights where they released some for the row.",
        ),
    ] = "auto",
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="ID|FILE|ID=FILE|FORMAT=FILE",
            help="Weights to evaluate: an id of checkpoints.yaml, a file, a file that is a copy of an "
            "id's, or a file in a format (torchvision, timm, gcnet-repro, ...).",
        ),
    ] = None,
    results: Results = RESULTS,
    data_root: Annotated[
        Path | None,
        typer.Option(
            "--data-root",
            envvar="REPRO_DATA",
            help="The data set of the experiments, or a directory that holds coco/, imagenet/ and kinetics400/.",
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine", help="What detectors are assembled from: torchvision, detectron2, or auto: this if installed."
        ),
    ] = "auto",
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    devices: Annotated[
        int | None,
        typer.Option(
            "--devices",
            min=1,
            help="Processes that share each experiment: that many CUDA devices, or CPU processes. Default: as torchrun "
            "or Slurm started them, else one.",
        ),
    ] = None,
    precision: Annotated[str, typer.Option("--precision", help="32-true or bf16-mixed.")] = "32-true",
    initial: Annotated[
        str | None,
        typer.Option(
            "--init",
            help="Initial weights of the full profile: a FILE, an id of checkpoints.yaml, or 'random' (recorded as a "
            "deviation). An ImageNet experiment then starts from them instead of its first stage.",
        ),
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option("--iterations", min=1, help="Train for so many iterations only (recorded as a deviation)."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            min=1,
            help="Effective batch instead of the recipe's; the learning rate is scaled with it (recorded as a "
            "deviation).",
        ),
    ] = None,
    micro_batch: Annotated[
        int | None,
        typer.Option(
            "--micro-batch",
            min=1,
            help="Images or clips of one forward pass in training, to fit the memory; gradients are accumulated to the "
            "effective batch, but batch norm sees so many only (recorded). Default: for classifiers what the paper "
            "had on a GPU, for detectors the whole batch.",
        ),
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Classifiers of the full profile through torch.compile (recorded).")
    ] = False,
) -> tuple[Settings, str]:
    """The settings, and in words why this profile.

    Raises:
        ReproError: a value that is not allowed, or options that do not go together.
    """
    one_of("--profile", profile, ("auto", "full", "mini"))
    one_of("--source", source, ("auto", "trained", "checkpoint"))
    one_of("--device", device, ("auto", "cpu", "cuda"))
    one_of("--precision", precision, ("32-true", "bf16-mixed"))
    if weights is not None:
        if source == "trained":
            raise ReproError("--weights names weights to evaluate; --source trained evaluates what it trains")
        source = "checkpoint"
    why = "as asked"
    if profile == "auto":
        profile, why = _choose(data_root, device, source)
    chosen = Settings(
        results=results,
        profile=profile,
        engine=engines.resolve(engine),
        source=source,
        weights=weights,
        data_root=data_root,
        device=device,
        devices=devices,
        precision=precision,
        initial=initial,
        iterations=iterations,
        batch_size=batch_size,
        micro_batch=micro_batch,
        compile=compile,
    )
    if profile == "mini" and chosen.training_options:
        raise ReproError(
            "--init, --iterations, --batch-size and --micro-batch belong to the full profile; mini has its own recipe"
        )
    if profile == "mini" and compile:
        raise ReproError("--compile belongs to the full profile; compiling takes longer than a mini training")
    if profile == "mini" and source == "checkpoint":
        raise ReproError("--source checkpoint and --weights belong to the full profile; nobody has weights of mini's")
    if source == "checkpoint" and chosen.training_options:
        raise ReproError(
            "--init, --iterations, --batch-size and --micro-batch shape a training; checkpoints have had it"
        )
    return chosen, why


def measuring(verb: Callable[..., None], profile: str | None = None) -> Callable[..., None]:
    """A verb that takes `chosen: Settings` and `why: str`, with the options of `settings` in their place.

    typer reads a verb's options from its signature; this writes it, so that the options are told once. A verb of one
    `profile` has no option for it.
    """
    hints, shared = get_type_hints(verb, include_extras=True), get_type_hints(settings, include_extras=True)
    own = [
        parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(verb).parameters.items()
        if name not in ("chosen", "why")
    ]
    common = [
        parameter.replace(annotation=shared[name])
        for name, parameter in inspect.signature(settings).parameters.items()
        if name != "profile" or profile is None
    ]
    ordered = sorted(own + common, key=lambda parameter: parameter.default is not inspect.Parameter.empty)

    def command(**values: Any) -> None:
        given = {parameter.name: values.pop(parameter.name) for parameter in common}
        chosen, why = settings(**({"profile": profile} if profile else {}), **given)
        verb(chosen=chosen, why=why, **values)

    command.__doc__ = verb.__doc__
    command.__signature__ = inspect.Signature([p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in ordered])
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}
    return command


def _choose(data_root: Path | None, device: str, source: str) -> tuple[str, str]:
    if source == "checkpoint":
        return "full", "weights that others trained are of the full profile"
    if data_root is None:
        return "mini", "no data set here: neither --data-root nor REPRO_DATA is set"
    if not data_root.is_dir():
        raise ReproError(f"--data-root {data_root} (or REPRO_DATA) is no directory")
    if device != "cpu":
        import torch

        if torch.cuda.is_available():
            return "full", f"data in {data_root}"
    return "mini", "no CUDA device, and the full schedule would take months on a CPU; --profile full insists"

"""What every verb that measures lets a user choose: its options, and the checked `Settings` that they become."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from repro.cli.completion import complete_weights, complete_words
from repro.cli.help import ASKED, MACHINE, SEEN, TRAINING
from repro.cli.options import RESULTS, Results, one_of
from repro.detection import engines
from repro.engine.cuda import explain_missing_cuda
from repro.engine.log_targets import LogTargets
from repro.errors import ReproError
from repro.experiments import overrides, own, readings
from repro.files.places import is_directory
from repro.settings import (
    MOST_DEVICES,
    MOST_EPOCHS,
    MOST_ITEMS,
    MOST_ITERATIONS,
    MOST_SECONDS,
    DecodeOn,
    Device,
    Precision,
    Profile,
    Settings,
    Source,
)

if TYPE_CHECKING:
    from repro.planning.plan import Step


@dataclass(frozen=True)
class MeasuringOptions:
    """The options of `plan`, `run`, `reproduce` and `submit`, as they were given."""

    profile: Annotated[
        str,
        typer.Option(
            "--profile",
            rich_help_panel=ASKED,
            help="full: the paper's protocol. mini: generated data. auto: full where it can run.",
            autocompletion=complete_words("auto", "full", "mini"),
        ),
    ] = "auto"
    source: Annotated[
        str,
        typer.Option(
            "--source",
            rich_help_panel=ASKED,
            help="Of the full profile: checkpoint evaluates public weights, trained trains here; auto takes the "
            "authors' weights where they released some for the row.",
            autocompletion=complete_words("auto", "trained", "checkpoint"),
        ),
    ] = "auto"
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            rich_help_panel=ASKED,
            metavar="ID|FILE|DIR|ID=FILE|FORMAT=FILE",
            help="Weights to evaluate: an id of checkpoints.yaml, a file, a directory that `repro export hub` wrote, a "
            "file that is a copy of an id's, or a file in a format (torchvision, timm, gcnet-repro, ...). FILE#NAME "
            "takes one of several state dicts in it, such as model_ema.",
            autocompletion=complete_weights,
        ),
    ] = None
    results: Results = RESULTS
    data_root: Annotated[
        Path | None,
        typer.Option(
            "--data-root",
            rich_help_panel=MACHINE,
            envvar="REPRO_DATA",
            help="The data set of the experiments, or a directory that holds coco/, imagenet/ and kinetics400/.",
        ),
    ] = None
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            rich_help_panel=ASKED,
            help="What detectors are assembled from: torchvision, detectron2, or auto (detectron2 if installed, else "
            "torchvision).",
            autocompletion=complete_words("auto", "torchvision", "detectron2"),
        ),
    ] = "auto"
    device: Annotated[
        str,
        typer.Option(
            "--device",
            rich_help_panel=MACHINE,
            help="auto, cpu or cuda.",
            autocompletion=complete_words("auto", "cpu", "cuda"),
        ),
    ] = "auto"
    devices: Annotated[
        int | None,
        typer.Option(
            "--devices",
            rich_help_panel=MACHINE,
            min=1,
            max=MOST_DEVICES,
            help="Processes that share each experiment: that many CUDA devices, or CPU processes. Default: as torchrun "
            "or Slurm started them, else one.",
        ),
    ] = None
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            rich_help_panel=TRAINING,
            help="32-true; tf32 (float32 whose products a GPU makes in TF32) or bf16-mixed, recorded as a departure.",
            autocompletion=complete_words("32-true", "tf32", "bf16-mixed"),
        ),
    ] = "32-true"
    initial: Annotated[
        str | None,
        typer.Option(
            "--init",
            rich_help_panel=TRAINING,
            help="Initial weights of the full profile: a FILE, a DIR that `repro export hub` wrote, an id of "
            "checkpoints.yaml, or 'random' (recorded as a departure). An ImageNet experiment then starts from them "
            "instead of its first stage.",
            autocompletion=complete_weights,
        ),
    ] = None
    iterations: Annotated[
        int | None,
        typer.Option(
            "--iterations",
            rich_help_panel=TRAINING,
            min=1,
            max=MOST_ITERATIONS,
            help="Train for so many iterations only (recorded as a departure).",
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            rich_help_panel=TRAINING,
            min=1,
            max=MOST_ITEMS,
            help="Effective batch instead of the recipe's; the learning rate is scaled with it (recorded as a "
            "deviation).",
        ),
    ] = None
    micro_batch: Annotated[
        int | None,
        typer.Option(
            "--micro-batch",
            rich_help_panel=TRAINING,
            min=1,
            max=MOST_ITEMS,
            help="Images or clips of one forward pass in training, to fit the memory; gradients are accumulated to the "
            "effective batch, but batch norm sees so many only (recorded). Default: for classifiers what the paper "
            "had on a GPU, for detectors the whole batch.",
        ),
    ] = None
    evaluation_batch: Annotated[
        int | None,
        typer.Option(
            "--evaluation-batch",
            rich_help_panel=MACHINE,
            min=1,
            max=MOST_ITEMS,
            help="Images that a detector of the full profile predicts together, of those that are padded to one size: "
            "for a GPU. Detections may differ by rounding (recorded). Default: one.",
        ),
    ] = None
    compile: Annotated[
        bool,
        typer.Option(
            "--compile",
            rich_help_panel=TRAINING,
            help="Networks of the full profile through torch.compile, of detectors the backbone (recorded).",
        ),
    ] = False
    cuda_graphs: Annotated[
        bool,
        typer.Option(
            "--cuda-graphs",
            rich_help_panel=TRAINING,
            help="Record a pass of a classifier's training once, and start it by one call after that: for passes of "
            "few images in bf16. It is compared with an ordinary pass first. Not with --compile (recorded).",
        ),
    ] = False
    decode_on: Annotated[
        str,
        typer.Option(
            "--decode-on",
            rich_help_panel=TRAINING,
            help="What decodes JPEG files in trainings on ImageNet: cpu, or gpu (nvJPEG), where cores are few. "
            "Recorded as a departure, with how far its pixels are from the usual ones.",
            autocompletion=complete_words("cpu", "gpu"),
        ),
    ] = "cpu"
    reading: Annotated[
        list[str] | None,
        typer.Option(
            "--reading",
            rich_help_panel=ASKED,
            metavar="POINT=CHOICE",
            help="Another reading of a point that neither the paper nor its code settles (`repro readings`); for "
            "several points, several times. Recorded, and shown apart from the default's.",
        ),
    ] = None

    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            rich_help_panel=ASKED,
            metavar="PATH=VALUE",
            help="Override a setting of the recipe or the network, as in recipe.learning_rate=0.01; for several "
            "settings, several times. It is then another experiment than the paper's, a row of its own.",
        ),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            rich_help_panel=MACHINE,
            min=0,
            max=256,
            help="Processes that load data ahead, for each that computes; 0: none. Default: up to 32 for a GPU, none "
            "on a CPU.",
        ),
    ] = None
    save_every: Annotated[
        str,
        typer.Option(
            "--save-every",
            rich_help_panel=MACHINE,
            metavar="N|TIME",
            help="Between two saved states of a training: a number of iterations, or a time as in 10m, 90s or 1h.",
        ),
    ] = "50"
    evaluate_every: Annotated[
        int | None,
        typer.Option(
            "--evaluate-every",
            rich_help_panel=SEEN,
            metavar="EPOCHS",
            min=1,
            max=MOST_EPOCHS,
            help="Evaluate a network also while it is trained, after so many epochs and again; for its logs alone, it "
            "is trained to the same bits.",
        ),
    ] = None
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", rich_help_panel=SEEN, help="Log trainings for TensorBoard, too.")
    ] = False
    wandb: Annotated[
        bool,
        typer.Option(
            "--wandb",
            rich_help_panel=SEEN,
            help="Log trainings with Weights & Biases, too; with WANDB_MODE=offline into files.",
        ),
    ] = False
    no_wait: Annotated[
        bool,
        typer.Option(
            "--no-wait",
            rich_help_panel=MACHINE,
            help="Where another process is at work in the same place, do not wait for it: exit code 75, or for one of "
            "several experiments, leave it out.",
        ),
    ] = False

    def settings(self, seed: int = 0, threads: int = 1, elsewhere: bool = False) -> tuple[Settings, str]:
        """The checked settings, and in words why this profile.

        Args:
            elsewhere: it is computed on other machines than this one, which have a GPU if that is needed.

        Raises:
            ReproError: a value that is not allowed, or options that do not go together.
        """
        source: Source = one_of("--source", self.source, ("auto", "trained", "checkpoint"))
        device: Device = one_of("--device", self.device, ("auto", "cpu", "cuda"))
        precision: Precision = one_of("--precision", self.precision, ("32-true", "tf32", "bf16-mixed"))
        decode_on: DecodeOn = one_of("--decode-on", self.decode_on, ("cpu", "gpu"))
        if self.weights is not None:
            if source == "trained":
                raise ReproError("--weights names weights to evaluate; --source trained evaluates what it trains")
            source = "checkpoint"
        profile, why = self._choose_profile(device, source, elsewhere)
        if profile == "mini" and device == "auto":  # a GPU waits for the launches of so small a network, and rounds
            device = "cpu"
        settings = Settings(
            results=self.results,
            profile=profile,
            engine=engines.resolve(self.engine),
            source=source,
            weights=self.weights,
            data_root=self.data_root,
            seed=seed,
            device=device,
            devices=self.devices,
            precision=precision,
            initial=self.initial,
            iterations=self.iterations,
            batch_size=self.batch_size,
            micro_batch=self.micro_batch,
            evaluation_batch=self.evaluation_batch,
            compile=self.compile,
            cuda_graphs=self.cuda_graphs,
            decode_on=decode_on,
            readings=readings.parse(self.reading or []),
            threads=threads,
            workers=self.workers,
            **_parse_interval(self.save_every),
            evaluate_every=self.evaluate_every,
            tensorboard=self.tensorboard,
            wandb=self.wandb,
            wait=not self.no_wait,
        )
        _refuse_contradictions(settings, why)
        LogTargets(tensorboard=self.tensorboard, wandb=self.wandb).require()
        return settings, why

    def name_experiments(self, references: Iterable[str], settings: Settings) -> list[str]:
        """Name the experiments that references stand for, with what --set overrides; files that are named are loaded.

        Raises:
            ReproError: as `own.list_names` and `overrides.override`.
        """
        names = list(dict.fromkeys(name for reference in references for name in own.list_names(reference)))
        if not self.overrides:
            return names
        shaped = (readings.get_experiment(name, settings.profile) for name in names)
        return [overrides.override(experiment, self.overrides).name for experiment in shaped]

    def _choose_profile(self, device: Device, source: Source, elsewhere: bool) -> tuple[Profile, str]:
        asked: Literal["auto", "full", "mini"] = one_of("--profile", self.profile, ("auto", "full", "mini"))
        if asked != "auto":
            return asked, "as asked"
        if source == "checkpoint":
            return "full", "weights that others trained are of the full profile"
        if source == "trained":
            return "full", "--source is of the full profile"
        if self.data_root is None:
            return "mini", "no data set here: neither --data-root nor REPRO_DATA is set"
        if not is_directory(self.data_root):
            raise ReproError(f"--data-root {self.data_root} (or REPRO_DATA) is no directory")
        if device == "cpu":
            return "mini", "--device cpu: the full schedule would take months; --profile full insists"
        if not elsewhere and (missing := explain_missing_cuda()):
            return "mini", (
                f"no CUDA device: {missing}. The full schedule would take months on a CPU; --profile full --device cpu "
                "insists"
            )
        return "full", f"data in {self.data_root}"

    def write(self) -> list[str]:
        """Write what is not a default as words of a command line."""
        hints = get_type_hints(MeasuringOptions, include_extras=True)
        words: list[str] = []
        for field in fields(self):
            value, option = getattr(self, field.name), hints[field.name].__metadata__[0].default
            if value == field.default:
                continue
            if value is True:
                words.append(option)
            for one in value if isinstance(value, list) else [value] if value is not True else []:
                words += [option, str(one)]
        return words


def _parse_interval(text: str) -> dict[str, int]:
    """What of `Settings` says when a training is saved.

    Raises:
        ReproError: it is neither a number of iterations nor a time, or none that is allowed.
    """
    read = re.fullmatch("([0-9]{1,10})([smh]?)", text, re.ASCII)
    number, unit = read.groups() if read else ("0", "")
    if not unit:
        if not 1 <= int(number) <= MOST_ITERATIONS:
            raise ReproError(
                f"--save-every {text}: give a number of iterations from 1 to {MOST_ITERATIONS}, or a time such as 10m"
            )
        return {"save_every": int(number)}
    seconds = int(number) * {"s": 1, "m": 60, "h": 3600}[unit]
    if not 1 <= seconds <= MOST_SECONDS:
        raise ReproError(f"--save-every {text}: a time between 1s and {MOST_SECONDS // 3600}h")
    return {"save_seconds": seconds}


def describe_readings(settings: Settings, steps: Iterable[Step]) -> list[str]:
    """A line for each reading that is not the default one: how many of a plan's experiments follow it."""
    experiments = {step.experiment.name: step.experiment for step in steps}
    lines = []
    for reading in settings.readings:
        touched = sum(reading in experiment.readings for experiment in experiments.values())
        rest = len(experiments) - touched
        lines.append(
            f"reading {readings.write([reading])}: of {touched} of {len(experiments)} experiments, shown below their "
            "rows without a verdict"
            + (f"; it does not touch the other {rest}, which run as the default" if rest else "")
        )
    return lines


def _refuse_contradictions(settings: Settings, why: str) -> None:
    """Refuse options that do not go together.

    Args:
        why: the profile is what it is, in words.

    Raises:
        ReproError: there are some.
    """
    shaped = settings.training_options
    if settings.profile == "mini" and shaped:
        raise ReproError(
            "--init, --iterations, --batch-size and --micro-batch belong to the full profile; mini has its own recipe"
        )
    if settings.profile == "mini" and settings.evaluation_batch:
        raise ReproError(
            "--evaluation-batch belongs to the full profile, and this would run in the mini profile, which predicts "
            f"eight images together: {why}"
        )
    if settings.profile == "mini" and settings.compile:
        raise ReproError("--compile belongs to the full profile; compiling takes longer than a mini training")
    if settings.cuda_graphs and settings.compile:
        raise ReproError("--cuda-graphs and --compile are two ways to have the host start less: leave out one")
    for option, used in (("--decode-on gpu", settings.decode_on == "gpu"), ("--cuda-graphs", settings.cuda_graphs)):
        if used and settings.profile == "mini":
            raise ReproError(f"{option} belongs to the full profile, and this would run in the mini profile: {why}")
        if used and settings.source == "checkpoint":
            raise ReproError(f"{option} is of a training; checkpoints have had it, and evaluations are as ever")
        if used and settings.device == "cpu":
            raise ReproError(f"{option} is of NVIDIA's GPUs, and --device cpu has none: leave out one")
    if settings.profile == "mini" and settings.source == "checkpoint":
        raise ReproError(
            "--source checkpoint and --weights belong to the full profile: networks of the mini profile are measured "
            "by training them. `repro predict` and `repro analyze` take weights of theirs that were exported."
        )
    if settings.source == "checkpoint" and _is_seen(settings):
        raise ReproError("--evaluate-every, --tensorboard and --wandb look at a training; checkpoints have had it")
    if settings.source == "checkpoint" and shaped:
        raise ReproError(
            "--init, --iterations, --batch-size and --micro-batch shape a training; checkpoints have had it"
        )


def _is_seen(settings: Settings) -> bool:
    """Whether something is wished to be seen of a training."""
    return bool(settings.evaluate_every or settings.tensorboard or settings.wandb)


def measuring(verb: Callable[..., None], **fixed: Any) -> Callable[..., None]:
    """Give a verb that takes `chosen: MeasuringOptions` an option for each of their fields.

    Args:
        fixed: fields that this verb does not let a user choose, and their values.
    """
    # `get_type_hints` of a function would hide an option whose default is None in an Optional, on Python 3.10.
    parameters = inspect.signature(verb, eval_str=True).parameters.values()
    own = [parameter for parameter in parameters if parameter.name != "chosen"]
    shared_hints = get_type_hints(MeasuringOptions, include_extras=True)
    shared = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=shared_hints[field.name]
        )
        for field in fields(MeasuringOptions)
        if field.name not in fixed
    ]
    ordered = sorted(own + shared, key=lambda parameter: parameter.default is not inspect.Parameter.empty)

    def command(**values: Any) -> None:
        given = {parameter.name: values.pop(parameter.name) for parameter in shared}
        verb(chosen=MeasuringOptions(**fixed, **given), **values)

    command.__doc__ = verb.__doc__
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # typer reads options from it
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in ordered]
    )
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}
    return command

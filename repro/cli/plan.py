"""`repro plan`: what would run, why, and what it costs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import options
from repro.cli.completion import complete_words
from repro.cli.measuring_options import MeasuringOptions, describe_readings, measuring
from repro.cli.streams import print_line
from repro.errors import ReproError
from repro.experiments import Experiment, is_published, readings
from repro.files.printable import join_words
from repro.settings import MOST_GPUS, MOST_SEEDS, Settings

if TYPE_CHECKING:
    from repro.planning.plan import Step
    from repro.planning.progress import Progress
    from repro.planning.timetable import Timetable


#: A cost in more characters than this, of several steps, is told once.
_LONG = 40


@partial(measuring, no_wait=False)
def command(
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            metavar="N|all",
            help="Table of the paper, or all of them.",
            autocompletion=complete_words("1", "2", "3", "4", "5", "all"),
        ),
    ] = None,
    experiments: options.Experiments = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=MOST_SEEDS, help="Seeds 0..N-1 of every experiment.")] = 1,
    gpus: Annotated[
        int | None,
        typer.Option(
            "--gpus",
            min=1,
            max=MOST_GPUS,
            help="When each step would run on so many H200 GPUs, --devices of them for each; of the full profile.",
        ),
    ] = None,
    json: options.Json = False,
    *,
    chosen: MeasuringOptions,
) -> None:
    """Say for each experiment of a table whether it is measured, ready to run or blocked, and by what.

    It also says how much of the data is on disk, which trainings are running or were interrupted, what is missing to
    train here, and what all of it would cost. Nothing is changed. Where a training of the full profile would be refused
    here, it exits with 2 after the plan; --device cuda plans for another machine.

    Examples:

      repro plan --table 2 --profile full --data-root /data/coco --device cuda

      repro plan --table all --profile mini

      repro plan --experiments mine.py --profile mini --seeds 3

      repro plan --table all --profile full --source trained --device cuda --gpus 64 --devices 8
    """
    from repro import paper
    from repro.planning.plan import plan, rows_by_experiment, select_attention
    from repro.planning.timetable import make_timetable
    from repro.planning.totals import describe_totals
    from repro.verification.own_rows import choose_table

    settings, why = chosen.settings()
    asked = chosen.name_experiments(experiments or [], settings)
    if table == "all":
        numbers = [loaded.number for loaded in paper.load_all()]
    else:
        numbers = [choose_table(asked, None if table is None else options.parse_table(table))]
    published = dict.fromkeys(name for number in numbers for name in paper.load(number).experiments)
    names = asked or chosen.name_experiments(published, settings)
    rows: dict[str, list[str]] = {}
    for number in numbers:
        for name, labels in rows_by_experiment(number).items():
            where = f"Table {number} " if len(numbers) > 1 else ""
            rows.setdefault(name, []).extend(where + label for label in labels)
    attention = frozenset(name for number in numbers for name in select_attention(names, number))
    steps = plan(names, settings, range(seeds), attention)
    timetable = make_timetable(steps, settings, gpus) if gpus else None
    if json:
        import json as json_

        commands = _write_commands(steps, chosen, experiments or [])
        print(
            json_.dumps(
                [_as_json(*pair, rows, settings, timetable) for pair in zip(steps, commands, strict=True)], indent=1
            )
        )
        _refuse_what_is_missing(steps, settings)
        return
    title = f"Table {numbers[0]}" if len(numbers) == 1 else "All tables"
    print(f"{title}, profile {settings.profile} ({why})")
    for line in (*describe_readings(settings, steps), *_describe_surroundings(steps, settings)):
        print_line(line)
    width = max(len(step.experiment.name) for step in steps)
    repeated = _list_repeated([step.cost.words for step in steps])
    for step in steps:
        how = step.weights.id if step.weights else f"seed {step.seed}"
        reading = f"reading {readings.write(step.experiment.readings)}; " if step.experiment.readings else ""
        cost = repeated.get(step.cost.words, step.cost.words)
        print_line(f"  {step.experiment.name:<{width}}  {how}  {step.status:<8}  {reading}{step.reason}; cost: {cost}")
        if progress := _find_progress(step):
            print_line(f"  {'':<{width}}  {progress}")
        if step.cost.h200:
            placement = timetable and timetable.find(step)
            print(f"  {'':<{width}}  {step.cost.h200}{f', {placement}' if placement else ''}")
        what = _describe_dependents(step.needed_by) or _describe_rows(step.experiment, rows)
        print(f"  {'':<{width}}  {what}")
        if settings.profile == "full":
            print(f"  {'':<{width}}  public weights: {_describe_public_weights(step.experiment)}")
    for words, name in repeated.items():
        print(f"{name}: {words}")
    tally = {status: sum(step.status == status for step in steps) for status in ("measured", "ready", "blocked")}
    print(", ".join(f"{count} {status}" for status, count in tally.items()))
    for line in [*describe_totals(steps, settings), *(timetable.describe() if timetable else [])]:
        print(line)
    _refuse_what_is_missing(steps, settings)


def _refuse_what_is_missing(steps: list[Step], settings: Settings) -> None:
    """Refuse what `run` and `reproduce` would refuse, too.

    Raises:
        ReproError: there is no CUDA device for a training of the full profile, with what is missing.
    """
    if missing := _find_missing(steps, settings):
        raise ReproError(
            f"no training of the full profile starts here: {missing}. --device cuda plans for a machine that has it, "
            "--device cpu insists."
        )


def _list_repeated(costs: list[str]) -> dict[str, str]:
    """The long costs that several steps have, each with a short name."""
    several = [words for words in dict.fromkeys(costs) if costs.count(words) > 1 and len(words) > _LONG]
    return {words: f"cost {chr(ord('A') + place)}" for place, words in enumerate(several[:26])}


def _describe_surroundings(steps: list[Step], settings: Settings) -> list[str]:
    """Describe what is here of the data, and what is missing to train."""
    if settings.profile != "full":
        return []
    from repro.files.places import is_directory
    from repro.planning.data_here import count_here

    lines = []
    if settings.data_root is not None and is_directory(settings.data_root):
        for dataset in dict.fromkeys(step.experiment.dataset for step in steps):
            with suppress(ReproError):  # what it says is the reason why steps are blocked
                lines.append(str(count_here(dataset, settings.data_root)))
    if missing := _find_missing(steps, settings):
        lines.append(f"no training of the full profile starts here: {missing}; --device cpu insists")
    return lines


def _find_missing(steps: list[Step], settings: Settings) -> str | None:
    """What is missing here to train, of the first step that has to."""
    return next((reason for step in steps if (reason := _explain_missing(step, settings))), None)


def _explain_missing(step: Step, settings: Settings) -> str | None:
    """Explain what is missing here to train, where a step has to; one that is blocked may lack data besides."""
    from repro.planning.full_size import explain_missing_to_train, explain_missing_to_train_fully

    if step.status == "blocked":
        return explain_missing_to_train_fully(settings) if step.source == "trained" else None
    return explain_missing_to_train(step.order) if step.order and step.status == "ready" else None


def _find_progress(step: Step) -> Progress | None:
    from repro.planning.progress import find_progress
    from repro.planning.work_order import TrainedWork

    return find_progress(step.order) if isinstance(step.order, TrainedWork) and step.record is None else None


def _write_commands(steps: list[Step], chosen: MeasuringOptions, references: list[str]) -> list[str]:
    """Write for each step the command that measures it, as a shell takes it."""
    from repro.experiments import overrides, own

    files = {
        name: place if place.endswith(name) else f"{place}:{name}"
        for place in references
        for name in own.list_names(place)
    }
    commands = []
    for step in steps:
        base = overrides.split_name(step.experiment.name)[0]
        followed = readings.write(step.experiment.readings).split() if step.experiment.readings else None
        fixed = replace(chosen, profile=step.experiment.profile, source=step.source, reading=followed)
        words = ["repro", "run", files.get(base, base), "--seed", str(step.seed), *fixed.write()]
        commands.append(join_words(words))
    return commands


def _describe_rows(experiment: Experiment, rows: dict[str, list[str]]) -> str:
    if not is_published(experiment.name):
        beside = rows.get(experiment.derived_from, [experiment.derived_from])[0]
        source = f", in {experiment.source.name}" if experiment.source else ""
        return f"not published: a row of your own, beside {beside}{source}"
    return f"rows: {', '.join(rows.get(experiment.name, ['none of this table']))}"


def _describe_dependents(by: tuple[str, ...]) -> str:
    return f"no row: {', '.join(by)} start{'s' if len(by) == 1 else ''} from it" if by else ""


def _describe_public_weights(experiment: Experiment) -> str:
    """The weights that others published for an experiment, best first, and whether something stands in their way."""
    from repro.checkpoints import registry

    serving = registry.load().list_serving(experiment.name)
    usable = [f"{entry.id} ({serves.match})" for entry, serves in serving if entry.obstacle is None]
    if hindered := [entry.id for entry, _ in serving if entry.obstacle]:
        usable.append(f"{len(hindered)} with an obstacle (`repro checkpoints list --experiment {experiment.name}`)")
    return ", ".join(usable) or "none"


def _as_json(
    step: Step, command: str, rows: dict[str, list[str]], settings: Settings, timetable: Timetable | None
) -> dict[str, object]:
    progress, placement = _find_progress(step), timetable and timetable.find(step)
    return {
        "experiment": step.experiment.name,
        "readings": dict(step.experiment.readings),
        "source": step.source,
        "weights": step.weights and step.weights.id,
        "seed": step.seed,
        "rows": rows.get(step.experiment.name, []),
        "needed_by": list(step.needed_by),
        "status": step.status,
        "reason": step.reason,
        "cost": step.cost.words,
        "gpu_hours": step.cost.gpu_hours,
        "h200_hours": step.cost.h200 and step.cost.h200.hours,
        "h200_rule": step.cost.h200 and step.cost.h200.rule,
        "scheduled": placement and placement.to_json(),
        "download_bytes": step.cost.download,
        "seconds": step.cost.seconds,
        "progress": progress and asdict(progress),
        "missing_here": _explain_missing(step, settings),
        "command": command,
        "record": step.record.filename if step.record else None,
        "statistics": step.statistics.filename if step.statistics else None,
    }

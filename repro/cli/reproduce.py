"""`repro reproduce`: a table of the paper, from whatever is here to the rendered comparison."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import options
from repro.cli.command_line import describe_command
from repro.cli.completion import complete_words
from repro.cli.measuring_options import MeasuringOptions, describe_readings, measuring
from repro.errors import ReproError
from repro.settings import MOST_SEEDS, describe_place

if TYPE_CHECKING:
    from repro.planning.plan import Step

#: Seeds of each profile unless `--seeds` says otherwise, and why.
_DEFAULT_SEEDS = {
    "mini": (3, "the default of this profile: about the fewest that decide something; --seeds N for others"),
    "full": (1, "the default of this profile: one training of each row, as the paper's; --seeds N for others"),
}


@measuring
def command(
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            metavar="N|all",
            help="Table of the paper; with --on slurm also all of them.",
            autocompletion=complete_words("1", "2", "3", "4", "5", "all"),
        ),
    ] = None,
    experiments: options.Experiments = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            min=1,
            max=MOST_SEEDS,
            help="Seeds 0..N-1 of every experiment, declared before they are run. Default: 3 in the mini profile, 1 in "
            "the full one.",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=0, max=1024, help="Processes side by side; 0: one per core.")] = 0,
    quiet: options.Quiet = False,
    on: Annotated[
        str,
        typer.Option(
            "--on",
            help="Where: here, or as jobs of a cluster by slurm.",
            autocompletion=complete_words("here", "slurm"),
        ),
    ] = "here",
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            "--slurm",
            metavar="FILE.toml|KEY=VALUE",
            help="What jobs ask for: partition, account, qos, gpus, cpus, memory, time, nodes, modules, setup, "
            "container ... Repeatable. Default: slurm.toml, if it is there.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --on slurm: print the scripts, and submit nothing.")
    ] = False,
    *,
    chosen: MeasuringOptions,
) -> None:
    """Count the full-size networks, measure every experiment of the table, verify it and render it.

    Writes tables/table{N}.md, .tex and .csv in the directory of results. Exits with 1 when a cell is off, a record is
    not what it says, or an experiment failed. Interrupted, the same command goes on; what is measured is not measured
    again.

    Examples:

      repro reproduce --table 2 --seeds 3

      repro reproduce --experiments mine.py --experiments coco-r50-baseline --seeds 3

      repro reproduce --table all --seeds 3 --on slurm --slurm partition=gpu --slurm gpus=8 --dry-run
    """
    from repro import complexity, paper
    from repro.cli.console import TextConsole
    from repro.cli.hypotheses import write_answers
    from repro.experiments import get
    from repro.files.locks import Busy
    from repro.measuring import runner
    from repro.measuring.seeds import declare_seeds
    from repro.planning.full_size import refuse_to_train_for_months
    from repro.planning.plan import plan, select_attention
    from repro.rendering import ending, tables
    from repro.verification.integrity import admit
    from repro.verification.judgement import verify_all
    from repro.verification.own_rows import choose_table

    away = options.one_of("--on", on, ("here", "slurm")) == "slurm"
    if not away and (slurm or dry_run or table == "all"):
        raise ReproError("--slurm, --dry-run and --table all belong to --on slurm")
    settings, why = chosen.settings(elsewhere=away)
    if away:
        from repro.cli.fleet import give_devices, submit_steps
        from repro.jobs.cluster import read_cluster

        cluster = read_cluster(slurm or [])
        settings = give_devices(settings, cluster)
    console = TextConsole()

    def say(text: str) -> None:
        if not quiet:
            console.print(text, markup=False, highlight=False, soft_wrap=True)

    asked = chosen.name_experiments(experiments or [], settings)
    if table == "all":
        tables_ = paper.load_all()
    else:
        tables_ = (paper.load(choose_table(asked, None if table is None else options.parse_table(table))),)
    published = tables_[0]
    of_tables = dict.fromkeys(name for each in tables_ for name in each.experiments)
    names = asked or chosen.name_experiments(of_tables, settings)
    title = f"Table {published.number}" if len(tables_) == 1 else "All tables"
    say(f"{title} of the paper, profile {settings.profile} ({why})")
    if settings.profile == "mini":
        command = f"repro plan --table {table or published.number} --profile full{describe_place(settings.results)}"
        say(f"the full profile is not run: `{command}` says what each row would take")
    number, because = (seeds, "as asked") if seeds else _DEFAULT_SEEDS[settings.profile]
    say(f"{ending.name_seeds(number)} of {', '.join(asked) if asked else 'every experiment'} ({because})")

    def plan_steps() -> list[Step]:
        attention = frozenset(name for each in tables_ for name in select_attention(names, each.number))
        return plan(names, settings, range(number), attention)

    steps = plan_steps()
    for line in describe_readings(settings, steps):
        say(line)
    blocked = [step for step in steps if step.status == "blocked"]
    for reason in dict.fromkeys(step.reason for step in blocked):
        say(f"blocked: {', '.join(step.experiment.name for step in blocked if step.reason == reason)}: {reason}")
    if len(blocked) == len(steps):
        raise ReproError(f"nothing can be measured: {blocked[0].reason}")
    ready = [step for step in steps if step.status == "ready"]
    for step in ready:
        if step.order and not away:
            refuse_to_train_for_months(step.order)
    measured = sum(step.status == "measured" for step in steps)
    say(f"{measured} of {len(steps)} experiments measured already, {len(ready)} to run")
    if away and (dry_run or not ready):
        submit_steps(ready, settings, cluster, say, dry_run)
        return

    started = monotonic()
    say("counting parameters and operations of the full-size networks")
    complexity.count_experiments(map(get, names if asked else dict.fromkeys([*of_tables, *names])), settings.store)
    counted = monotonic()
    if not settings.training_options:
        declare_seeds(steps, settings, number)
    if away:
        submit_steps(ready, settings, cluster, say, dry_run)
        return
    outcomes = runner.run(ready, settings, jobs, describe_command(), console, quiet)
    trained = monotonic()
    paths = tables.write_renderings(published, settings.store, settings.results / "tables")
    verified = verify_all((published,), settings.store)

    made = {outcome.record for outcome in outcomes}
    records = tuple(record for file, record in verified.files.items() if file in made)
    times = (counted - started, trained - counted, monotonic() - trained)
    spent = ending.Spent(*times, records, jobs or runner.count_workers(settings))
    unmeasured = [f"{o.step.experiment.name} seed {o.step.seed}: {o.failure}" for o in outcomes if o.failure]
    failures = ending.list_failures(published, verified, unmeasured)
    answers = ""
    if settings.profile == "mini":
        answers = write_answers(published, admit(settings.store).records, spent.processes)
    end = ending.Ending(published, settings, number, verified, answers, plan_steps(), spent, paths, failures)
    print(f"\n{end}")
    if failures:
        only_busy = len(failures) == sum(outcome.busy for outcome in outcomes)
        raise typer.Exit(Busy.exit_code if only_busy else 1)

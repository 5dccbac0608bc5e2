"""`repro jobs`: what runs on the cluster, what waits, what failed and why."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repro.cli import completion, options
from repro.cli.help import Verb, create_group
from repro.cli.streams import print_line
from repro.errors import ReproError

if TYPE_CHECKING:
    from repro.jobs.states import JobState

app = create_group("Jobs on a cluster: what runs, waits and failed, and why.", verb_without_name=True)


@app.callback(invoke_without_command=True)
def show_jobs(context: typer.Context, results: options.Results = options.RESULTS, json: options.Json = False) -> None:
    """Say of each job that `repro reproduce --on slurm` submitted whether it runs, waits, failed or is done, and why.

    With the path of its log. Slurm is asked once for all of them.

    Example: repro jobs --results results
    """
    if context.invoked_subcommand:
        if json:
            raise ReproError(f"--json is of `repro jobs`, not of `repro jobs {context.invoked_subcommand}`")
        if _is_given(context, "results"):
            context.obj = results
        return
    states = _read_states(results)
    if json:
        import json as json_

        print(json_.dumps([_as_json(state) for state in states], indent=1))
        return
    if not states:
        print(f"no job was submitted for {results}: `repro reproduce --table N --on slurm` does")
        return
    number = Counter(state.state for state in states)
    print(", ".join(f"{count} {state}" for state, count in number.items()))
    width = max(len(state.label) for state in states)
    for state in states:
        again = f"; requeued {_write_times(state.requeued)}" if state.requeued else ""
        died = f", its process died {_write_times(state.died)}" if state.died else ""
        detail = f"  {state.detail}" if state.detail else ""
        print_line(f"{state.state:<11}  {state.label:<{width}}  job {state.submitted.job}{detail}{again}{died}")
        if state.state not in ("measured", "waiting"):
            print_line(f"{'':<11}  {'':<{width}}  log: {state.submitted.log}")


@app.command("cancel", cls=Verb)
def cancel_jobs(
    context: typer.Context,
    experiments: Annotated[
        list[str] | None,
        typer.Argument(help="Whose jobs, of all seeds.", autocompletion=completion.complete_experiments),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All jobs of these results.")] = False,
    results: options.Results = options.RESULTS,
) -> None:
    """Cancel jobs that wait or run. What runs saves its state first, and goes on when it is submitted again.

    Examples:

      repro jobs cancel coco-r50-gc-r16

      repro jobs cancel --all
    """
    from repro.jobs import slurm

    if everything == bool(experiments):
        raise ReproError("name experiments, or use --all")
    if not _is_given(context, "results"):
        results = context.obj or results  # as they stand before the verb
    states = _read_states(results)
    known = {state.entry.read_description().experiment for state in states}
    if experiments and not known:
        raise ReproError(f"no job was submitted for results in {results}")
    for name in experiments or []:
        if name not in known:
            from repro.errors import unknown

            raise unknown("experiment with a job", name, sorted(known))
    chosen = [
        state
        for state in states
        if state.alive and (everything or state.entry.read_description().experiment in (experiments or []))
    ]
    slurm.cancel([state.submitted.job for state in chosen])
    for state in chosen:
        state.entry.add("cancelled", state.submitted.job)
        print_line(f"cancelled: {state.label}, job {state.submitted.job}")
    if not chosen:
        print("nothing waits or runs")


def _read_states(results: Path) -> list[JobState]:
    from repro.jobs import ledger, slurm
    from repro.jobs.states import read_states

    entries = ledger.list_entries(results)
    if entries:
        slurm.refuse_without_slurm()
    return read_states(entries)


def _is_given(context: typer.Context, option: str) -> bool:
    """Whether the option stands in the command line, right behind the verb of this context."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _write_times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def _as_json(state: JobState) -> dict[str, Any]:
    description = state.entry.read_description()
    return {
        "experiment": description.experiment,
        "seed": description.seed,
        "label": state.label,
        "state": state.state,
        "detail": state.detail,
        "job": state.submitted.job,
        "cluster": state.submitted.cluster,
        "submitted": state.submitted.at,
        "requeued": state.requeued,
        "died": state.died,
        "log": state.submitted.log,
    }

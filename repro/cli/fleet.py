"""`repro reproduce --on slurm`: the steps of one table or of all as jobs of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from repro.cli.command_line import describe_command
from repro.errors import ReproError
from repro.files.printable import join_words

if TYPE_CHECKING:
    from repro.jobs.cluster import Cluster
    from repro.jobs.graph import Job
    from repro.planning.plan import Step
    from repro.settings import Settings


def give_devices(settings: Settings, cluster: Cluster) -> Settings:
    """The settings for a cluster on which every job has as many GPUs, each with a process of its own.

    Raises:
        ReproError: other numbers were asked for, or they differ between data sets.
    """
    numbers = {cluster.choose(dataset).gpus for dataset in ("coco", "imagenet", "kinetics")}
    if len(numbers) > 1:
        raise ReproError("the number of gpus is part of how all experiments are planned: let it be the same for all")
    gpus = numbers.pop()
    if gpus and settings.devices not in (None, gpus):
        raise ReproError(f"--devices {settings.devices}, but jobs are given {gpus} GPUs: let the two be equal")
    return replace(settings, devices=gpus) if gpus and gpus > 1 else settings


def submit_steps(
    steps: Sequence[Step], settings: Settings, cluster: Cluster, say: Callable[[str], None], dry_run: bool
) -> None:
    """Submit what is neither measured nor queued nor running, or print the scripts.

    Raises:
        ReproError: there is no Slurm or no submitit, or Slurm refuses a job.
    """
    from repro.files.locks import hold_directory_lock
    from repro.jobs import ledger, slurm
    from repro.jobs.graph import build_jobs
    from repro.jobs.states import read_states
    from repro.jobs.submission import build_batches, submit, write_scripts

    jobs = build_jobs(steps, describe_command())
    _check_devices(jobs, cluster, say)
    if dry_run:
        batches = build_batches(jobs, cluster)
        for number, (batch, script) in enumerate(
            zip(batches, write_scripts(batches, settings.results), strict=True), start=1
        ):
            print(f"# JOB{number}: {', '.join(job.label for job in batch.jobs)}")
            if container := batch.resources.split_container():
                print(
                    f"# each measures in a container: {join_words(container)} python -u -m repro.measuring.worker ..."
                )
            print(script)
        return
    slurm.refuse_without_slurm()
    with hold_directory_lock(ledger.locate(settings.results)):
        wanted = {job.name for job in jobs}
        entries = [entry for entry in ledger.list_entries(settings.results) if entry.name in wanted]
        alive = {state.entry.name: state for state in read_states(entries) if state.alive}
        new = [job for job in jobs if job.name not in alive]
        batches = build_batches(new, cluster, slurm.read_configuration().most_in_array)
        known = {name: state.submitted.job for name, state in alive.items()}
        submit(batches, settings.results, known)
    arrays = sum(len(batch.jobs) > 1 for batch in batches)
    how = f" in {arrays} arrays and {len(batches) - arrays} single jobs" if batches else ""
    say(f"{len(new)} jobs submitted{how}; {len(alive)} wait or run already")
    say(f"`repro jobs --results {settings.results}` says how they are; the same command submits what failed again, and")
    say(f"when all is measured, without --on and with --profile {settings.profile}, verifies and renders a table")


def _check_devices(jobs: Iterable[Job], cluster: Cluster, say: Callable[[str], None]) -> None:
    """Say that jobs ask for no GPU, and refuse what they could not divide among their processes.

    Raises:
        ReproError: a batch cannot be divided.
    """
    from repro.engine.launch import Processes
    from repro.measuring.batch_division import divide_batch
    from repro.planning.work_order import TrainedWork

    on_cpu = False
    for job in jobs:
        settings, resources = job.order.settings, cluster.choose(job.dataset)
        if not isinstance(job.order, TrainedWork):
            continue
        each, nodes = settings.devices or 1, resources.nodes or 1
        divide_batch(job.order.experiment, settings, Processes(each * nodes, each), "cuda")
        at_full_size = settings.profile == "full" and settings.iterations is None
        on_cpu |= at_full_size and settings.device == "auto" and not resources.gpus
    if on_cpu:
        say("jobs ask for no GPU, for `gpus` is not given: where Slurm gives them none, a training at full size fails")

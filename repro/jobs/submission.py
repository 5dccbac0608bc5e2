"""Submits jobs to Slurm through submitit: arrays of what is alike, behind what has to end before."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from repro.errors import ReproError
from repro.jobs import ledger, slurm
from repro.jobs.cluster import Cluster, Resources
from repro.jobs.graph import Job
from repro.jobs.ledger import Description, Entry, Submitted
from repro.jobs.supervision import supervise
from repro.measuring.worker import build_environment

#: Seconds before the time limit at which a job is told to save, unless the user says otherwise.
NOTICE = 120
TIME = "4:00:00"  #: limit of a job, likewise: submitit's own is five minutes
_MOST_IN_ARRAY = 1000  #: Slurm's default


@dataclass(frozen=True)
class Batch:
    """Jobs that are submitted together: alike in what they ask for and in what they wait for."""

    jobs: tuple[Job, ...]
    resources: Resources
    after: tuple[str, ...]  #: names of jobs


def build_batches(jobs: Sequence[Job], cluster: Cluster, most: int = _MOST_IN_ARRAY) -> list[Batch]:
    """Put jobs that are alike and stand side by side together, so that the order of the jobs is that of the queue.

    Args:
        jobs: each behind those that it waits for.
        most: jobs of one array.
    """
    batches = []
    for (dataset, after), side_by_side in groupby(jobs, key=lambda job: (job.dataset, job.after)):
        alike = tuple(side_by_side)
        resources = cluster.choose(dataset)
        batches += [Batch(alike[start : start + most], resources, after) for start in range(0, len(alike), most)]
    return batches


def write_scripts(batches: Sequence[Batch], results: Path) -> list[str]:
    """Write the scripts that `submit` would hand to sbatch; numbers of jobs that are not known yet are as $JOB1."""
    submitit = _import_submitit()
    numbers: dict[str, str] = {}
    scripts = []
    for number, batch in enumerate(batches, start=1):
        parameters = _build_parameters(batch, [numbers[name] for name in batch.after if name in numbers])
        several = {"map_count": len(batch.jobs)} if len(batch.jobs) > 1 else {}
        folder = ledger.locate(results) / "logs"
        command = f"{_python()} -u -m submitit.core._submit {shlex.quote(str(folder))}"
        scripts.append(submitit.slurm.slurm._make_sbatch_string(command, folder, **several, **parameters))
        for task, job in enumerate(batch.jobs):
            numbers[job.name] = f"$JOB{number}_{task}" if several else f"$JOB{number}"
    return scripts


def submit(batches: Sequence[Batch], results: Path, known: Mapping[str, str]) -> list[Entry]:
    """Submit jobs, and write down the number of each at once.

    Args:
        known: numbers of jobs that are in the queue already, by name.

    Raises:
        ReproError: Slurm refuses a job, or a file cannot be written. What was submitted before stays submitted.
    """
    submitit = _import_submitit()
    cluster = slurm.read_configuration().name
    root = ledger.locate(results)
    numbers, entries = dict(known), []
    for batch in batches:
        made = [Entry(root / job.name) for job in batch.jobs]
        for job, entry in zip(batch.jobs, made, strict=True):
            entry.describe(_describe(job, batch.resources))
        executor = submitit.SlurmExecutor(folder=root / "logs", python=_python())
        executor.update_parameters(**_build_parameters(batch, [numbers[n] for n in batch.after if n in numbers]))
        try:
            with executor.batch():
                submitted = [executor.submit(supervise, str(entry.directory)) for entry in made]
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError, OSError) as error:
            said = " ".join(str(error).split())[-400:]
            raise ReproError(f"Slurm does not take {batch.jobs[0].label} and {len(made) - 1} more: {said}") from None
        at = ledger.now()
        for job, entry, its in zip(batch.jobs, made, submitted, strict=True):
            entry.submit(Submitted(job=its.job_id, cluster=cluster, at=at, log=str(its.paths.stdout)))
            numbers[job.name] = its.job_id
        entries += made
    return entries


def _describe(job: Job, resources: Resources) -> Description:
    settings = job.order.settings
    return Description(
        label=job.label,
        experiment=job.order.experiment.name,
        seed=settings.seed,
        task=job.task,
        environment=build_environment(settings),
        nodes=resources.nodes or 1,
        processes=settings.devices or 1,
        container=resources.split_container(),
    )


def _build_parameters(batch: Batch, after: list[str]) -> dict[str, Any]:
    """What submitit makes the script of."""
    wanted, devices = batch.resources, batch.jobs[0].order.settings.devices or 1
    given = {
        "partition": wanted.partition,
        "account": wanted.account,
        "qos": wanted.qos,
        "constraint": wanted.constraint,
        "exclude": wanted.exclude,
        "time": wanted.time or TIME,
        "mem": wanted.memory,
        "nodes": wanted.nodes or 1,
        "ntasks-per-node": devices if (wanted.nodes or 1) > 1 else 1,
        "cpus-per-task": wanted.cpus,
        "gpus-per-node": wanted.gpus or None,
        "signal": f"B:USR1@{wanted.notice or NOTICE}",
        "requeue": True,
        "dependency": f"afterok:{':'.join(after)}" if after else None,
        "kill-on-invalid-dep": "yes" if after else None,
    }
    modules = [f"module load {' '.join(wanted.modules)}"] if wanted.modules else []
    return {
        "job_name": f"repro-{batch.jobs[0].dataset}",
        "additional_parameters": {name: value for name, value in given.items() if value is not None},
        "setup": [*modules, *(wanted.setup or ())],
        "array_parallelism": wanted.parallel or _MOST_IN_ARRAY,
        "stderr_to_stdout": True,
        # The batch script itself becomes the supervisor, which so gets the signal that `B:` sends to the script.
        "use_srun": False,
    }


def _python() -> str:
    """The interpreter, which takes the place of the batch script."""
    return f"exec {shlex.quote(sys.executable)}"


def _import_submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise ReproError(
            "--on slurm submits through submitit, which is not installed: pip install 'gcnet-repro[slurm]'"
        ) from None
    return submitit

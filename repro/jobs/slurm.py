"""What Slurm's own commands are asked: its configuration, its queue, requeueing and cancelling."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from repro.errors import ReproError

_COMMANDS = ("sbatch", "squeue", "scontrol", "scancel", "sinfo", "srun")
_PATIENCE = 120  #: seconds that a command may take
_MOST_ARGUMENTS = 500  #: numbers of jobs in one command
#: The states of a job that ends or has ended.
_OVER = frozenset(
    ["BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "REVOKED", "TIMEOUT"]
)  # fmt: skip


@dataclass(frozen=True)
class Configuration:
    """What of a cluster's configuration matters here."""

    name: str
    most_in_array: int


@dataclass(frozen=True)
class Queued:
    """A job in Slurm's queue."""

    state: str
    reason: str
    nodes: str
    elapsed: str

    @property
    def over(self) -> bool:
        """Whether it will not go on."""
        return self.state in _OVER


def refuse_without_slurm() -> None:
    """Refuse what needs Slurm where it is not installed.

    Raises:
        ReproError: it is not.
    """
    missing = [name for name in _COMMANDS if shutil.which(name) is None]
    if missing:
        raise ReproError(f"Slurm is not installed here: there is no {' and no '.join(missing)}")


def read_configuration() -> Configuration:
    """Read the configuration of the cluster.

    Raises:
        ReproError: Slurm does not answer.
    """
    lines = (line.partition("=") for line in _run("scontrol", "show", "config").splitlines())
    values = {name.strip(): value.strip() for name, _, value in lines}
    return Configuration(values.get("ClusterName", ""), int(values.get("MaxArraySize", "1001")) - 1)


def read_queue() -> dict[str, Queued]:
    """Read the user's jobs that wait or run, and those that Slurm has not forgotten yet, by number; one call for all.

    Raises:
        ReproError: Slurm does not answer.
    """
    listed = _run("squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T|%r|%N|%M")
    rows = (line.split("|") for line in listed.splitlines() if line.count("|") == 4)
    return {number.strip(): Queued(*rest) for number, *rest in rows}


def cancel(numbers: Sequence[str]) -> None:
    """Cancel jobs. That one of them has ended meanwhile is no error.

    Raises:
        ReproError: Slurm does not answer.
    """
    for start in range(0, len(numbers), _MOST_ARGUMENTS):
        _run("scancel", "--quiet", *numbers[start : start + _MOST_ARGUMENTS])


def requeue(number: str, avoid: Collection[str]) -> None:
    """Put a running job back into the queue, to be called in it. From here on Slurm ends it.

    Args:
        avoid: nodes on which it is not to run again, as far as there are enough others.

    Raises:
        ReproError: Slurm does not answer, or does not let it be requeued.
    """
    _run("scontrol", "requeue", number)
    if avoid:
        with suppress(ReproError):  # it is in the queue; that it may be called on the same node again is no failure
            _exclude(number, avoid)


def name_node() -> str:
    """The name that Slurm has for this node, which need not be that of the host."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _exclude(number: str, avoid: Collection[str]) -> None:
    """Exclude nodes for a job that waits, unless too few would be left for it, as far as that can be known."""
    partitions = os.environ.get("SLURM_JOB_PARTITION", "")
    listed = _run("sinfo", "--noheader", "--Node", f"--partition={partitions}", "--states=idle,mix,alloc", "-o", "%N")
    if len(set(listed.split()) - set(avoid)) < int(os.environ.get("SLURM_JOB_NUM_NODES", "1")):
        return
    job = _run("scontrol", "show", "job", number)
    if "Features=(null)" not in job:  # which of the others have the features that it asks for, sinfo does not say
        return
    before = re.search(r"ExcNodeList=(\S+)", job)
    others = [before[1]] if before and before[1] != "(null)" else []  # that the user excluded
    _run("scontrol", "update", f"JobId={number}", f"ExcNodeList={','.join([*others, *sorted(avoid)])}")


def _run(*command: str) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReproError(f"Slurm's {command[0]} does not answer: {error}") from None
    if ran.returncode:
        said = " ".join(ran.stderr.split())[:300] or f"exit code {ran.returncode}"
        raise ReproError(f"Slurm's {' '.join(command[:3])} failed: {said}")
    return ran.stdout

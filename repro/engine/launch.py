"""The processes that measure one experiment together: how many they are, and how they are started.

torchrun and Slurm start the processes of a run themselves; without them `launch` does what torchrun does on one
machine. Imports no torch until processes are started.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from repro.errors import ReproError


class LostProcess(ReproError):
    """One of several processes was killed, or a node or a device failed: tried again elsewhere, it may go well."""


@dataclass(frozen=True)
class Processes:
    """Processes with a device each. `launcher` is None for a single one and for several that are yet to be started."""

    count: int  #: of processes on all nodes
    per_node: int
    rank: int = 0  #: of this process, counted over all nodes
    launcher: Literal["torchrun", "Slurm"] | None = None

    @property
    def to_start(self) -> bool:
        """Whether these are several processes that are yet to be started."""
        return self.count > 1 and self.launcher is None

    def confirm(self, devices: int | None) -> None:
        """Check that `devices`, if given, is the number of processes on each node.

        Raises:
            ReproError: it is not.
        """
        if devices not in (None, self.per_node):
            raise ReproError(
                f"--devices {devices}, but {self.launcher} started {self.per_node} processes on each node: leave "
                "--devices out, or let the two be equal"
            )


def find_processes(devices: int | None) -> Processes:
    """Find the processes of this run: those that torchrun or Slurm started, else `devices` (None: 1) on this machine.

    Raises:
        ReproError: what a launcher sets in the environment is incomplete, contradicts itself, or is left over; or Slurm
            does not tell how many there are on each node.
    """
    if known := _read_torchrun():
        return known
    _refuse_several(_MPI)  # also within a job of Slurm: its mpirun starts a process of a step on each node
    if known := _read_slurm():
        return known
    _refuse_several(_PMI)
    return Processes(count=devices or 1, per_node=devices or 1)


#: What torchrun sets.
_TORCHRUN = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK")
_OTHERS = ("GROUP_RANK", "NODE_RANK")
_RUN_ID = "TORCHELASTIC_RUN_ID"
#: What other launchers say to each of the processes that they start: how many there are, and which one it is.
_MPI = {
    "Open MPI's mpirun": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    "MVAPICH2's mpirun": ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
    "jsrun": ("JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK"),
    "Flux": ("FLUX_JOB_SIZE", "FLUX_TASK_RANK"),
    "horovodrun": ("HOROVOD_SIZE", "HOROVOD_RANK"),
}
#: Likewise, of launchers of which `srun` speaks the language, too: what Hydra (MPICH, Intel MPI) and PRRTE set.
_PMI = {"an mpirun": ("PMI_SIZE", "PMI_RANK", "PMIX_RANK", "MPI_LOCALNRANKS", "MPI_LOCALRANKID")}
#: How the names of variables end that are numbers of processes, not of one of them.
_NUMBERS = ("SIZE", "NRANKS")


def _read_torchrun() -> Processes | None:
    if _RUN_ID not in os.environ:
        _refuse_several({"another launcher": (*_TORCHRUN, *_OTHERS)})
        return None
    leftover = [name for name in (_RUN_ID, *_TORCHRUN, *_OTHERS) if name in os.environ]
    advice = f"Start this by torchrun; if it is not, the variables are left over: unset {' '.join(leftover)}."
    because = f"{_RUN_ID} is set, as torchrun does"
    values = {name: _read_number(name, int(name.endswith(_NUMBERS)), because, advice) for name in _TORCHRUN}
    count, per_node, rank, local_rank = (values[name] for name in _TORCHRUN)
    _require(rank < count, f"RANK is {rank} and WORLD_SIZE {count}", advice)
    _require(local_rank < per_node, f"LOCAL_RANK is {local_rank} and LOCAL_WORLD_SIZE {per_node}", advice)
    _require(count % per_node == 0, f"LOCAL_WORLD_SIZE is {per_node} and WORLD_SIZE {count}", advice)
    return Processes(count, per_node, rank, "torchrun")


def _refuse_several(launchers: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse variables that call this one process of several, where nothing that is known here started it.

    Lightning reads some of them, and each process of another launcher would think that it is alone, and measure all.

    Args:
        launchers: the variables of each.

    Raises:
        ReproError: one is set and says so.
    """
    for launcher, names in launchers.items():
        there = [name for name in names if name in os.environ]
        wrong = [name for name in there if os.environ[name] != str(int(name.endswith(_NUMBERS)))]
        if wrong:
            said = " and ".join(f"{name} is {os.environ[name]!r}" for name in wrong)
            raise ReproError(
                f"{said}, as where {launcher} started several processes, but {_RUN_ID} is not set: torchrun did not "
                f"start this. Start it by torchrun or srun, or with --devices; or unset {' '.join(there)}."
            )


def _read_slurm() -> Processes | None:
    """The tasks of a job step. The shells of batch scripts and interactive jobs are in no step of several tasks."""
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    if interactive or "SLURM_NTASKS" not in os.environ:
        return None
    advice = "Start this by srun; if it is not to be, unset SLURM_NTASKS."
    count = _read_number("SLURM_NTASKS", 1, "", advice)
    if count == 1 or "SLURM_STEP_ID" not in os.environ:
        return None
    if "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise ReproError(f"Slurm started {count} tasks without --ntasks-per-node: say how many run on each node")
    because = f"SLURM_NTASKS is {count} and SLURM_STEP_ID is set, as srun does"
    nodes = _read_number("SLURM_NNODES", 1, because, advice) if "SLURM_NNODES" in os.environ else 1
    rank, per_node = _read_number("SLURM_PROCID", 0, because, advice), count // nodes
    _require(count % nodes == 0, f"SLURM_NNODES is {nodes} and SLURM_NTASKS {count}", advice)
    _require(rank < count, f"SLURM_PROCID is {rank} and SLURM_NTASKS {count}", advice)
    for name, most in (("SLURM_LOCALID", per_node), ("SLURM_NODEID", nodes)):
        number = _read_number(name, 0, because, advice)
        _require(number < most, f"{name} is {number}, and there are {most}", advice)
    return Processes(count, per_node, rank, "Slurm")


def _read_number(name: str, least: int, because: str, advice: str) -> int:
    """Read a whole number of at least `least` from the environment."""
    text = os.environ.get(name)
    if text is None:
        raise ReproError(f"{name} is not set, but {because}. {advice}")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise ReproError(f"{name} is {text!r}, which is no whole number from {least} on. {advice}")
    return int(text)


def _require(right: bool, said: str, advice: str) -> None:
    if not right:
        raise ReproError(f"{said}, which contradict each other. {advice}")


def launch(count: int, arguments: Sequence[str]) -> int:
    """Run `python ARGUMENTS` in `count` processes on this machine until all have ended; if one fails, end the others.

    Nothing is logged meanwhile.

    Returns:
        0, or the exit status of the process that failed, which has reported why.

    Raises:
        LostProcess: a process was killed.
        KeyboardInterrupt: after the processes have been ended.
        SystemExit: likewise, for other signals that end a process.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, launch_agent

    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=count, run_id=f"repro-{os.getpid()}",
        rdzv_backend="c10d", rdzv_endpoint="localhost:0", max_restarts=0,
    )  # fmt: skip
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"  # are sent on
    logging.disable(logging.CRITICAL)  # failures are reported below, or by the process itself
    try:
        launch_agent(config, sys.executable, list(arguments))
    except ChildFailedError as error:
        return _report_failure({rank: failure.exitcode for rank, failure in error.failures.items()}, count)
    except SignalException as ended:
        if ended.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise SystemExit(128 + ended.sigval) from None
    finally:
        logging.disable(logging.NOTSET)
    return 0


def _report_failure(statuses: dict[int, int], count: int) -> int:
    """The exit status of the process that failed first; the others were then ended by SIGTERM."""
    ended = (-signal.SIGTERM, 128 + signal.SIGTERM)
    rank, status = min(statuses.items(), key=lambda item: (item[1] in ended, item[1] < 0, item[0]))
    if status >= 0:
        return status
    why = "killed, perhaps for want of main memory" if status == -signal.SIGKILL else f"ended by signal {-status}"
    raise LostProcess(
        f"process {rank + 1} of {count} was {why}; the others were stopped. What was saved stays, and the same command "
        "goes on from there."
    )

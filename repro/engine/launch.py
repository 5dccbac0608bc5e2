"""The processes that measure one experiment together: how many they are, and how they are started.

torchrun and Slurm start the processes of a run themselves; without them `launch` does what torchrun does on one
machine. Imports no torch until processes are started.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from repro.errors import ReproError


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
        ReproError: Slurm does not tell how many there are on each node.
    """
    return _read_torchrun() or _read_slurm() or Processes(count=devices or 1, per_node=devices or 1)


def _read_torchrun() -> Processes | None:
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    count, per_node, rank = (int(os.environ[name]) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK"))
    return Processes(count, per_node, rank, "torchrun")


def _read_slurm() -> Processes | None:
    """The tasks of a job step. The shells of batch scripts and interactive jobs are in no step of several tasks."""
    count = int(os.environ.get("SLURM_NTASKS", 1))
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    if count == 1 or interactive or "SLURM_STEP_ID" not in os.environ:
        return None
    if "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise ReproError(f"Slurm started {count} tasks without --ntasks-per-node: say how many run on each node")
    nodes = int(os.environ.get("SLURM_NNODES", 1))
    return Processes(count, count // nodes, int(os.environ["SLURM_PROCID"]), "Slurm")


def launch(count: int, arguments: Sequence[str]) -> int:
    """Run `python ARGUMENTS` in `count` processes on this machine until all have ended; if one fails, end the others.

    Nothing is logged meanwhile.

    Returns:
        0, or the exit status of the process that failed, which has reported why.

    Raises:
        ReproError: a process was killed.
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
    rank, status = min(statuses.items(), key=lambda item: (item[1] == -signal.SIGTERM, item[1] < 0, item[0]))
    if status >= 0:
        return status
    why = "killed, perhaps for want of main memory" if status == -signal.SIGKILL else f"ended by signal {-status}"
    raise ReproError(
        f"process {rank + 1} of {count} was {why}; the others were stopped. What was saved stays, and the same command "
        "goes on from there."
    )

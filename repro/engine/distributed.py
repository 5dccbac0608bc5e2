"""Several processes that measure one experiment together, by Lightning Fabric."""

from __future__ import annotations

import logging
import re
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import CheckpointIO, ClusterEnvironment, MixedPrecision, Precision
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import distributed, nn

from repro.engine.cuda import explain_missing_cuda
from repro.engine.launch import LostProcess, Processes
from repro.errors import ReproError
from repro.settings import Precision as Arithmetic

Item = TypeVar("Item")

#: How long a process waits for the others. Only the first evaluates, and it may wait for a run in the same directory.
TIMEOUT = timedelta(minutes=30)
#: Seconds within which the starter of the processes ends all of them when one has failed.
GRACE = 5.0

# Where Slurm is installed, each Fabric outside of a job would say so.
warnings.filterwarnings("ignore", "The `srun` command is available on your system but is not used")
# Messages such as "Initializing distributed" are of no use to the user.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)

_ENVIRONMENTS = {None: LightningEnvironment, "torchrun": TorchElasticEnvironment, "Slurm": SLURMEnvironment}


def choose_accelerator(device: str, processes: Processes) -> str:
    """Choose "cpu" or "cuda": the device asked for, or for "auto" the one that is available.

    Raises:
        ReproError: CUDA devices are asked for or available, but not one for each process of this machine.
    """
    available = torch.cuda.device_count()
    if device == "cpu" or (device == "auto" and available == 0):
        return "cpu"
    if available == 0:
        why = explain_missing_cuda() or "the driver finds one"
        raise ReproError(f"--device cuda: PyTorch finds no CUDA device here: {why}. Use --device cpu.")
    if available < processes.per_node:
        raise ReproError(
            f"{processes.per_node} processes on this machine need a CUDA device each, and PyTorch finds {available}: "
            f"use --devices {available}, or --device cpu"
        )
    return "cuda"


def build_fabric(processes: Processes, accelerator: str, precision: Arithmetic) -> Fabric:
    """Build the Fabric of one process. It is not launched yet: until then nothing waits for the other processes.

    Raises:
        ReproError: several processes are asked for and have not been started.
    """
    if processes.to_start:
        raise ReproError(f"{processes.count} processes are to be started by `repro run`, by torchrun or by Slurm")
    several = processes.count > 1
    plugins: list[Precision | ClusterEnvironment | CheckpointIO] = [
        _ENVIRONMENTS[processes.launcher if several else None]()
    ]
    if precision == "bf16-mixed":
        plugins.append(_InputsAsTheyAre("bf16-mixed", accelerator))
    return Fabric(
        accelerator=accelerator,
        devices=processes.per_node,
        num_nodes=processes.count // processes.per_node,
        strategy=DDPStrategy(timeout=TIMEOUT) if several else "auto",
        precision=None if precision == "bf16-mixed" else "32-true",  # None: the plugin's. TF32 is no type of its own
        plugins=plugins,
    )


class _InputsAsTheyAre(MixedPrecision):
    """Mixed precision that does not convert a network's inputs: bfloat16 would move boxes to multiples of 8 pixels.

    Autocast converts the inputs of its operators.
    """

    def convert_input(self, data: Any) -> Any:
        return data


@contextmanager
def collective_section(processes: Processes) -> Iterator[None]:
    """Let several processes work in step: a failure is reported once, and no process is left waiting.

    The first process reports an error that all of them meet. The others wait for its end, which ends all of them, and
    report their own error only if it does not come.

    Raises:
        LostProcess: another process was lost: it ended, or did not answer within `TIMEOUT`.
    """
    if processes.count == 1:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the process that started these reports Ctrl-C
    try:
        yield
    except ReproError:
        if processes.rank > 0:
            time.sleep(GRACE)
        raise
    except RuntimeError as error:
        if not _is_lost_process(error):
            raise
        time.sleep(GRACE)
        raise LostProcess(
            f"process {processes.rank + 1} of {processes.count} lost another one: it ended, or did not answer within "
            f"{TIMEOUT.seconds // 60} minutes ({_shorten_reason(error)}). What was saved stays, and the "
            "same command goes on from there."
        ) from error
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _is_lost_process(error: RuntimeError) -> bool:
    """Whether communication failed; gloo's errors have no type of their own."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error) or "NCCL" in str(error)


def _shorten_reason(error: RuntimeError) -> str:
    """The first sentence of the message, without the place in the source that gloo puts before it."""
    return re.sub(r"^\[[^]]*\] *", "", str(error).strip().splitlines()[0]).split(". ")[0]


def share_weights(model: nn.Module, fabric: Fabric) -> None:
    """Give every process the state dict that `model` has in the first one."""
    if fabric.world_size == 1:
        return
    state = {name: tensor.cpu() for name, tensor in model.state_dict().items()} if fabric.is_global_zero else {}
    model.load_state_dict(fabric.broadcast(state))


def gather(part: list[Item], fabric: Fabric) -> list[list[Item]]:
    """Gather the `part` of every process in the first one, in the order of the ranks; the others get nothing."""
    if fabric.world_size == 1:
        return [part]
    parts: list[list[Item]] | None = [[] for _ in range(fabric.world_size)] if fabric.is_global_zero else None
    distributed.gather_object(part, parts)
    return parts or []

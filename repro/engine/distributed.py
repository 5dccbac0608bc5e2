"""Several processes that measure one experiment together, through Lightning Fabric."""

from __future__ import annotations

import logging
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import distributed, nn

from repro.engine.launch import Processes
from repro.errors import ReproError

#: How long a process waits for the others. The first alone evaluates, and may wait for a run in the same directory.
TIMEOUT = timedelta(minutes=30)
#: Seconds in which whoever started the processes ends them all when one has failed.
GRACE = 5.0

# "Initializing distributed" and the like: of no use to who started the processes.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)

_ENVIRONMENTS = {None: LightningEnvironment, "torchrun": TorchElasticEnvironment, "Slurm": SLURMEnvironment}


def choose_accelerator(device: str, processes: Processes) -> str:
    """The device asked for, "cpu" or "cuda", or for "auto" the one that there is.

    Raises:
        ReproError: CUDA devices are asked for, or there are some, but not one for each process of this machine.
    """
    available = torch.cuda.device_count()
    if device == "cpu" or (device == "auto" and available == 0):
        return "cpu"
    if available == 0:
        raise ReproError("--device cuda: PyTorch finds no CUDA device here. Use --device cpu, or install a driver.")
    if available < processes.per_node:
        raise ReproError(
            f"{processes.per_node} processes on this machine need a CUDA device each, and PyTorch finds {available}: "
            f"use --devices {available}, or --device cpu"
        )
    return "cuda"


def build_fabric(processes: Processes, accelerator: str, precision: str) -> Fabric:
    """The Fabric of one process, not launched yet: until then nothing waits for the others."""
    if processes.to_start:
        raise ReproError(f"{processes.count} processes are to be started by `repro run`, by torchrun or by Slurm")
    several = processes.count > 1
    plugins = [_ENVIRONMENTS[processes.launcher if several else None]()]
    if precision == "bf16-mixed":
        plugins.append(_Mixed(precision, accelerator))
    return Fabric(
        accelerator=accelerator,
        devices=processes.per_node,
        num_nodes=processes.count // processes.per_node,
        strategy=DDPStrategy(timeout=TIMEOUT) if several else "auto",
        precision=None if precision == "bf16-mixed" else precision,  # a plugin's then
        plugins=plugins,
    )


class _Mixed(MixedPrecision):
    """Mixed precision that leaves a network's inputs as they are: in bfloat16 a box would lie on multiples of 8 pixels.

    Autocast converts what its operators take.
    """

    def convert_input(self, data: Any) -> Any:
        return data


@contextmanager
def collective_section(processes: Processes) -> Iterator[None]:
    """Work that several processes do in step: what stops it is told once, and none is left waiting.

    An error that all of them meet is the first process's to tell. Any other process waits for its end, which ends all
    of them, and tells its own error only if that does not come.

    Raises:
        ReproError: another process was lost: it ended, or did not answer within `TIMEOUT`.
    """
    if processes.count == 1:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is told of by the process that started these
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
        raise ReproError(
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
    state = {name: tensor.cpu() for name, tensor in model.state_dict().items()} if fabric.is_global_zero else None
    model.load_state_dict(fabric.broadcast(state))


def gather(part: list, fabric: Fabric) -> list[list]:
    """In the first process the `part` of every process, in the order of the ranks; nothing in the others."""
    if fabric.world_size == 1:
        return [part]
    parts = [None] * fabric.world_size if fabric.is_global_zero else None
    distributed.gather_object(part, parts)
    return parts or []

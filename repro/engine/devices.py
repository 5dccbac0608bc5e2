"""Devices that networks run on, set up so that the arithmetic is the one that the settings ask for."""

from __future__ import annotations

import os

import torch
from lightning_fabric import Fabric
from torch import nn

from repro.engine import distributed
from repro.engine.arithmetic import choose_tf32
from repro.engine.launch import Processes, find_processes
from repro.settings import Settings

#: Processes that load data ahead for a GPU: an H200 takes what 17 cores read of images, 27 of videos (docs/scale.md).
_MOST_LOADING = 32


def set_up_device(settings: Settings) -> Fabric:
    """Set up one device, with the arithmetic and on as many threads as the settings say.

    Raises:
        ReproError: a CUDA device is asked for and there is none.
    """
    torch.set_num_threads(settings.threads)
    choose_tf32(settings.precision)
    alone = Processes(count=1, per_node=1)
    return distributed.build_fabric(alone, distributed.choose_accelerator(settings.device, alone), settings.precision)


def count_loading_processes(fabric: Fabric, asked: int | None) -> int:
    """Count the processes that load data ahead: several for a GPU; none on the CPU, whose cores they would take.

    Args:
        asked: how many the user wants; None: as many as that.
    """
    if asked is not None:
        return asked
    if fabric.device.type == "cpu":
        return 0
    return max(1, min(_MOST_LOADING, _count_cores()))


def _count_cores() -> int:
    """Count the processor cores that are there for one device: all that a scheduler left, divided among the devices.

    A task of Slurm has cores of its own, as many as --cpus-per-task says, and may see the devices of other tasks.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    own = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if find_processes(None).launcher == "Slurm" and own.isascii() and own.isdigit():
        return min(cores, int(own))
    return cores // torch.cuda.device_count()


def convert_memory_format(model: nn.Module, memory_format: torch.memory_format) -> None:
    """Convert the kernels of `model` to `memory_format`, in place.

    `Module.to` fails at tensors of other ranks, such as those of layer norms.
    """
    rank = {torch.channels_last: 4, torch.channels_last_3d: 5}.get(memory_format)
    for parameter in model.parameters():
        if rank is None or parameter.dim() == rank:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)


def describe_numerics(
    settings: Settings,
    batch: int = 1,
    memory_format: torch.memory_format = torch.contiguous_format,
    accelerator: str = "cpu",
) -> dict[str, str | int | bool]:
    """Describe the arithmetic of an evaluation in batches of `batch`, as records have it."""
    channels_last = memory_format != torch.contiguous_format
    others: dict[str, str | bool] = {
        name: True for name, used in (("compiled", settings.compile), ("channels_last", channels_last)) if used
    }
    if accelerator == "cuda":
        others["repeats"] = "in distribution, not in bits"  # docs/records.md says why
    return {
        "precision": settings.precision,
        "threads": settings.threads,
        "tf32": settings.precision == "tf32",
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "evaluation_batch": batch,
        **others,
    }


def describe_hardware(fabric: Fabric) -> str:
    """Describe the devices in words."""
    several = f"{fabric.world_size} x " if fabric.world_size > 1 else ""
    if fabric.device.type == "cuda":
        return f"{several}{torch.cuda.get_device_name(fabric.device)}, CUDA {torch.version.cuda}"
    return f"{several}cpu"

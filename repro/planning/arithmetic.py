"""What a device cannot execute of what settings ask for. Imports no torch."""

from __future__ import annotations

from repro.errors import ReproError
from repro.experiments import Experiment
from repro.settings import Settings


def check_arithmetic(experiment: Experiment, settings: Settings, accelerator: str) -> None:
    """Refuse what PyTorch cannot execute.

    Args:
        accelerator: "cpu" or "cuda"; "auto", where it is not known yet, refuses nothing.

    Raises:
        ReproError: TF32, nvJPEG, CUDA graphs or, with deformable convolutions, bfloat16 on a CPU.
    """
    if settings.decode_on == "gpu" and experiment.dataset == "imagenet" and accelerator == "cpu":
        raise ReproError("--decode-on gpu decodes with NVIDIA's nvJPEG, and this is computed on a CPU: leave it out")
    if settings.cuda_graphs and experiment.dataset != "coco" and accelerator == "cpu":
        raise ReproError("--cuda-graphs is of NVIDIA's GPUs, and this is computed on a CPU: leave it out")
    if settings.precision == "tf32" and accelerator == "cpu":
        raise ReproError(
            "--precision tf32 is of NVIDIA's GPUs, and this is computed on a CPU, which has no TF32: leave it out, or "
            "use --device cuda"
        )
    if experiment.network.backbone.dcn and settings.precision == "bf16-mixed" and accelerator == "cpu":
        raise ReproError(
            f"{experiment.name} has deformable convolutions, which run in float32 only on a CPU: leave out --precision "
            f"{settings.precision}, or use a GPU"
        )

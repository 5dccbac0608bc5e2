"""Turns the options of the verbs that measure into `Settings`, checked."""

from __future__ import annotations

from pathlib import Path

from repro.cli.options import one_of
from repro.data.layout import annotations_path
from repro.errors import ReproError
from repro.plan import Settings


def settings(
    profile: str,
    results: Path,
    data_root: Path | None,
    device: str,
    precision: str,
    initial: str | None,
    iterations: int | None,
    batch_size: int | None,
    micro_batch: int | None,
) -> tuple[Settings, str]:
    """The settings, and in words why this profile.

    Raises:
        ReproError: a value that is not allowed, or options that do not go together.
    """
    one_of("--profile", profile, ("auto", "full", "mini"))
    one_of("--device", device, ("auto", "cpu", "cuda"))
    one_of("--precision", precision, ("32-true", "bf16-mixed"))
    why = "as asked"
    if profile == "auto":
        profile, why = _choose(data_root, device)
    if profile == "mini" and (initial or iterations or batch_size or micro_batch):
        raise ReproError(
            "--init, --iterations, --batch-size and --micro-batch belong to the full profile; mini has its own recipe"
        )
    return Settings(
        results=results,
        profile=profile,
        data_root=data_root,
        device=device,
        precision=precision,
        initial=initial,
        iterations=iterations,
        batch_size=batch_size,
        micro_batch=micro_batch,
    ), why


def _choose(data_root: Path | None, device: str) -> tuple[str, str]:
    if data_root is None:
        return "mini", "no COCO 2017 here: neither --data-root nor REPRO_DATA is set"
    annotations_path(data_root, "val2017")
    if device != "cpu":
        import torch

        if torch.cuda.is_available():
            return "full", f"COCO 2017 in {data_root}"
    return "mini", "no CUDA device, and the full schedule would take months on a CPU; --profile full insists"

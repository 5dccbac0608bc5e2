"""An iteration of a training in words, for lines and panels. Imports no torch."""

from __future__ import annotations

from repro.engine.log_rows import Iteration


def list_values(at: Iteration) -> list[tuple[str, str]]:
    """What a person is shown of an iteration: (name, value with its unit)."""
    terms = " + ".join(f"{name.removeprefix('loss_')} {value:.3g}" for name, value in at.losses.items())
    return [
        ("loss", f"{sum(at.losses.values()):.4g}" + (f" = {terms}" if len(at.losses) > 1 else "")),
        ("learning rate", f"{at.lr:.3g}"),
        ("gradient norm", f"{at.norm:.3g}"),
        ("speed", f"{at.images / max(at.took, 1e-9):.3g} images/s"),
        ("data wait", f"{100 * at.waited / max(at.took, 1e-9):.0f} %"),
        ("peak memory", f"{at.peak_memory_bytes / 2**30:.2f} GiB"),
        ("device", at.device),
    ]


def describe_iteration(at: Iteration, brief: bool = False) -> str:
    """An iteration in one line; `brief` leaves only loss and speed."""
    if brief:
        return f"loss {sum(at.losses.values()):.3g}, {at.images / max(at.took, 1e-9):.3g} images/s"
    return "; ".join(f"{name} {value}" for name, value in list_values(at))

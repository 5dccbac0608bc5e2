"""The identity of generated data in cache keys. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from repro.experiments import digest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def identify_generated(parameters: DataclassInstance, content: str) -> str:
    """The identity of a generated data set: of what its generator is told to draw, and of what it draws.

    Args:
        content: sha256 of what is drawn (`repro.data.miniature.content`).
    """
    return digest({"parameters": asdict(parameters), "content": content})

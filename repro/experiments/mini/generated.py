"""The identity of generated data in cache keys. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from repro.experiments import digest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

#: Contents that records were measured on before contents were part of keys: there, the parameters alone are the key.
_KEYED_BY_PARAMETERS = {
    "3aa7153c53cc099c3764009045c2b08cdb38f6b1907dd4272642a3118310a4ed",
    "3e29b3b28332d6e85c01caa607d947f7fa72e5c28bee2606d6b90186e147ebc5",
}


def identify_generated(parameters: DataclassInstance, content: str) -> str:
    """The identity of a generated data set: of what its generator is told to draw, and of what it draws.

    Args:
        content: sha256 of what is drawn (`repro.data.miniature.content`).
    """
    if content in _KEYED_BY_PARAMETERS:
        return digest(asdict(parameters))
    return digest({"parameters": asdict(parameters), "content": content})

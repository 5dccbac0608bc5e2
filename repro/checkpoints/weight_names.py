"""How people name weights: an id of the registry or a file, with #PART for one state dict of several."""

from __future__ import annotations

import os
from collections.abc import Collection

#: Of the files that people name weights by, among them those that are refused.
_SUFFIXES = (".pth", ".pt", ".pkl", ".safetensors", ".ckpt", ".bin", ".tar", ".th")


def split_part(text: str) -> tuple[str, str | None]:
    """Split `FILE#PART` into the file and the name of the state dict in it; None where none is named.

    A "#" in the name of a file that exists is part of its name; `text` may begin with "ID=" or "FORMAT=".
    """
    if "#" not in text or os.path.lexists(text) or os.path.lexists(text.partition("=")[2]):
        return text, None
    file, _, part = text.rpartition("#")
    return file, part


def add_part(digest: str, part: str | None) -> str:
    """What stands for one state dict of a file in cache keys."""
    return digest if part is None else f"{digest}#{part}"


def is_path(text: str, ids: Collection[str]) -> bool:
    """Whether `text` means a file, which need not exist, and none of the `ids`."""
    if os.path.isfile(text):
        return True
    if text in ids:
        return False
    directory = text.partition("/")[0] if "/" in text else None
    elsewhere = directory is not None and not any(id_.startswith(f"{directory}/") for id_ in ids)
    return elsewhere or os.path.lexists(text) or text.startswith((".", "~")) or text.endswith(_SUFFIXES)

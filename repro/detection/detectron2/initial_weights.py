"""The recipes' initial weights for Detectron2's own tools, as paths that begin with `repro://`."""

from __future__ import annotations

import io
from typing import IO, Any

import torch
from detectron2.utils.file_io import PathHandler

PREFIX = "repro://"


class InitialWeights(PathHandler):
    """Opens `repro://ID`: the file with that id in `checkpoints.yaml`, under the names of the backbone in `network`.

    It is downloaded and checked as for a training here, with a `ReproError` where that fails.
    """

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **options: Any) -> str:
        from repro.checkpoints import initial_weights, weight_files
        from repro.paths import cache_directory, write_atomically

        id_ = path.removeprefix(PREFIX)
        source = initial_weights.fetch(id_)
        tensors = weight_files.read(source, f"sha256:{initial_weights.get_sha256_prefix(id_)}").tensors
        weights = {f"backbone.bottom_up.{name}": value for name, value in tensors.items() if not name.startswith("fc.")}
        renamed = cache_directory() / "detectron2" / f"{source.stem}.pth"
        buffer = io.BytesIO()
        torch.save({"model": weights}, buffer)
        write_atomically(renamed, buffer.getvalue())
        return str(renamed)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **options: Any) -> IO:
        return open(self._get_local_path(path), mode, buffering)

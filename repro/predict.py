"""Detections of a whole split, kept in shards so that a kill loses at most the images of one."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from lightning_fabric import Fabric

from repro.data.coco import CocoDetection, Detections
from repro.detection.torchvision import MaskRCNN
from repro.errors import ReproError
from repro.evaluation import coco as evaluation
from repro.paths import write_atomically

#: Called with the stage ("pre-training", "training", "evaluation"), how much of it is done and how much there is.
ProgressReport = Callable[[str, int, int], None]

#: Images whose detections are written together: what a kill during evaluation loses at most.
SHARD = 100


class Predictor:
    """Runs `model` over `data` on the device of `fabric`; shards stand in `directory` until `clean`."""

    def __init__(self, model: MaskRCNN, data: CocoDetection, directory: Path, fabric: Fabric):
        self.model, self.data, self.fabric = model, data, fabric
        self.directory = directory / "shards"

    def predict(self, weights: str, progress: ProgressReport) -> list[Detections]:
        """One `Detections` an image, in the order of the split. `weights` is the sha256 of what the model holds."""
        self.model.eval()
        self.fabric.to_device(self.model)
        return [
            found
            for start in range(0, len(self.data), SHARD)
            for found in self._shard(start, min(start + SHARD, len(self.data)), weights, progress)
        ]

    def _shard(self, start: int, stop: int, weights: str, progress: ProgressReport) -> list[Detections]:
        path = self.directory / f"{start:06d}.json.gz"
        done = path.with_suffix("").with_suffix(".done")  # written after the shard: what it is of, and how long it took
        with suppress(OSError, ValueError, KeyError, ReproError):  # not there, or damaged: predicted again
            written = json.loads(done.read_bytes())
            if (written["weights"], written["stop"]) == (weights, stop):
                return evaluation.load_predictions(path, written["sha256"])
        begin = time.monotonic()
        detections = []
        for index in range(start, stop):
            detections += self._one(index)
            progress("evaluation", index + 1, len(self.data))
        sha256 = evaluation.save_predictions(detections, path)
        state = {"weights": weights, "stop": stop, "sha256": sha256, "seconds": time.monotonic() - begin}
        write_atomically(done, json.dumps(state).encode())
        return detections

    def _one(self, index: int) -> list[Detections]:
        sample = self.data.sample(index)
        sample.image = sample.image.to(self.fabric.device)
        with torch.inference_mode(), self.fabric.autocast():
            return self.model([sample])

    def seconds(self) -> float:
        """How long predicting took, interruptions left out."""
        return sum(json.loads(done.read_bytes())["seconds"] for done in self.directory.glob("*.done"))

    def clean(self) -> None:
        """Drop the shards, once the whole is recorded."""
        shutil.rmtree(self.directory, ignore_errors=True)

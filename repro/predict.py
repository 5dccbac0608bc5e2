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
from repro.engine.distributed import gather
from repro.errors import ReproError
from repro.evaluation import coco as evaluation
from repro.paths import write_atomically

#: Called with the stage ("pre-training", "training", "evaluation"), how much of it is done and how much there is.
ProgressReport = Callable[[str, int, int], None]

#: Images whose detections are written together: what a kill during evaluation loses at most.
SHARD = 100


class Predictor:
    """Runs `model` over `data` on the device of `fabric`; shards stand in `directory` until `clean`.

    Several processes take every so many-th shard each. Which shards there are does not depend on how many share them.
    """

    def __init__(self, model: MaskRCNN, data: CocoDetection, directory: Path, fabric: Fabric):
        self.model, self.data, self.fabric = model, data, fabric
        self.directory = directory / "shards"
        self.seconds = 0.0  #: that predicting took, interruptions left out: of the process that took longest

    def predict(self, weights: str, progress: ProgressReport) -> list[Detections]:
        """One `Detections` an image, in the order of the split; in the first process, nothing in the others.

        Args:
            weights: sha256 of what the model holds.
            progress: called after each image of this process with its number in the split.
        """
        self.model.eval()
        self.fabric.to_device(self.model)
        shards = {}
        for start in range(self.fabric.global_rank * SHARD, len(self.data), self.fabric.world_size * SHARD):
            shards[start] = self._shard(start, min(start + SHARD, len(self.data)), weights, progress)
        everyones = gather([(start, *shard) for start, shard in shards.items()], self.fabric)
        self.seconds = max((sum(seconds for _, _, seconds in part) for part in everyones), default=0.0)
        ordered = sorted((shard for part in everyones for shard in part), key=lambda shard: shard[0])
        return [found for _, detections, _ in ordered for found in detections]

    def _shard(self, start: int, stop: int, weights: str, progress: ProgressReport) -> tuple[list[Detections], float]:
        """The detections of the images from `start` to `stop`, and the seconds that they took."""
        path = self.directory / f"{start:06d}.json.gz"
        done = path.with_suffix("").with_suffix(".done")  # written after the shard: what it is of, and how long it took
        with suppress(OSError, ValueError, KeyError, ReproError):  # not there, or damaged: predicted again
            written = json.loads(done.read_bytes())
            if (written["weights"], written["stop"]) == (weights, stop):
                return evaluation.load_predictions(path, written["sha256"]), written["seconds"]
        begin = time.monotonic()
        detections = []
        for index in range(start, stop):
            detections += self._one(index)
            progress("evaluation", index + 1, len(self.data))
        sha256 = evaluation.save_predictions(detections, path)
        seconds = time.monotonic() - begin
        state = {"weights": weights, "stop": stop, "sha256": sha256, "seconds": seconds}
        write_atomically(done, json.dumps(state).encode())
        return detections, seconds

    def _one(self, index: int) -> list[Detections]:
        sample = self.data.sample(index)
        sample.image = sample.image.to(self.fabric.device)
        with torch.inference_mode(), self.fabric.autocast():
            return self.model([sample])

    def clean(self) -> None:
        """Drop the shards, once the whole is recorded."""
        shutil.rmtree(self.directory, ignore_errors=True)

"""What the processes get and send that read the items of an evaluation ahead."""

from __future__ import annotations

import os
import pickle
import resource
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from repro.data.classification import ImageSample
from repro.data.pictures import UnreadableImage
from repro.evaluation.predictor import Failed
from repro.experiments.preprocessing import TRAINED_HERE
from repro.tasks import classification, detection, video
from repro.tasks.classification import ClassifierEvaluation

CPU = SimpleNamespace(device=torch.device("cpu"), to_device=lambda x: x, autocast=nullcontext)
EVALUATIONS = {
    classification: ClassifierEvaluation, detection: detection.DetectorEvaluation, video: video.MultiViewEvaluation
}  # fmt: skip


@pytest.mark.parametrize("module", EVALUATIONS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_readers_get_no_network(module, monkeypatch):
    """A network on a GPU, or a compiled one, cannot be sent to a process that is not forked."""
    sent = []
    monkeypatch.setattr(module, "read_ahead", lambda read, batches, workers: sent.append(read) or iter_nothing())
    evaluation = object.__new__(EVALUATIONS[module])
    evaluation.model, evaluation.data, evaluation.batch, evaluation.workers = lambda x: x, ["data"], 1, 2
    assert list(evaluation.predict([range(1)], CPU)) == []
    assert pickle.loads(pickle.dumps(sent[0])).args == (["data"],)


def iter_nothing():
    yield from ()


class SlowPictures:
    """Of the first one another process takes long; one cannot be read."""

    preprocessing = TRAINED_HERE

    def sample(self, index: int) -> ImageSample:
        if index == 0:
            time.sleep(2)
        if index == 7:
            raise UnreadableImage("7", "7.jpg is damaged")
        return ImageSample(torch.full((3, 4, 4), index % 256, dtype=torch.uint8), str(index), index)


class FirstPixels(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0, 0, :1].repeat(1, 600)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")
def test_few_files_are_open_while_one_process_is_slow():
    """Users may have 1024 of them, as a rule; each tensor that another process sends is one."""
    evaluation = ClassifierEvaluation(FirstPixels(), SlowPictures(), workers=4)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 250, before[1]))
    try:
        items = [item for batch, _ in evaluation.score([range(600)], CPU) for item in batch]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert items.pop(7) == Failed("7", "7.jpg is damaged")
    assert items == [(str(index), index) for index in range(600) if index != 7]

"""An experiment of one's own in several processes, from its file to its record."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import repro
from repro.data.miniature import coco as miniature
from repro.experiments import mini
from repro.records import Store

MINE = """
from dataclasses import replace
from torch import nn
from repro.experiments import Backbone, Detector, Insertion, get


class Gate(nn.Module):
    def __init__(self, channels, dimensions):
        super().__init__()
        self.scale = nn.Linear(channels, channels)

    def forward(self, x):
        return x * self.scale(x.mean((2, 3))).sigmoid()[..., None, None]


network = Detector(
    Backbone(blocks=(1, 1, 1, 1), width=8, norm="sync", context=Insertion(Gate)),
    num_classes=6, fpn_channels=8, box_channels=16, mask_channels=4, short_side=32, long_side=96, proposals=(20, 20),
    score_threshold=0.0, detections=5,
)
gate = replace(get("coco-r50-gc-r16"), name="tiny-gate", network=network)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="processes of one machine find each other by gloo")
def test_two_processes_share_an_own_experiment(tmp_path, monkeypatch):
    """Each loads the file; they end in one record, which says so and keeps the source."""
    small = replace(mini.coco.SCENES, train_images=2, val_images=2, lit_images=1, classification_images=1)
    monkeypatch.setattr(miniature, "SCENES", small)
    miniature.generate(tmp_path / "coco", 0)
    (tmp_path / "mine.py").write_text(MINE)
    command = [
        *(sys.executable, "-m", "repro", "run", "mine.py:tiny-gate", "--source", "trained", "--iterations", "1"),
        *("--batch-size", "2", "--init", "random", "--device", "cpu", "--devices", "2", "--data-root", "coco"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(repro.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    (record,) = Store(tmp_path / "results" / "records").all()
    assert (record.experiment, record.training.world_size, record.training.batch_per_process) == ("tiny-gate", 2, 1)
    assert (record.own.derived_from, record.own.source.name) == ("coco-r50-gc-r16", "mine.py")
    assert record.dataset.evaluated == 2

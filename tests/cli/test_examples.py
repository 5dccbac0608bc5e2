"""The examples in help: each is executed, or planned, or at least parsed where executing it takes what is not here."""

from __future__ import annotations

import shlex
import shutil
import sys

import pytest
import typer
from command_tree import VERBS
from typer.testing import CliRunner

from repro import experiments
from repro.cli import app, help
from repro.paths import REFERENCE

#: Of measuring verbs, planned with the same options: example -> what executing it would take.
PLANNED = {
    "repro run coco-r50-gc-r16 --source checkpoint --data-root /data/coco": "COCO and a download",
    "repro run coco-r50-gc-r16 --profile mini --set recipe.learning_rate=0.001": "half a minute of training",
    "repro run mine.py:coordinate-attention --profile mini": "half a minute of training",
}
#: Parsed only: example -> what executing it would take.
PARSED = {
    "repro run coco-r50-gc-r16 --source trained --data-root /data/coco --devices 8": "COCO and eight GPUs",
    "repro submit coco-x101-cascade-gc-r4 --data-root /data/coco": "COCO and a download",
    "repro submit coco-x101-cascade-gc-r4 --source trained --seed 1 --data-root /data/coco": "COCO and a training",
    "repro record-external coco-x101-cascade-gc-r4 --submission results/submissions/... --metrics answer.json": (
        "a submission"
    ),
    "repro compare mine.py:coordinate-attention coco-r50-gc-r16": "half a minute of training",
    "repro reproduce --experiments mine.py --experiments coco-r50-baseline --seeds 3": "three trainings",
    "repro analyze coco-r50-1nl --profile mini": "weights that were trained here",
    "repro analyze kinetics-r50-5nl --profile mini": "weights that were trained here",
    "repro analyze coco-r50-1nl --random --data-root /data/coco --limit 100": "COCO and minutes",
    "repro analyze --model net.py:build --images photographs/": "a network of the user's with attention",
    "repro curves coco-r50-gc-r16 coco-r50-baseline --profile mini": "trainings here",
    "repro curves --output curves.png": "trainings here",
    "repro figure 2 --experiment coco-r50-1nl --profile mini": "weights that were trained here",
    "repro figure 1 --experiment coco-r50-1nl --random --images photograph.jpg": "a minute of a full-size network",
    "repro checkpoints fetch gcnet/r50-syncbn-gc-r16-1x": "a download",
    "repro checkpoints fetch --table all": "downloads",
    "repro checkpoints import downloads/mask_rcnn_r50_fpn_1x_20181010-069fa190.pth": "a download",
    "repro checkpoints verify downloads/mask_rcnn_r50_fpn_1x_20181010-069fa190.pth": "a download",
    "repro checkpoints convert gcnet/r50-syncbn-gc-r16-1x --experiment coco-r50-gc-r16 --output r16.pt": "a download",
    "repro data verify imagenet --root /data/imagenet": "ImageNet",
    "repro data verify coco --root /data/coco --split val2017 --decode": "COCO",
    "repro data verify kinetics --root /data/kinetics400 --split val": "Kinetics-400",
    "repro predict coco-r50-gc-r16 --weights gcnet/r50-syncbn-gc-r16-1x photograph.jpg": "a download",
    "repro predict mine.py:coordinate-attention photographs/ --output drawn": "weights that were trained here",
    "repro predict kinetics-r50-5nl --profile mini video.mp4 --json": "weights that were trained here",
    "repro export hub coco-r50-gc-r16 exported --profile mini": "weights that were trained here",
    "repro export hub mine.py:coordinate-attention exported --license cc-by-4.0": "weights that were trained here",
    "repro data fetch coco --root /data/coco --split val2017": "a download",
    "repro data fetch coco --root /data/coco": "downloads",
    "repro jobs cancel coco-r50-gc-r16": "a job",
    "repro export detectron2 coco-r50-gc-r16 --output gc.py": "Detectron2",
}
#: Those that end with 1 of the committed records, as their help says: a share is required that is not measured.
FAILING = {"repro verify --table 2 --table 3 --require 50% --fail-on inconclusive"}

MINE = """
from torch import nn
from repro.experiments import exchange_block, get

class Gate(nn.Module):
    def __init__(self, channels, dimensions):
        super().__init__()
        self.gate = nn.Linear(channels, channels)

    def forward(self, x):
        return x * self.gate(x.flatten(2).mean(2)).sigmoid().unflatten(1, (-1, *[1] * (x.dim() - 2)))

gate = exchange_block(get("coco-r50-gc-r16"), "coordinate-attention", Gate)
"""

EXAMPLES = {example: words for words, verb in VERBS.items() for example in help.list_examples(verb.callback.__doc__)}
EXECUTED = [example for example in EXAMPLES if example not in {*PLANNED, *PARSED}]


def test_what_is_not_executed_is_an_example():
    assert {*PLANNED, *PARSED, *FAILING} - set(EXAMPLES) == set()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where somebody measured three seeds of the committed records, with a network and a block of theirs."""
    shutil.copytree(REFERENCE, tmp_path / "results", ignore=shutil.ignore_patterns("*.seed[3-9].*", "seeds"))
    annotations = tmp_path / "data" / "coco" / "annotations"
    annotations.mkdir(parents=True)
    for split in ("train2017", "val2017"):  # whose images no plan reads
        (annotations / f"instances_{split}.json").write_text("{}")
    (tmp_path / "net.py").write_text("import torch\n\ndef build():\n    return torch.nn.Conv2d(3, 8, 3)\n")
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.setattr(experiments, "_OWN", {})  # no test sees the experiments that another one loaded
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPRO_RESULTS", raising=False)
    return tmp_path


@pytest.mark.parametrize("example", EXECUTED)
def test_an_example_works(example, place):
    if example == "repro bundle --verify bundle.zip":
        assert CliRunner().invoke(app, ["bundle", "--output", "bundle.zip"]).exit_code == 0
    result = CliRunner().invoke(app, shlex.split(example.replace("$GITHUB_STEP_SUMMARY", "summary.md"))[1:])
    assert result.exit_code == (example in FAILING), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output


@pytest.mark.parametrize("example", PLANNED)
def test_an_example_can_be_planned(example, place):
    _, _, experiment, *rest = shlex.split(example.replace("/data/", f"{place}/data/"))
    result = CliRunner().invoke(app, ["plan", "--experiments", experiment, *rest])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "1 ready" in result.stdout


@pytest.mark.parametrize("example", PARSED)
def test_an_example_is_understood(example):
    _, *words = shlex.split(example)
    command = typer.main.get_command(app)
    while getattr(command, "commands", None):
        command = command.commands[words.pop(0)]
    assert command.make_context("repro", words).params

"""What is shown of a training: lines for a log file, a panel on a terminal, nothing if it is to be quiet."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from repro.cli import progress
from repro.cli.progress import StageLines, StagePanel, show_stages
from repro.engine.log_rows import Iteration


def iteration(number, total=400, **changes):
    values = {
        "iteration": number, "total": total, "losses": {"loss_class": 0.5, "loss_box": 0.25}, "lr": 0.003, "norm": 2.5,
        "seconds": 10.0, "took": 0.5, "waited": 0.05, "images": 16, "peak_memory_bytes": 3 << 29, "device": "cpu",
    }  # fmt: skip
    return Iteration(**{**values, **changes})


SHOWN = [
    "loss 0.75 = class 0.5 + box 0.25", "learning rate 0.003", "gradient norm 2.5", "speed 32 images/s",
    "data wait 10 %", "peak memory 1.50 GiB", "device cpu",
]  # fmt: skip


def test_lines_come_at_changes_of_the_stage_and_every_30_seconds(capsys):
    now = [0.0]
    lines = StageLines(clock=lambda: now[0])
    for number in range(1, 401):
        lines("training", number, 400, iteration(number))
        now[0] += 0.25
    lines("evaluation", 1, 50)
    lines("evaluation", 50, 50)
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in said] == [
        "training: 1 of 400", "training: 121 of 400", "training: 241 of 400", "training: 361 of 400",
        "training: 400 of 400", "evaluation: 1 of 50", "evaluation: 50 of 50",
    ]  # fmt: skip
    for value in SHOWN:
        assert value in said[1]
    assert "(30 %), about 1:09 to go" in said[1]  # 279 iterations of a quarter of a second each
    assert "to go" not in said[4]


def test_a_stage_that_begins_again_is_another_one(capsys):
    lines = StageLines()
    for done in (49, 50, 1, 2):
        lines("evaluation", done, 50)
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["49", "50", "1"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_panel_shows_everything_at_any_width(width):
    now = [0.0]
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    panel = StagePanel("coco-r50-gc-r16, mini, seed 0", console, clock=lambda: now[0])
    panel.live.auto_refresh = False
    panel("training", 1, 400, iteration(1))
    now[0] = 30.0
    panel("training", 121, 400, iteration(121))
    panel.close()
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(panel.render())
    text = console.file.getvalue()
    assert all(len(line) == width for line in text.splitlines())
    if width >= 80:
        for value in [*SHOWN, "training 121/400", "30 %", "0:30 gone, about 1:09 to go", "coco-r50-gc-r16"]:
            assert value in text
    assert len(text.splitlines()) <= {40: 14, 80: 6, 200: 5}[width]


def test_what_is_shown_depends_on_the_stream_and_the_wish(monkeypatch, capsys):
    with show_stages("x", quiet=True) as report:
        report("training", 1, 2, iteration(1))
    assert capsys.readouterr() == ("", "")
    with show_stages("x") as report:
        report("training", 1, 2, iteration(1))
    assert capsys.readouterr().err.startswith("training: 1 of 2")
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with show_stages("a title") as report:
        assert isinstance(report, StagePanel)
        report("training", 1, 2, iteration(1))
        print("a warning", file=sys.stderr)
    assert "a title" in terminal.getvalue()
    assert "a warning" in terminal.getvalue()
    assert progress._INTERVAL == 30

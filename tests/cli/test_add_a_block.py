"""The how-to is what it says: its file is written and its commands are run, on records that need no training."""

from __future__ import annotations

import os
import re
import shlex
import sys

import pytest
from forged_records import copy_committed, forge
from typer.testing import CliRunner

from repro import experiments
from repro.cli import app
from repro.experiments import mini, own
from repro.models.own_blocks import check_network
from repro.paths import TABLES

PAGE = (TABLES.parent / "docs" / "how-to" / "add-a-block.md").read_text()
MINE = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
COMMANDS = [line for block in re.findall(r"```\n(repro .*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
NAME = "coordinate-attention"
#: What each command has to show, by its verb.
SHOWN = {
    "list": f"your own, in Table 2 (a) beside coco-r50-gc-r16: {NAME}",
    "plan": "measured  record coordinate-attention.mini.trained.seed0",
    "complexity": NAME,
    "run": f"record: results/records/{NAME}.mini.trained.seed0",
    "table": "Rows of your own, mini profile",
    "reproduce": "9 of 9 experiments measured already, 0 to run",
    "compare": f"a: {NAME}",
    "effects": NAME,
}


@pytest.fixture(autouse=True)
def at_a_users(tmp_path, monkeypatch):
    """In a directory with the file, and with records as if it had been trained."""
    monkeypatch.setattr(experiments, "_OWN", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(os.environ)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    own.load("mine.py")
    measured = copy_committed(tmp_path / "results", ("coco-r50-gc-r16", "coco-r50-baseline"), (0, 1, 2))
    forge(
        tmp_path / "results",
        mini.get_at_profile(NAME, "mini"),
        [measured["coco-r50-gc-r16", seed] for seed in (0, 1, 2)],
    )
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_shows_what_it_is_there_for(command):
    experiments._OWN.clear()
    _, verb, *arguments = shlex.split(command)
    ended = CliRunner().invoke(app, [verb, *arguments], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    assert SHOWN[verb] in ended.output


def test_every_kind_of_command_is_on_the_page():
    assert {shlex.split(command)[1] for command in COMMANDS} == set(SHOWN)


def test_the_block_fits_both_profiles():
    for profile in ("mini", "full"):
        check_network(mini.get_at_profile(NAME, profile))

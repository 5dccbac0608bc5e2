"""Several experiments side by side: every step gets an outcome, whatever becomes of its worker."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from repro import plan, runner
from repro.settings import Settings
from repro.worker import settings_from_json, settings_to_json

#: Stands in for `repro.worker`: what it does with a task is decided by the experiment's name.
WORKER = """
import json, os, sys, time
for line in sys.stdin:
    task = json.loads(line)
    name, seed = task["experiment"], task["settings"]["seed"]
    say = lambda **event: print(json.dumps(event), flush=True)
    say(event="progress", stage="training", done=1, total=2)
    if name.endswith("1nl"):
        os._exit(3)
    if name.endswith("1gc"):
        print("no event", flush=True)
        say(event="measured", record="stale")
    elif name.endswith("1snl"):
        say(event="failed", message="diverged")
    else:
        say(event="measured", record=f"{name}.{seed}.{os.getpid()}")
"""


@pytest.fixture
def outcomes(tmp_path, monkeypatch):
    """Outcomes of the first five experiments of Table 2 with two workers that are such stand-ins."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    start = runner.subprocess.Popen
    monkeypatch.setattr(runner.subprocess, "Popen", lambda _, **kwargs: start([sys.executable, str(script)], **kwargs))
    settings = Settings(results=tmp_path / "results")
    names = ["coco-r50-baseline", "coco-r50-1nl", "coco-r50-1snl", "coco-r50-1gc", "coco-r50-gc-r16"]
    steps = plan.plan(names, settings)
    text = io.StringIO()
    found = runner.run(steps, settings, jobs=2, command="repro reproduce", console=Console(file=text, width=120))
    return steps, found, text.getvalue()


def test_every_step_has_an_outcome_in_order(outcomes):
    steps, found, _ = outcomes
    assert [outcome.step for outcome in found] == steps
    assert [bool(outcome.record) for outcome in found] == [True, False, False, False, True]


def test_a_failure_and_a_dead_worker_say_what_happened(outcomes):
    _, found, text = outcomes
    assert "exit 3" in found[1].failure
    assert found[2].failure == "diverged"
    assert "its worker failed" in found[3].failure
    assert "[5/5]" in text


def test_workers_are_kept_for_several_experiments(outcomes):
    _, found, _ = outcomes
    processes = {outcome.record.rsplit(".", 1)[1] for outcome in found if outcome.record}
    assert len(processes) <= 4  # two, and one in the place of each that failed
    assert "stale" not in {outcome.record for outcome in found}


def test_settings_reach_a_worker_unchanged(tmp_path):
    for settings in (
        Settings(results=tmp_path),
        Settings(results=tmp_path, profile="full", data_root=tmp_path / "coco", seed=3, initial="random", iterations=7),
    ):
        assert settings_from_json(settings_to_json(settings)) == settings

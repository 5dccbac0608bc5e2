"""Several experiments side by side: every step gets an outcome, whatever becomes of its worker."""

from __future__ import annotations

import io
import json
import sys

import pytest
from rich.console import Console

from repro.errors import ReproError
from repro.measuring import runner, worker
from repro.planning import plan
from repro.settings import Settings

#: Stands in for `repro.measuring.worker`: what it does with a task is decided by the experiment's name.
WORKER = """
import json, os, sys, time
for line in sys.stdin:
    task = json.loads(line)
    name, seed = task["order"]["experiment"], task["order"]["settings"]["seed"]
    say = lambda **event: print(json.dumps(event), flush=True)
    say(event="progress", stage="training", done=1, total=2)
    if name.endswith("1nl"):
        os._exit(3)
    if name.endswith("1gc"):
        print("no event", flush=True)
        say(event="measured", record="stale")
    elif name.endswith("1snl"):
        say(event="failed", message="diverged")
    elif name.endswith("gc-r4"):
        say(event="failed", message="in use by " + os.environ["REPRO_STARTED_BY"], busy=True)
    else:
        say(event="measured", record=f"{name}.{seed}.{os.getpid()}")
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    start = runner.subprocess.Popen
    monkeypatch.setattr(runner.subprocess, "Popen", lambda _, **kwargs: start([sys.executable, str(script)], **kwargs))


@pytest.mark.parametrize("profile", ["mini", "full"])
def test_workers_of_the_mini_profile_alone_have_one_instruction_set_and_huge_pages(profile, tmp_path, monkeypatch):
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(worker.instructions.platform, "machine", lambda: "x86_64")
    started = []
    monkeypatch.setattr(runner.subprocess, "Popen", lambda _, env, **kwargs: started.append(env))
    started_by = runner._Worker(None, Settings(results=tmp_path, profile=profile), "", None, [])
    started_by._start()
    assert started[0].get("ATEN_CPU_CAPABILITY") == {"mini": "avx2", "full": None}[profile]
    assert started[0].get("GLIBC_TUNABLES") == {"mini": "glibc.malloc.hugetlb=1", "full": None}[profile]


@pytest.fixture
def outcomes(tmp_path, stand_in):
    """Outcomes of the first five experiments of Table 2 with two workers that are such stand-ins."""
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


def test_the_longest_experiments_of_a_seed_come_first(tmp_path, stand_in):
    names = ["coco-r101-baseline", "coco-x101-cascade-baseline", "coco-x101-dcn-cascade-baseline"]
    steps = plan.plan(names, Settings(results=tmp_path / "results"), seeds=[0, 1])
    text = io.StringIO()
    found = runner.run(steps, Settings(results=tmp_path), jobs=1, command="", console=Console(file=text, width=120))
    assert [outcome.step for outcome in found] == steps
    order = [tuple(line.split(":")[0].split()[1:4:2]) for line in text.getvalue().splitlines()]
    assert order == [(name, seed) for seed in "01" for name in reversed(names)]


#: Stands in for a worker that several processes share: it has its one task as an argument.
SHARED_WORKER = """
import json, os, sys
task = json.loads(sys.argv[1])
say = lambda **event: print(json.dumps(event), flush=True)
say(event="progress", stage="training", done=1, total=2)
order = task["order"]
if order["experiment"].endswith("1nl"):
    say(event="failed", message="process 2 of 2 was killed")
    sys.exit(2)
say(event="measured", record=f"{order['experiment']}.{order['settings']['devices']}.{os.getpid()}")
"""


def test_an_experiment_that_several_processes_share_has_them_to_itself(tmp_path, monkeypatch):
    script = tmp_path / "worker.py"
    script.write_text(SHARED_WORKER)
    start = runner.subprocess.Popen
    monkeypatch.setattr(
        runner.subprocess, "Popen", lambda line, **kwargs: start([sys.executable, str(script), *line[3:]], **kwargs)
    )
    settings = Settings(results=tmp_path / "results", devices=2)
    steps = plan.plan(["coco-r50-baseline", "coco-r50-1nl", "coco-r50-1gc"], settings)
    found = runner.run(steps, settings, jobs=1, command="repro reproduce", console=Console(file=io.StringIO()))
    assert found[1].failure == "process 2 of 2 was killed"
    records = [outcome.record.split(".") for outcome in found if outcome.record]
    assert [(name, devices) for name, devices, _ in records] == [("coco-r50-baseline", "2"), ("coco-r50-1gc", "2")]
    assert records[0][2] != records[1][2]


def test_room_for_several_processes_is_counted_by_all_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(runner.os, "sched_getaffinity", lambda _: set(range(8)))
    assert [runner.count_workers(Settings(tmp_path, devices=devices)) for devices in (None, 2, 16)] == [8, 4, 1]


def test_several_processes_do_not_each_start_all_experiments(tmp_path, monkeypatch):
    for name, value in {
        "TORCHELASTIC_RUN_ID": "x",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "RANK": "0",
        "LOCAL_RANK": "0",
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings(results=tmp_path)
    steps = plan.plan(["coco-r50-baseline"], settings)
    with pytest.raises(ReproError, match="torchrun would start all of them several times"):
        runner.run(steps, settings, jobs=1, command="", console=Console(file=io.StringIO()))


@pytest.mark.parametrize("line", ["", "no JSON", "[]", "{}", '{"order": {}, "command": ""}'])
def test_what_is_no_task_fails_alone(line):
    events = io.StringIO()
    assert not worker._execute(line, events)
    assert json.loads(events.getvalue())["event"] == "failed"

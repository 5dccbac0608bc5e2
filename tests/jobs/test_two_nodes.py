"""A real Slurm of two nodes, where it is installed: a training over both, and what becomes of deaths and preemptions.

Both nodes are this machine, with a slurmd each. A job finds out by SLURMD_NODENAME on which one it is.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import ROOT, SUPPORT

from repro.engine import instructions
from repro.jobs import ledger
from repro.jobs.ledger import Description, Entry, Submitted
from repro.jobs.supervision import supervise
from repro.records import Store

#: An experiment of one's own: its block scales what it gets, by numbers that it learns.
MINE = """
import torch
from torch import nn
from repro.experiments import exchange_block, get

class Scaling(nn.Module):
    def __init__(self, channels, dimensions):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, *[1] * dimensions))
    def forward(self, x):
        return x * self.scale

scaling = exchange_block(get("coco-r50-gc-r16"), "scaling", Scaling)
"""
#: The same training by four processes of one node, without a launcher's imports.
ALONE = "import sys, pathlib, shared_runs\nshared_runs.NAME = 'mine.py:scaling'\n" + (
    "found = shared_runs.run(pathlib.Path(sys.argv[1]), 4, '--save-every', '3')\n"
    "assert found['statuses'] == [0] * 4, found"
)
#: What makes the start of Python that of another process than the worker: what it does, and the worker's next start.
INSTEAD = """
import os, signal, sys, time
mark = {mark!r} + os.environ.get("SLURM_PROCID", "")
if "repro.measuring.worker" in sys.orig_argv and not os.path.exists(mark):
    open(mark, "x").close()
    {does}
"""


def wait(true, seconds=300):
    """Wait until something is true, which may take a while on a machine that others use."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.1)
    return found


def read_events(entry):
    submitted = entry.read_submitted()
    return entry.read_events(submitted.job) if submitted else []


def read_log(directory):
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


def ended(entry):
    return any(event.what in ledger.FINAL for event in read_events(entry))


def run_job(directory, does, **parameters):
    """Submit a job whose worker does something else when it is first started, and then fails; its entry."""
    import submitit

    entry = Entry(directory / "jobs" / "job")
    (directory / "first").mkdir(parents=True)
    does = INSTEAD.format(mark=str(directory / "mark"), does=does)
    (directory / "first" / "sitecustomize.py").write_text(does)
    path = os.pathsep.join([str(directory / "first"), str(ROOT)])
    nodes = parameters.get("nodes", 1)
    entry.describe(
        Description(
            label="a seed 0", experiment="a", seed=0, task="nonsense", environment={"PYTHONPATH": path}, nodes=nodes,
            processes=2 if nodes > 1 else 1,
        )
    )  # fmt: skip
    executor = submitit.SlurmExecutor(folder=directory / "logs", python=f"exec {sys.executable}")
    more = {"requeue": True, "ntasks-per-node": 2 if nodes > 1 else 1, "nodes": nodes}
    executor.update_parameters(additional_parameters=more, use_srun=False, stderr_to_stdout=True)
    job = executor.submit(supervise, str(entry.directory))
    entry.submit(Submitted(job=job.job_id, cluster="tests", at=ledger.now(), log=str(job.paths.stdout)))
    return entry


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_what_srun_starts_on_two_nodes_knows_itself(two_nodes):
    show = (
        "import os; from repro.engine.launch import find_processes as f; print(os.environ['SLURMD_NODENAME'], f(None))"
    )
    ran = subprocess.run(
        ["srun", "--nodes=2", "--ntasks-per-node=2", sys.executable, "-c", show],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    assert sorted(ran.stdout.splitlines()) == [
        f"n{1 + rank // 2} Processes(count=4, per_node=2, rank={rank}, launcher='Slurm')" for rank in range(4)
    ]


def test_a_process_that_was_killed_is_started_again_on_the_other_node(two_nodes, results):
    entry = run_job(results, "os.kill(os.getpid(), signal.SIGKILL)")
    wait(lambda: ended(entry))
    events = read_events(entry)
    assert [event.what for event in events] == ["started", "died", "started", "failed"]
    first, second = events[0].host, events[2].host
    assert {first, second} == {"n1", "n2"}
    assert events[1].host == first
    assert "this is no task" in events[-1].text


def test_of_two_nodes_the_one_is_known_on_which_a_process_was_killed(two_nodes, results):
    entry = run_job(
        results, "os.kill(os.getpid(), 9 if os.environ['SLURM_PROCID'] == '3' else 0); time.sleep(60)", nodes=2
    )
    wait(lambda: any(event.what == "died" for event in read_events(entry)))
    (died,) = [event for event in read_events(entry) if event.what == "died"]
    assert died.host == "n2"


def test_an_error_on_one_of_two_nodes_is_told_and_not_tried_again(two_nodes, results):
    """srun ends the others by SIGTERM, and its own exit status is theirs."""
    entry = run_job(results, "sys.exit(1) if os.environ['SLURM_PROCID'] == '2' else time.sleep(60)", nodes=2)
    wait(lambda: any(event.what != "started" for event in read_events(entry)))
    assert [event.what for event in read_events(entry)] == ["started", "failed"]
    assert read_events(entry)[-1].text == "its process ended with 1; its log says why"


def test_what_is_preempted_saves_its_state_and_goes_on(two_nodes, results):
    waits = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); open({!r}, 'x').close(); time.sleep(600)"
    entry = run_job(results, waits.format(str(results / "waits")))
    wait((results / "waits").exists)
    urgent = ["sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"]
    subprocess.run(urgent, check=True, capture_output=True, timeout=60)
    wait(lambda: ended(entry))
    events = read_events(entry)
    assert [event.what for event in events] == ["started", "interrupted", "started", "failed"]
    assert events[1].text == signal.SIGTERM.name


@pytest.mark.rounding
def test_a_training_over_two_nodes_is_that_of_one_node_and_goes_on_when_it_is_interrupted(two_nodes, results, tmp_path):
    path = os.pathsep.join(map(str, [SUPPORT / "shortened", SUPPORT, ROOT]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "REPRO_TEST_ITERATIONS": "20"}
    environment.update(instructions.pin("mini"))  # as a job's processes have it
    (tmp_path / "mine.py").write_text(MINE)

    def run(*command):
        ran = subprocess.run(
            [sys.executable, *command], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
            timeout=900,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr

    run("-c", ALONE, str(tmp_path / "alone"))
    (alone,) = (tmp_path / "alone" / "runs").glob("scaling.*")
    shutil.copytree(tmp_path / "alone", results, ignore=shutil.ignore_patterns("scaling.*", "message*"))
    run(
        "-m", "repro", "reproduce", "--experiments", "mine.py", "--profile", "mini", "--seeds", "1", "--devices", "2",
        "--results", str(results), "--save-every", "3", "--on", "slurm", "--slurm", "nodes=2", "--slurm", "cpus=1",
        "--slurm", "setup=export MASTER_ADDR=127.0.0.1",
    )  # fmt: skip
    (entry,) = ledger.list_entries(results)
    log = results / "runs" / alone.name / "log.jsonl"
    wait(lambda: ended(entry) or (log.exists() and log.read_bytes().count(b"\n") > 3), 900)
    job = entry.read_submitted()
    subprocess.run(["scancel", "--batch", "--signal=USR1", job.job], check=True, timeout=60)
    wait(lambda: ended(entry), 900)
    events, said = read_events(entry), Path(job.log).read_text()
    assert [event.what for event in events] == ["started", "interrupted", "started", "measured"], said
    assert events[1].text == "SIGUSR1"
    assert said.count("4 processes on cpu: effective batch 4, 1 in each process") == 2, "each start says it once"
    (one,), (other,) = (Store(place / "records").all() for place in (tmp_path / "alone", results))
    assert other.training.world_size == one.training.world_size == 4
    start = other.training.segments[1].start
    there, here = (read_log(place / "runs" / alone.name) for place in (tmp_path / "alone", results))
    assert here[:start] == there[:start]
    assert here[start]["losses"] == there[start]["losses"], "of the first iteration with the weights that were saved"
    # From there on the four gradients are summed in another order: DDP arranges them anew after a first iteration.
    assert other.training.final_loss == pytest.approx(one.training.final_loss, rel=1e-5)
    assert [line["iteration"] for line in here] == list(range(1, 21)), "one process writes the log"
    assert re.search(r"^back into the queue$", said, re.M)

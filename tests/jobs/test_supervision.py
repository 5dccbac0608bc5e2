"""What a job makes of the end of the process that measures: the process is a stand-in, and so is Slurm's requeueing."""

import json
import os
import signal
import sys
import threading
import time

import pytest

from repro.jobs import slurm, supervision
from repro.jobs.ledger import Description, Entry

SAY = "import json, os, signal, sys, time\ndef say(**e): print(json.dumps(e), flush=True)\n"
MEASURED = SAY + (
    "say(event='said', text='16 images a pass'); say(event='progress', stage='training', done=1, total=2)\n"
    "say(event='measured', record='r.json')"
)
FAILED = SAY + "say(event='failed', message='the training diverged', busy=False, lost=False); sys.exit(2)"
LOST = SAY + "say(event='failed', message='process 2 of 2 was killed', busy=False, lost=True); sys.exit(2)"
KILLED = SAY + "os.kill(os.getpid(), signal.SIGKILL)"
CRASHED = SAY + "sys.exit(1)"
ASKED = SAY + (
    "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(138)); signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
    "say(event='progress', stage='training', done=1, total=2); time.sleep(60)"
)
#: As srun and shells give on that a process was killed.
KILLED_UNDER_SRUN = SAY + "sys.exit(137)"


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job's directory, and what runs it with a script in place of the worker: (exit code, requeued, events)."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    entry = Entry(tmp_path / "job")
    entry.describe(
        Description(label="a seed 0", experiment="a", seed=0, task="{}", environment={}, nodes=1, processes=1)
    )

    def run(script, host="node1"):
        requeued = []
        monkeypatch.setattr(slurm, "requeue", lambda number, avoid: requeued.append((number, list(avoid))))
        monkeypatch.setenv("SLURMD_NODENAME", host)
        monkeypatch.setattr(supervision._Supervisor, "_build_command", lambda _: [sys.executable, "-c", script])
        code = 0
        try:
            supervision.supervise(str(entry.directory))
        except SystemExit as end:
            code = end.code
        return code, requeued, [event.what for event in entry.read_events("7")]

    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGUSR1)}
    yield entry, run
    for each, handler in before.items():
        signal.signal(each, handler)


def test_a_container_starts_the_process_with_its_own_python(job):
    entry, _ = job
    words = ("apptainer", "exec", "--nv", "/shared/gcnet repro.sif")
    alone = Description(
        label="a", experiment="a", seed=0, task="{}", environment={}, nodes=1, processes=2, container=words
    )
    of_two = alone.model_copy(update={"nodes": 2})
    command, divided = (supervision._Supervisor(entry, each, "7")._build_command() for each in (alone, of_two))
    assert command == [*words, "python", "-u", "-m", "repro.measuring.worker", "{}"]
    assert divided[0] == "srun"
    assert divided[-len(command) :] == command


def test_what_is_measured_ends_well(job, capfd):
    entry, run = job
    assert run(MEASURED) == (0, [], ["started", "measured"])
    assert entry.read_events("7")[-1].text == "r.json"
    assert entry.read_events("8") == []
    assert capfd.readouterr().out.splitlines()[:2] == ["16 images a pass", "training: 1 of 2"]


def test_an_error_that_would_repeat_is_not_tried_again(job):
    entry, run = job
    assert run(FAILED) == (1, [], ["started", "failed"])
    assert entry.read_events("7")[-1].text == "the training diverged"
    assert run(CRASHED) == (1, [], ["started", "failed"] * 2)


@pytest.mark.parametrize("script", [KILLED, LOST, KILLED_UNDER_SRUN], ids=["killed", "lost", "killed under srun"])
def test_a_death_is_tried_again_elsewhere_twice(job, script):
    entry, run = job
    assert run(script, "node1")[:2] == (138, [("7", ["node1"])])
    assert run(script, "node2")[:2] == (138, [("7", ["node1", "node2"])])
    code, requeued, events = run(script, "node3")
    assert (code, requeued) == (1, [])
    assert events == ["started", "died"] * 3 + ["failed"]
    assert "it died 3 times, on node1, node2, node3" in entry.read_events("7")[-1].text


def test_a_job_that_died_with_its_node_counts_too(job):
    entry, run = job
    for _ in range(2):
        entry.add("started", "7")
        entry.add("started", "8")  # of another submission, which does not count
    assert run(KILLED)[0] == 1
    entry.add("started", "9")
    assert run(MEASURED)[0] == 1, "three deaths are enough, and it should not even have begun"


@pytest.mark.parametrize(("number", "code", "requeued"), [("SIGUSR1", 138, [("7", [])]), ("SIGTERM", 143, [])])
def test_before_its_limit_a_job_puts_itself_back_and_when_cancelled_it_does_not(job, number, code, requeued, capfd):
    entry, run = job

    def ask():
        while "training" not in capfd.readouterr().out:
            time.sleep(0.02)
        os.kill(os.getpid(), getattr(signal, number))

    asking = threading.Thread(target=ask)
    asking.start()
    assert run(ASKED) == (code, requeued, ["started", "interrupted"])
    asking.join()
    assert entry.read_events("7")[-1].text == number
    if number == "SIGUSR1":
        assert run(MEASURED)[2] == ["started", "interrupted", "started", "measured"]


def test_of_several_nodes_srun_starts_the_processes(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    description = Description(label="a", experiment="a", seed=0, task="{}", environment={}, nodes=2, processes=4)
    command = supervision._Supervisor(Entry(tmp_path), description, "7")._build_command()
    assert command[:6] == [
        "srun", "--kill-on-bad-exit=1", "--unbuffered", "--nodes=2", "--ntasks=8", "--ntasks-per-node=4",
    ]  # fmt: skip
    assert "--cpus-per-task" not in " ".join(command)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    with_cores = supervision._Supervisor(Entry(tmp_path), description, "7")._build_command()
    assert with_cores == [*command[:6], "--cpus-per-task=8", *command[6:]]


@pytest.mark.parametrize(
    ("line", "first"),
    [
        ("srun: error: n2: task 3: Killed", ("n2", 137)),
        ("srun: error: n2: tasks 2-3: Terminated", ("n2", 143)),
        ("srun: error: n1: task 1: Exited with exit code 2", ("n1", 2)),
        ("srun: error: n1: tasks 0,2: Segmentation fault (core dumped)", ("n1", 139)),
        ("srun: error: Unable to create step for job 7: Invalid", None),
        ("error: n2: task 3: Killed", None),
    ],
)
def test_srun_says_where_a_process_ended_first_and_how(line, first, tmp_path, capsys):
    description = Description(label="a", experiment="a", seed=0, task="{}", environment={}, nodes=2, processes=2)
    supervisor = supervision._Supervisor(Entry(tmp_path), description, "7")
    supervisor._forward_errors([f"{line}\n", "srun: error: n9: task 9: Killed\n"])
    assert supervisor.first == (first or ("n9", 137))
    assert line in capsys.readouterr().err


def test_half_an_event_counts_as_none(job):
    entry, _ = job
    entry.add("started", "7")
    with (entry.directory / "events.jsonl").open("a") as file:
        file.write(json.dumps({"what": "measured", "job": "7"})[:-4])
    assert [event.what for event in entry.read_events("7")] == ["started"]

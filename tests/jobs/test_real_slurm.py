"""A real Slurm, where it is installed: what is submitted, how fast, and what becomes of a failure."""

import time
from dataclasses import replace
from pathlib import Path

from repro.jobs import ledger, slurm
from repro.jobs.cluster import Cluster
from repro.jobs.graph import build_jobs
from repro.jobs.states import read_states
from repro.jobs.submission import build_batches, submit
from repro.planning.plan import plan
from repro.settings import Settings


def test_five_hundred_steps_are_submitted_and_their_states_read_in_ten_seconds(results):
    steps = plan(["imagenet-r50-baseline"], Settings(results=results), range(500))
    jobs = build_jobs(steps, "repro reproduce")
    simulated = Cluster(setup=["sleep 600"])
    begin = time.monotonic()
    configuration = slurm.read_configuration()
    entries = submit(build_batches(jobs, simulated, configuration.most_in_array), results, {})
    states = read_states(ledger.list_entries(results))
    seconds = time.monotonic() - begin
    assert len(entries) == len(states) == len(jobs) == 502  # with the pre-training and the first stage
    assert all(state.alive for state in states)
    assert {state.detail for state in states if state.state == "waiting"} <= {
        "waits for another job", "waits for free nodes", "waits for others, which go first", "waits (None)",
    }  # fmt: skip
    print(f"{len(jobs)} jobs submitted and read in {seconds:.1f} s")
    assert seconds < 10
    alive = {state.entry.name for state in states if state.alive}
    assert not [job for job in jobs if job.name not in alive], "submitted twice"
    slurm.cancel([state.submitted.job for state in states])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and any(state.alive for state in read_states(entries)):
        time.sleep(1)
    assert {state.state for state in read_states(entries)} <= {"cancelled", "died"}


def test_an_error_is_told_and_what_waits_for_it_is_cancelled(results):
    steps = plan(["imagenet-r50-baseline"], Settings(results=results))
    first, *rest = build_jobs(steps, "repro reproduce")
    jobs = [replace(first, task="nonsense"), *rest]
    entries = submit(build_batches(jobs, Cluster()), results, {})
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and any(state.alive for state in read_states(entries)):
        time.sleep(1)
    states = {state.entry.name: state for state in read_states(entries)}
    failed = states[first.name]
    assert (failed.state, failed.requeued) == ("failed", 0)
    assert "this is no task" in failed.detail
    assert "failed: this is no task" in Path(failed.submitted.log).read_text()
    assert {states[job.name].state for job in rest} == {"cancelled"}

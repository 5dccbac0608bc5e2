"""What `repro jobs` says of each job, from Slurm's queue and from what the job itself wrote down."""

import pytest

from repro.jobs import slurm
from repro.jobs.ledger import Description, Entry, Submitted, list_entries, locate, now
from repro.jobs.slurm import Configuration, Queued
from repro.jobs.states import read_states


def make(results, events=(), job="5_1", cluster="here"):
    entry = Entry(locate(results) / f"job{job}")
    entry.describe(
        Description(label="a seed 0", experiment="a", seed=0, task="{}", environment={}, nodes=1, processes=1)
    )
    entry.submit(Submitted(job=job, cluster=cluster, at=now(), log="a.log"))
    for what, text in events:
        entry.add(what, job, text)
    return entry


@pytest.mark.parametrize(
    ("queued", "events", "state", "detail"),
    [
        (("PENDING", "Dependency"), [], "waiting", "waits for another job"),
        (("PENDING", "Licenses"), [], "waiting", "waits (Licenses)"),
        (("RUNNING", "None"), [("started", "")], "running", "on n1 for 0:10"),
        (("COMPLETING", "None"), [("started", ""), ("measured", "r")], "measured", "r"),
        (("PENDING", "BeginTime"), [("started", ""), ("interrupted", "SIGUSR1")], "waiting", "back into the queue"),
        (("CANCELLED", "None"), [], "cancelled", "did not end well"),
        (("RUNNING", "None"), [("cancelled", ""), ("interrupted", "SIGTERM")], "cancelled", ""),
        (None, [("started", ""), ("interrupted", "SIGTERM")], "interrupted", "submitted again, it goes on"),
        (None, [("started", ""), ("failed", "diverged")], "failed", "diverged"),
        (("RUNNING", "None"), [("failed", "diverged"), ("started", "")], "running", "on n1"),
        (None, [("started", "")], "died", "not in Slurm's queue"),
        (("NODE_FAIL", "None"), [("started", "")], "died", "Slurm says NODE_FAIL"),
    ],
)
def test_the_state_of_a_job(queued, events, state, detail, tmp_path, monkeypatch):
    queue = {"5_1": Queued(*queued, "n1", "0:10")} if queued else {}
    monkeypatch.setattr(slurm, "read_queue", lambda: queue)
    monkeypatch.setattr(slurm, "read_configuration", lambda: Configuration("here", 1000))
    make(tmp_path, events)
    (found,) = read_states(list_entries(tmp_path))
    assert found.state == state
    assert detail in found.detail
    assert found.alive is (state in ("waiting", "running"))


def test_another_cluster_s_numbers_are_not_taken_for_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "read_queue", lambda: {"5_1": Queued("RUNNING", "None", "n1", "0:10")})
    monkeypatch.setattr(slurm, "read_configuration", lambda: Configuration("here", 1000))
    make(tmp_path, cluster="there")
    (found,) = read_states(list_entries(tmp_path))
    assert (found.state, found.alive) == ("died", False)
    assert "submitted on the cluster there" in found.detail


def test_where_nothing_was_submitted_slurm_is_not_asked(tmp_path):
    assert read_states(list_entries(tmp_path)) == []

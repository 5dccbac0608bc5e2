"""A Slurm for the tests of jobs: the one that SLURM_CONF names, or one of two nodes that is started for them."""

import os

import pytest
import slurm_nodes

from repro.jobs import ledger, slurm
from repro.jobs.states import read_states


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    if "SLURM_CONF" in os.environ:
        yield
        return
    if obstacle := slurm_nodes.find_obstacle():
        pytest.skip(obstacle)
    with slurm_nodes.start(tmp_path_factory.mktemp("slurm")) as configuration:
        os.environ["SLURM_CONF"] = str(configuration)
        try:
            yield
        finally:
            del os.environ["SLURM_CONF"]


@pytest.fixture(scope="session")
def two_nodes(cluster):
    """Those of this machine: what the tests know of them is not so of another cluster."""
    if slurm.read_configuration().name != "tests":
        pytest.skip("SLURM_CONF names another cluster than the one of these tests")


@pytest.fixture
def results(cluster, tmp_path):
    """A directory of results; its jobs are cancelled at the end."""
    yield tmp_path / "results"
    entries = ledger.list_entries(tmp_path / "results")
    slurm.cancel([state.submitted.job for state in read_states(entries) if state.alive])

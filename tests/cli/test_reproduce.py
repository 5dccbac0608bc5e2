"""`repro reproduce`: what the end of a run of the mini profile says."""

from types import SimpleNamespace

import pytest
from samples import record
from typer.testing import CliRunner

from repro import cli, complexity, paper
from repro.experiments import get
from repro.measuring import runner
from repro.planning import plan
from repro.records import Store
from repro.rendering import tables


@pytest.fixture
def nothing_left(monkeypatch):
    """Everything is measured and counted already, and no table is written."""
    done = {"status": "measured", "reason": "", "source": "checkpoint"}
    monkeypatch.setattr(
        plan, "plan", lambda names, *_: [SimpleNamespace(experiment=get(name), **done) for name in names]
    )
    monkeypatch.setattr(complexity, "count_experiments", lambda *_: None)
    monkeypatch.setattr(runner, "run", lambda *_: [])
    monkeypatch.setattr(tables, "write_generated", lambda *_: [])


def test_the_mini_profile_ends_with_the_answers_to_the_papers_statements(nothing_left, tmp_path):
    store = Store(tmp_path / "records")
    for place, name in enumerate(paper.load(2).experiments):
        store.add(record(name, {"ap_box": 40.0 + place, "ap_mask": 30.0 + place}, profile="mini"))
    done = CliRunner().invoke(cli.app, ["reproduce", "--table", "2", "--profile", "mini", "--results", str(tmp_path)])
    assert done.exit_code == 0, done.output
    end = done.stderr.split("Table 2: the paper's statements in the MINI profile")[1]
    assert "fusion by addition above scaling" in end
    assert "Of 10 statements of the paper, 0 hold, " in end
    assert "inconclusive" not in end

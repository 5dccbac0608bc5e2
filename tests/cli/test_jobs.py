"""`repro jobs` and its verb `cancel`: where options may stand. What they do with jobs is tested in tests/jobs."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from repro.cli.jobs import app


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.mark.parametrize("before", [True, False], ids=["before the verb", "behind it"])
def test_results_may_stand_before_or_behind_the_verb(tmp_path, monkeypatch, before):
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "others"))
    option = ["--results", tmp_path / "mine"]
    found = run(*option, "cancel", "coco-r50-gc-r16") if before else run("cancel", "coco-r50-gc-r16", *option)
    assert found.exception is not None
    assert str(found.exception) == f"no job was submitted for results in {tmp_path / 'mine'}"


def test_without_an_option_the_environment_says_where(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "others"))
    assert str(run("cancel", "coco-r50-gc-r16").exception).endswith(f"in {tmp_path / 'others'}")


def test_json_before_a_verb_that_has_none_is_refused():
    assert str(run("--json", "cancel", "--all").exception) == "--json is of `repro jobs`, not of `repro jobs cancel`"

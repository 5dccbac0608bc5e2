"""A directory of results that is not there is never taken for one in which nothing was measured."""

from __future__ import annotations

import shutil
import sys

import pytest
from places import REFERENCE
from samples import published, record

from repro import cli, paper
from repro.records import Store

READING = {
    "verify": ["verify"],
    "verify --json": ["verify", "--json"],
    "table": ["table", "2"],
    "status": ["status"],
    "explain": ["explain", "2/a/+1 GC/ap_box"],
    "claims": ["claims"],
    "effects": ["effects"],
    "hypotheses": ["hypotheses"],
    "report": ["report", "--output", "made.html"],
    "bundle": ["bundle", "--output", "made.zip"],
    "diff": ["diff", "a", "b"],
}
#: Verbs whose answer is about the paper, or about what to do first.
WITHOUT_RESULTS = {"status", "explain", "claims"}


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run the command line in an empty directory; returns its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPRO_RESULTS", raising=False)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["repro", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    return call


@pytest.mark.parametrize("verb", READING)
def test_a_directory_that_is_named_must_be_there(verb, call, tmp_path, monkeypatch):
    code, out, err = call(*READING[verb], "--results", "resluts")
    assert (code, out) == (2, "")
    assert err.startswith("error: there is no directory resluts, so nothing was measured there. Check --results")
    monkeypatch.setenv("REPRO_RESULTS", "elsewhere/results")
    assert call(*READING[verb])[0] == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", READING)
def test_where_none_is_named_only_the_verbs_about_the_paper_answer_without_one(verb, call):
    code, out, err = call(*READING[verb])
    if verb in WITHOUT_RESULTS:
        assert (code, err) == (0, "")
        assert out
    else:
        assert (code, out) == (2, "")
        assert "there is no directory results" in err


@pytest.mark.parametrize("verb", [verb for verb in READING if verb not in ("bundle", "diff")])
def test_an_empty_one_is_an_answer(verb, call, tmp_path):
    (tmp_path / "results").mkdir()
    assert call(*READING[verb], "--results", "results")[0] == 0


@pytest.mark.parametrize("verb", READING)
def test_the_directory_of_the_records_themselves_is_not_an_empty_one(verb, call, tmp_path):
    Store(tmp_path / "kept").add(record("coco-r50-1gc", published(paper.load(2), "coco-r50-1gc")))
    code, out, err = call(*READING[verb], "--results", "kept")
    assert (code, out) == (2, "")
    assert err.startswith("error: kept holds records, and no directory records/. Name the directory that it is in")


def test_two_files_are_compared_without_results(call, tmp_path):
    (tmp_path / "kept").mkdir()
    one, other = sorted((REFERENCE / "records").glob("coco-r50-baseline.mini.trained.seed[01].*.json"))
    for path in (one, other):
        shutil.copy(path, tmp_path / "kept")
    code, out, err = call("diff", f"kept/{one.name}", f"kept/{other.name}")
    assert (code, err) == (0, "")
    assert "seed: 0 -> 1" in out
    code, out, err = call("diff", "kept/no.json", "kept/none.json")
    assert (code, out) == (2, "")
    assert err.startswith("error: there is no file kept/no.json")

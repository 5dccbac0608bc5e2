"""`repro reproduce`: what it writes where, and what the screen says that it ends with."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from places import REFERENCE, ROOT, SUPPORT
from samples import PARAMS, count, record
from typer.testing import CliRunner

from repro import cli, complexity, paper
from repro.experiments import get
from repro.measuring import runner
from repro.planning import plan
from repro.records import Store
from repro.rendering import ending

CPU = {"commit": "f" * 40, "dirty": False, "cpu": "Xeon 8000", "instructions": "AVX2", "limited_to": "AVX2"}


def fill(store, seeds, **update):
    """Records of all mini experiments of Table 2, of one minute and four seconds each."""
    for place, name in enumerate(paper.load(2).experiments):
        for seed in range(seeds):
            metrics = {"ap_box": 40.0 + place + seed, "ap_mask": 30.0 + place}
            made = record(name, metrics, profile="mini", seed=seed, environment=CPU)
            store.add(made.model_copy(update=update))


@pytest.fixture
def reproduce(monkeypatch, tmp_path):
    """Everything is measured and counted already; the reference is what lies in `tmp_path / reference`."""
    store = Store(tmp_path / "records")

    def steps(names, settings, seeds, attention):
        own = {(r.experiment, r.seed): r for r in store.all() if r.profile == settings.profile}
        done = {"status": "measured", "reason": "", "source": "checkpoint", "statistics": None}
        return [
            SimpleNamespace(experiment=get(name), seed=seed, record=own.get((name, seed)), **done)
            for seed in seeds
            for name in names
        ]

    monkeypatch.setattr(plan, "plan", steps)
    monkeypatch.setattr(complexity, "count_experiments", lambda *_: None)
    monkeypatch.setattr(runner, "run", lambda *_: [])
    monkeypatch.setattr(ending, "REFERENCE", tmp_path / "reference")

    def run(*options, profile="mini"):
        arguments = ["reproduce", "--table", "2", "--profile", profile, "--results", str(tmp_path), *options]
        return CliRunner().invoke(cli.app, arguments)

    return run


def test_the_mini_profile_ends_with_the_answers_to_the_papers_statements(reproduce, tmp_path):
    fill(Store(tmp_path / "records"), 3)
    done = reproduce("--jobs", "2")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("\nTable 2, profile mini, seeds 0 to 2\nAgainst the paper: 0 of 108 distinct numbers")
    end = done.stdout.split("Table 2: the paper's statements in the MINI profile")[1]
    assert "fusion by addition above scaling" in end
    assert re.search(r"Of 10 statements of the paper, \d+ holds?, ", end)
    assert "inconclusive" not in end
    # 18 experiments of 64 s, and a shared detector of about 55 s, in two processes: 10 minutes for each seed more.
    for seeds, minutes in re.findall(r"(\d+) seeds would decide it, (\d+) more minutes", end):
        assert int(minutes) == -(-(int(seeds) - 3) * (18 * 64 + 55) // 120)
    assert re.search(r"\d+ seeds would decide it, \d+ more minutes", end)
    assert "| " not in done.stdout  # the tables are files


@pytest.mark.parametrize(
    ("profile", "options", "said"),
    [
        ("mini", (), "seeds 0 to 2 of every experiment (the default of this profile"),
        ("full", (), "seed 0 of every experiment (the default of this profile"),
        ("mini", ("--seeds", "1"), "seed 0 of every experiment (as asked)"),
        ("full", ("--seeds", "4"), "seeds 0 to 3 of every experiment (as asked)"),
    ],
)
def test_how_many_seeds_and_why(reproduce, profile, options, said):
    done = reproduce(*options, profile=profile)
    assert said in done.stderr.splitlines()[1 if profile == "full" else 2]
    assert ("the paper's statements" in done.stdout) == (profile == "mini")


def test_records_that_repeat_the_reference(reproduce, tmp_path):
    fill(Store(tmp_path / "records"), 3, created="2027-01-01T00:00:00+00:00")
    fill(Store(tmp_path / "reference" / "records"), 2)
    out = reproduce().stdout
    assert "36 of 36 records equal the reference bit for bit (weights, predictions and metrics)\n" in out
    assert "computed on Xeon 8000, limited to AVX2; the reference on Xeon 8000, limited to AVX2" in out
    assert "18 more have no counterpart in the reference" in out


def test_records_that_do_not_and_the_cpu_that_made_them(reproduce, tmp_path):
    fill(Store(tmp_path / "records"), 1)
    there = Store(tmp_path / "reference" / "records")
    for mine in Store(tmp_path / "records").all():
        if mine.experiment == "coco-r50-1gc":  # another CPU
            training, weights = mine.training, mine.weights.model_copy(update={"sha256": "2" * 64})
            environment = CPU | {"cpu": "EPYC 9000"}
        elif mine.experiment == "coco-r50-1nl":  # another version of the experiment
            training = mine.training.model_copy(update={"key": "4" * 64, "iterations": 9})
            weights, environment = mine.weights.model_copy(update={"sha256": "2" * 64}), CPU
        else:
            training, weights, environment = mine.training, mine.weights, CPU
        there.add(mine.model_copy(update={"training": training, "weights": weights, "environment": environment}))
    lines = reproduce("--seeds", "1").stdout.splitlines()
    at = next(n for n, line in enumerate(lines) if "16 of 18 records equal the reference bit for bit" in line)
    assert set(lines[at + 1 : at + 3]) == {
        "  not equal, 1: what differs is the CPU (Xeon 8000 here, EPYC 9000 in the reference)",
        "  not equal, 1: another measurement: what differs is the length of the training",
    }


def test_where_the_files_are_and_what_to_do_next(reproduce, tmp_path, monkeypatch):
    monkeypatch.delenv("NOX_CURRENT_SESSION", raising=False)  # these tests may run in one
    fill(Store(tmp_path / "records"), 3)
    out = reproduce().stdout
    written = {path.name for path in (tmp_path / "tables").iterdir()}
    assert written == {"table2.md", "table2.tex", "table2.csv"}
    assert f"Files: {tmp_path / 'tables' / 'table2.md'}, .tex, .csv; records in {tmp_path / 'records'}\n" in out
    following = out.split("Next:\n")[1].splitlines()
    assert following[0].split("  ")[1] == f"repro report --results {tmp_path}"
    assert following[1].split("  ")[1] == f"repro diff {tmp_path} {tmp_path / 'reference'}"
    assert following[2].strip().startswith("the same command with --seeds 8 ")


def test_in_a_session_of_nox_the_program_is_named_where_it_is(reproduce, monkeypatch):
    monkeypatch.setenv("NOX_CURRENT_SESSION", "reproduce-table2")
    monkeypatch.setattr(sys, "argv", [str(ROOT / ".nox" / "reproduce-table2" / "bin" / "repro"), "reproduce"])
    monkeypatch.chdir(ROOT)
    assert "  .nox/reproduce-table2/bin/repro report" in reproduce("--seeds", "1").stdout


def test_what_fails_is_named_last_and_ends_with_1(reproduce, tmp_path, monkeypatch):
    store = Store(tmp_path / "records")
    fill(store, 3)
    store.add_count(count("coco-r50-1nl", PARAMS["coco-r50-1nl"] * 2, 288.7))
    step = SimpleNamespace(experiment=get("coco-r50-snl"), seed=2)
    monkeypatch.setattr(runner, "run", lambda *_: [runner.Outcome(step, None, "the worker process died")])
    done = reproduce()
    assert done.exit_code == 1
    failures = done.stdout.split("Not as it should be:\n")[1].splitlines()
    assert any(line.startswith("  off: Table 2(a), +1 NL, #param: off: published 46.5M") for line in failures)
    assert "  failed: coco-r50-snl seed 2: the worker process died" in failures


def test_a_record_that_is_not_what_it_says_ends_with_1(reproduce, tmp_path):
    store = Store(tmp_path / "records")
    fill(store, 3)
    (store.directory / store.all()[0].filename).rename(store.directory / "copied.json")
    done = reproduce()
    assert done.exit_code == 1
    assert "  wrong: record copied.json: the file's name is not that of its content" in done.stdout


#: `repro reproduce` of two experiments of Table 2, shortened, in this process and its workers.
TINY = """
import shortening
from repro import cli
from repro.planning import plan
planned = plan.plan
plan.plan = lambda names, *rest: planned(list(names)[:2], *rest)
cli.main()
"""


def hash_tables():
    files = sorted(path for path in (ROOT / "tables").rglob("*") if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def list_changes():
    """What git calls changed or new."""
    try:
        return subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return b""


def test_nothing_that_git_tracks_changes(tmp_path):
    before, changes = hash_tables(), list_changes()
    results = tmp_path / "results"
    shutil.copytree(REFERENCE / "records" / "complexity", results / "records" / "complexity")
    options = ["--table", "2", "--profile", "mini", "--seeds", "1", "--jobs", "1", "--results", str(results)]
    run = subprocess.run(
        [sys.executable, "-c", TINY, "reproduce", *options],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT / "shortened"), str(ROOT)])},
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr + run.stdout
    assert (hash_tables(), list_changes()) == (before, changes)
    assert {path.name for path in (results / "tables").iterdir()} == {"table2.md", "table2.tex", "table2.csv"}
    # Another version of the experiment than the committed records are of, and the screen says so.
    assert "0 of 2 records equal the reference bit for bit" in run.stdout
    assert "not equal, 2: another measurement: what differs is the network or the recipe" in run.stdout
    assert re.search(
        r"^Time: counting \d+ s, training and evaluation .+ \(2 records in one process, \d+ s each\)", run.stdout, re.M
    )

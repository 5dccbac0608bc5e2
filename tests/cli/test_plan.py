"""`repro plan` as a user meets it, and what refuses to train at full size where there is no CUDA device."""

from __future__ import annotations

import json
import shlex

import pytest
from typer.testing import CliRunner

from repro.cli import app, measuring_options
from repro.errors import ReproError
from repro.planning import full_size

MISSING = "the NVIDIA driver is too old: it supports CUDA 12.4"


def invoke(*words: object):
    return CliRunner().invoke(app, list(map(str, words)), env={"REPRO_DATA": None})


def plan(*words: object, missing: bool = False) -> str:
    """What a plan says; of one with trainings at full size it says last that they are refused here."""
    result = invoke("plan", *words)
    assert isinstance(result.exception, ReproError if missing else type(None)), (result.output, result.exception)
    assert not missing or MISSING in str(result.exception)
    return result.stdout


@pytest.fixture(autouse=True)
def no_cuda(monkeypatch):
    for module in (measuring_options, full_size):
        monkeypatch.setattr(module, "explain_missing_cuda", lambda: MISSING)


def test_all_tables_are_one_plan_in_which_each_experiment_stands_once(tmp_path):
    steps = json.loads(plan("--table", "all", "--profile", "mini", "--results", tmp_path, "--json"))
    names = [step["experiment"] for step in steps]
    assert len(names) == len(set(names)) == 50  # with the first stage of ImageNet, which is no row's
    assert sum(len(step["rows"]) for step in steps) == 72
    baseline = next(step for step in steps if step["experiment"] == "coco-r50-baseline")
    assert baseline["rows"][:2] == ["Table 2 (a) baseline", "Table 2 (b) baseline"]


@pytest.mark.parametrize("table", ["0", "6", "every"])
def test_another_table_is_refused(table, tmp_path):
    assert isinstance(invoke("plan", "--table", table, "--results", tmp_path).exception, ReproError)


def test_a_long_cost_of_several_steps_is_told_once(tmp_path):
    text = plan("--table", 2, "--profile", "full", "--source", "trained", "--results", tmp_path, missing=True)
    lines = text.splitlines()
    costs = [line.rpartition("cost: ")[2] for line in lines if "; cost: " in line]
    long = [cost for cost in costs if len(cost) > 40]
    assert len(long) == len(set(long))
    named = {cost for cost in costs if cost.startswith("cost ")}
    assert named
    assert {line.partition(":")[0] for line in lines if line.startswith("cost ")} == named


def test_each_step_has_the_command_that_measures_it(tmp_path):
    words = ["--profile", "full", "--source", "trained", "--device", "cpu", "--seeds", 2, "--results", tmp_path]
    steps = json.loads(plan("--experiments", "coco-r50-gc-r16", *words, "--json"))
    options = ["--profile", "full", "--source", "trained", "--results", str(tmp_path), "--device", "cpu"]
    assert [shlex.split(step["command"]) for step in steps] == [
        ["repro", "run", "coco-r50-gc-r16", "--seed", seed, *options] for seed in ("0", "1")
    ]


def test_the_command_of_a_step_plans_the_same_step(tmp_path):
    words = ["--profile", "mini", "--set", "recipe.learning_rate=0.001", "--results", tmp_path, "--json"]
    (step,) = json.loads(plan("--experiments", "coco-r50-gc-r16", *words))
    _, _, name, _, seed, *rest = shlex.split(step["command"])
    (again,) = json.loads(plan("--experiments", name, *rest, "--json"))
    assert (again, seed) == (step, "0")


def test_what_is_on_disk_and_what_is_missing_stands_above_the_steps(coco_tiny, tmp_path):
    words = ["--profile", "full", "--source", "trained", "--data-root", coco_tiny, "--results", tmp_path]
    lines = plan("--experiments", "coco-r50-gc-r16", *words, missing=True).splitlines()
    assert "80 of 117,266 images to train on, 80 of 5,000 to evaluate" in lines[1]
    assert "cannot be a reproduction" in lines[1]
    assert MISSING in lines[2]
    (step,) = json.loads(plan("--experiments", "coco-r50-gc-r16", *words, "--json", missing=True))
    assert (step["status"], step["missing_here"]) == ("ready", MISSING)


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_plan_of_trainings_that_would_be_refused_here_fails(form, tmp_path):
    words = ["--table", 4, "--profile", "full", "--results", tmp_path, *form]
    assert "blocked" in plan(*words, missing=True)  # for want of data; with data it would be refused all the same
    assert "blocked" in plan(*words, "--device", "cuda")  # of another machine


def test_a_plan_of_evaluations_needs_no_cuda_device(tmp_path):
    words = ["--profile", "full", "--source", "checkpoint", "--results", tmp_path]
    assert "blocked" in plan("--experiments", "coco-r50-gc-r16", *words)


def test_an_interrupted_training_is_told(tmp_path):
    from repro.planning.work_order import order_work
    from repro.settings import Settings

    order = order_work("coco-r50-1gc", Settings(tmp_path, "mini", device="cpu"))
    order.directory.mkdir(parents=True)
    (order.directory / "log.jsonl").write_text('{"iteration": 37, "lr": 0.1, "losses": {}}\n')
    words = ["--experiments", "coco-r50-1gc", "--profile", "mini", "--results", tmp_path]
    assert "interrupted after iteration 37" in plan(*words)
    (step,) = json.loads(plan(*words, "--json"))
    assert step["progress"]["iteration"] == 37


@pytest.mark.parametrize("verb", [("run", "coco-r50-gc-r16"), ("reproduce", "--table", "2")])
def test_no_training_at_full_size_begins_without_a_cuda_device(verb, coco_tiny, tmp_path):
    words = ["--source", "trained", "--data-root", coco_tiny, "--results", tmp_path]
    error = invoke(*verb, *words).exception
    assert isinstance(error, ReproError)
    assert MISSING in str(error)
    assert "--device cpu" in str(error)


def test_trained_is_never_the_mini_profile_of_itself(tmp_path):
    error = invoke("run", "coco-r50-gc-r16", "--source", "trained", "--results", tmp_path).exception
    assert isinstance(error, ReproError)
    assert "COCO" in str(error)  # that is missing; it does not train something else instead

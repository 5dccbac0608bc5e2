"""What a plan costs in all."""

from __future__ import annotations

import os
from dataclasses import replace
from types import SimpleNamespace

from repro.experiments import get, mini
from repro.planning import keys
from repro.planning.costs import Cost
from repro.planning.plan import Step
from repro.planning.rates import Estimate
from repro.planning.totals import describe_totals
from repro.settings import Settings


def step(status="ready", source="trained", weights=None, **cost) -> Step:
    chosen = SimpleNamespace(id=weights) if weights else None
    return Step(get("coco-r50-1gc"), 0, status, "", Cost(**cost), source=source, weights=chosen)


def test_hours_are_a_lower_bound_where_some_are_not_known(tmp_path):
    full = Settings(tmp_path, "full")
    steps = [step(gpu_hours=100.0), step(gpu_hours=20.4), step("measured", gpu_hours=1e6)]
    line, _ = describe_totals(steps, full)
    assert line == "in all about 120 hours of a V100 by what the authors report: all 2 trainings"
    line, _ = describe_totals([*steps, step()], full)
    assert line == "in all at least 120 hours of a V100 by what the authors report: 2 of 3 trainings"
    assert "at least" in describe_totals([step(gpu_hours=1.0, at_least=True)], full)[0]


def test_a_file_that_two_rows_need_is_downloaded_once(tmp_path):
    steps = [step(source="checkpoint", weights=name, download=150_000_000) for name in ("a", "a", "b")]
    steps.append(step(source="checkpoint", weights="c"))
    assert describe_totals(steps, Settings(tmp_path, "full")) == [
        "in all downloads of weights: 300 MB, and 1 of unknown size"
    ]
    here = [step(source="checkpoint", weights="a", download=0)]
    assert describe_totals(here, Settings(tmp_path, "full")) == []


def test_the_mini_profile_is_divided_among_the_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    (line,) = describe_totals([step(seconds=60.0), step("blocked", seconds=180.0)], Settings(tmp_path, "mini"))
    assert line == "in all about 4 min of one core, 60 s on the 4 here"


def test_time_here_is_by_what_trainings_took(tmp_path):
    _, line = describe_totals([step(seconds=7200.0), step()], Settings(tmp_path, "full"))
    assert line == "in all about 2.0 h by what trainings took here: 1 of 2 trainings"


def test_hours_of_an_h200_are_told_with_the_rules_they_come_from(tmp_path):
    full = Settings(tmp_path, "full")
    rules = {"measured": 2, "FLOPs": 1}
    steps = [step(h200=Estimate(3600.0 * 10, 1800.0, rule, "")) for rule, n in rules.items() for _ in range(n)]
    evaluated = step(source="checkpoint", weights="a", download=0, h200=Estimate(0.0, 3600.0, "authors", ""))
    line, _ = describe_totals([*steps, evaluated], full)
    assert line == "in all about 32 hours of an H200 (trainings: 2 by their rates, 1 by FLOPs)"  # 3 x 10.5 + 1


def test_bytes_of_trainings_are_weights_logs_and_states(tmp_path):
    params, iterations = 44_534_006, 12 * 7330  # of the committed count; 117,266 images in batches of 16
    (line,) = describe_totals([step(), step()], Settings(tmp_path, "full"))
    assert line == (
        f"in all {2 * 4 * params / 1e9:.1f} GB of trained weights, {2 * 250 * iterations / 1e9:.1f} GB of logs, and "
        f"while one is trained, at most {16 * params / 1e9:.1f} GB of states; predictions besides"
    )


def test_nothing_left_costs_nothing(tmp_path):
    assert describe_totals([step("measured")], Settings(tmp_path, "mini")) == []


def test_what_mini_experiments_start_from_is_named_where_it_is_not_here(tmp_path):
    """Those of COCO start from a shared detector, which starts from a classifier: two trainings for all rows."""
    settings = Settings(tmp_path, "mini")
    names = ("coco-r50-1gc", "coco-r50-baseline")
    steps = [replace(step(seconds=20.0), experiment=mini.get_at_profile(name, "mini")) for name in names]
    (line,) = describe_totals(steps, settings)
    assert line.endswith("; and before that, once, 2 pre-trainings that experiments share, about 85 s")
    for number in (1, 2):
        chain = mini.list_pretrainings(steps[0].experiment)[:number]
        directory = keys.pretraining_directory(steps[0].experiment, chain, settings)
        directory.mkdir(parents=True)
        (directory / "weights.pt").write_bytes(b"")
        (line,) = describe_totals(steps, settings)
        assert line.endswith("1 pre-training that experiments share, about 55 s" if number == 1 else " here")

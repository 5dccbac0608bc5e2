"""How long a plan still takes: simulated plans whose steps take a known time."""

from __future__ import annotations

import pytest

from repro.measuring.pace import Pace, format_clock


def simulate(costs, slowness, workers=1, trainings=0.9):
    """Yield (true seconds left, estimate) while steps take `slowness` times their cost, one after another."""
    now = [0.0]
    pace = Pace(costs, workers, clock=lambda: now[0])
    ends = slowness * sum(costs)
    for step, cost in enumerate(costs):
        for part in range(20):
            pace.advance(step, "training", part, 20)
            yield ends - now[0], pace.remaining
            now[0] += slowness * cost * trainings / 20
        pace.advance(step, "evaluation", 1, 2)
        now[0] += slowness * cost * (1 - trainings)
        pace.finish(step)
    yield 0.0, pace.remaining


@pytest.mark.parametrize("slowness", [0.5, 1.0, 3.0])
def test_the_estimate_is_weighted_by_what_steps_are_expected_to_cost(slowness):
    costs = [10.0, 10.0, 10.0, 200.0, 40.0]
    total = slowness * sum(costs)
    for true, estimated in simulate(costs, slowness):
        if true < 0.85 * total:  # after the first steps
            assert estimated == pytest.approx(true, abs=0.3 * total)
        if true < 0.5 * total:
            assert estimated == pytest.approx(true, abs=0.1 * total)


def test_as_expected_it_is_right_all_the_time():
    for true, estimated in simulate([10.0, 100.0, 50.0], 1.0):
        assert estimated == pytest.approx(true, abs=1e-9)


def test_the_last_experiment_is_not_shared_by_idle_workers():
    pace = Pace([10.0, 10.0, 100.0], workers=2, clock=lambda: 0.0)
    for step in range(2):
        pace.finish(step)
    assert pace.remaining >= 100 * (0.05 * 120) / (20 + 0.05 * 120) - 1e-9
    assert Pace([100.0], workers=8, clock=lambda: 0.0).remaining == 100


@pytest.mark.parametrize("slowness", [0.5, 1.0, 2.0])
def test_while_all_wait_for_what_they_share_the_estimate_goes_down(slowness):
    """Twenty runs of 20 s by two workers begin with a classifier of 20 s and a detector of 60, which one executes."""
    now = [0.0]
    pace = Pace([20.0] * 20, 2, [("classifier", 20.0), ("detector", 60.0)], clock=lambda: now[0])
    end = slowness * (80 + 200)
    assert pace.remaining == 280
    assert pace.fraction == 0
    for stage, cost in (("classifier", 20.0), ("detector", 60.0)):
        for part in range(11):
            pace.advance(0, stage, part, 10)
            if now[0] >= 0.05 * end:
                assert pace.remaining == pytest.approx(end - now[0], rel=0.25 if stage == "classifier" else 0.2)
            now[0] += slowness * cost / 10 if part < 10 else 0.0
    assert pace.fraction == pytest.approx(80 / 480)
    pace.advance(0, "training", 0, 10)
    pace.advance(1, "training", 0, 10)
    assert pace.remaining == pytest.approx(end - now[0], rel=0.1)
    for step in range(0, 20, 2):
        now[0] += slowness * 20
        pace.finish(step)
        pace.finish(step + 1)
        assert pace.remaining == pytest.approx(end - now[0], abs=0.06 * end)


def test_shared_trainings_beside_other_steps_do_not_look_like_slowness():
    """Two workers, ten runs of 20 s and a detector of 60 s for each half: the second is trained while runs go on."""
    now = [0.0]
    pace = Pace([20.0] * 10, 2, [("detector", 60.0)] * 2, clock=lambda: now[0])
    for part in range(11):
        pace.advance(0, "detector", part, 10)
        now[0] += 6.0 * (part < 10)
    for step in range(3):  # by one worker, while the other trains the second detector
        for part in range(11):
            pace.advance(step, "training", part, 10)
            pace.advance(5, "detector", 10 * step + part, 30)
            now[0] += 2.0 * (part < 10)
        pace.finish(step)
    assert pace.remaining == pytest.approx(7 * 20 / 2, rel=0.1)


def test_what_an_interrupted_run_left_of_it_counts_but_not_as_speed():
    now = [0.0]
    pace = Pace([20.0] * 4, 2, [("detector", 60.0)], clock=lambda: now[0])
    pace.advance(0, "detector", 50, 100)
    assert pace.remaining == pytest.approx(30 + 40)
    now[0] = 6.0
    pace.advance(0, "detector", 60, 100)
    assert pace.remaining == pytest.approx(24 + 40)


def test_without_expectations_nothing_is_said_before_something_is_done():
    now = [0.0]
    pace = Pace([0.0, 0.0], 1, clock=lambda: now[0])
    assert pace.remaining is None
    pace.advance(0, "pre-training", 5, 10)
    pace.advance(0, "training", 0, 10)
    assert pace.remaining is None
    now[0] = 30.0
    pace.finish(0)
    assert pace.remaining == pytest.approx(30)


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "?"), (65, "1:05"), (3600 * 2 + 61, "2:01:01"), (3600 * 76, "3 d 4 h")]
)
def test_times_are_for_people(seconds, text):
    assert format_clock(seconds) == text

"""Which step a free worker takes: none waits for what another one trains while there is anything else to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from repro.engine.fitted import WEIGHTS
from repro.experiments import mini
from repro.measuring.waiting import Waiting
from repro.planning import keys, plan
from repro.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(results=tmp_path / "results")


def take(waiting):
    step = waiting.take()
    return step, (step.experiment.name, step.seed)


def finish_shared_training(step, settings):
    """Put the weights where the shared training of a step leaves them."""
    settings = replace(settings, seed=step.seed)
    place = keys.pretraining_directory(step.experiment, mini.list_pretrainings(step.experiment), settings)
    place.mkdir(parents=True)
    (place / WEIGHTS).touch()


def test_a_second_worker_begins_the_next_seed_while_the_first_trains_what_a_seed_shares(settings):
    waiting = Waiting(plan.plan(["coco-r50-baseline", "coco-r50-1gc"], settings, range(2)))
    first, named = take(waiting)
    assert named == ("coco-r50-baseline", 0)
    assert take(waiting)[1] == ("coco-r50-baseline", 1)
    finish_shared_training(first, settings)
    assert take(waiting)[1] == ("coco-r50-1gc", 0)


def test_where_nothing_else_is_left_it_waits_and_a_failed_step_keeps_nobody(settings):
    steps = plan.plan(["coco-r50-baseline", "coco-r50-1gc", "coco-r50-1nl"], settings, range(1))
    waiting = Waiting(steps)
    first, _ = take(waiting)
    assert take(waiting)[1][1] == 0
    waiting.finish(first)
    assert take(waiting)[1][1] == 0
    assert waiting.take() is None


def test_second_stages_wait_for_the_first_one_of_their_seed(settings):
    waiting = Waiting(plan.plan(["imagenet-r50-baseline"], settings, range(2)))
    first, named = take(waiting)
    assert named == ("imagenet-r50-stage1", 0)
    second, named = take(waiting)
    assert named == ("imagenet-r50-stage1", 1)
    second.order.directory.mkdir(parents=True)
    (second.order.directory / WEIGHTS).touch()
    waiting.finish(second)
    assert take(waiting)[1] == ("imagenet-r50-baseline", 1)
    waiting.finish(first)
    assert take(waiting)[1] == ("imagenet-r50-baseline", 0)


def test_a_place_that_cannot_be_read_stops_nobody(settings):
    """Whoever begins with it says what is wrong."""
    waiting = Waiting(plan.plan(["coco-r50-baseline", "coco-r50-1gc"], settings, range(1)))
    first, _ = take(waiting)
    first.order.directory.mkdir(parents=True)
    (first.order.directory / WEIGHTS).symlink_to("nowhere")
    assert take(waiting)[1] == ("coco-r50-1gc", 0)


def test_other_networks_share_nothing(settings):
    waiting = Waiting(plan.plan(["coco-r50-baseline", "coco-r101-baseline"], settings, range(2)))
    names = [take(waiting)[1] for _ in range(2)]
    assert sorted(names) == [("coco-r101-baseline", 0), ("coco-r50-baseline", 0)]

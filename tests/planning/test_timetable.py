"""When the steps of a plan would run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from repro import paper
from repro.errors import ReproError
from repro.planning.plan import plan
from repro.planning.timetable import make_timetable, name_step
from repro.settings import Settings


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return Settings(tmp_path_factory.mktemp("results"), "full", source="trained")


@pytest.fixture(scope="module")
def steps(full):
    """Of Table 4, with two seeds."""
    return plan(paper.load(4).experiments, full, range(2))


def test_the_first_stage_goes_before_all_that_begin_with_it(full, steps):
    table = make_timetable(steps, full, 4)
    places = {name_step(step): table.find(step) for step in steps}
    assert len(places) == 1 + 8 * 2
    first = places.pop("imagenet-r50-stage1 seed 0")
    assert first.begin == 0
    assert first.end == pytest.approx(120 * 1_281_167 / 910 + 50_000 / 3 / 910)
    assert min(place.begin for place in places.values()) == first.end


def test_devices_divide_each_training(full, steps):
    alone, divided = (make_timetable(steps, replace(full, devices=n), 8) for n in (1, 8))
    assert alone.bounds.shared == pytest.approx(divided.bounds.shared)
    assert alone.bounds.chain == pytest.approx(8 * divided.bounds.chain)
    told = divided.describe()
    assert told[0].startswith("on 8 H200 GPUs, 8 for each training: ")
    assert "(imagenet-r50-stage1 seed 0, then imagenet-r50-" in told[1]


def test_the_mini_profile_has_no_gpus(full, steps):
    with pytest.raises(ReproError, match="--gpus plans the full profile"):
        make_timetable(steps, replace(full, profile="mini"), 8)


def test_what_is_measured_takes_no_time(full, steps):
    done = [replace(step, status="measured") for step in steps[:-1]]
    table = make_timetable([*done, steps[-1]], full, 4)
    assert [table.find(step) is None for step in done] == [True] * len(done)
    assert table.find(steps[-1]).begin == 0
    assert make_timetable(done, full, 4).describe() == []

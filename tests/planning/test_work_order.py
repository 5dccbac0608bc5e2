"""Work orders: decided once, and the same in another process."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from repro.checkpoints import choice
from repro.errors import ReproError
from repro.experiments import get
from repro.planning import keys
from repro.planning.work_order import (
    CheckpointWork,
    TrainedWork,
    confirm_unchanged,
    from_json,
    order_evaluation,
    order_work,
    to_json,
)
from repro.settings import Settings


def travelled(order):
    """The order after a journey as text."""
    return from_json(json.loads(json.dumps(to_json(order))))


@pytest.mark.parametrize("name", ["coco-r50-gc-r16", "coco-x101-dcn-cascade-gc-r4", "kinetics-r50-5nl"])
def test_a_training_travels_unchanged(name, tmp_path):
    settings = Settings(results=tmp_path, seed=3, devices=2, threads=4)
    order = replace(order_work(name, settings), attention=True)
    assert travelled(order) == order
    assert order.key == keys.training_key(order.experiment, settings)
    assert order.directory.name == f"{name}.mini.seed3.{order.key[:12]}"


def test_an_order_names_the_training_that_it_starts_from(tmp_path):
    order = order_work("imagenet-r50-gc-r16", Settings(results=tmp_path, seed=2))
    assert travelled(order) == order
    first = order.starts_from
    assert isinstance(first, TrainedWork)
    assert (first.experiment.name, first.settings.seed, first.starts_from) == ("imagenet-r50-stage1", 2, None)
    assert first == order_work("imagenet-r50-stage1", Settings(results=tmp_path, seed=2, source="trained"))


def test_an_evaluation_travels_unchanged(tmp_path, monkeypatch):
    monkeypatch.setattr(keys.sources, "identify_data", lambda *_: "data")
    settings = Settings(results=tmp_path, profile="full", source="checkpoint", data_root=tmp_path)
    weights = choice.find_exact(get("coco-r50-gc-r16"))
    order = order_evaluation(get("coco-r50-gc-r16"), settings, weights)
    assert isinstance(travelled(order), CheckpointWork)
    assert travelled(order) == order
    file = tmp_path / "weights.pth"
    file.write_bytes(b"any")
    order = order_evaluation(get("coco-r50-gc-r16"), settings, choice.choose(get("coco-r50-gc-r16"), str(file)))
    assert travelled(order) == order


def test_an_order_for_another_definition_is_refused(tmp_path):
    content = to_json(order_work("coco-r50-baseline", Settings(results=tmp_path)))
    with pytest.raises(ReproError, match="coco-r50-baseline is defined in another way here"):
        from_json({**content, "spec_hash": "0" * 64})


@pytest.mark.parametrize("option", ["initial", "weights"])
def test_a_file_that_changed_since_the_plan_is_refused(option, tmp_path, monkeypatch):
    monkeypatch.setattr(keys.sources, "identify_data", lambda *_: "data")
    file = tmp_path / "weights.pth"
    file.write_bytes(b"before")
    settings = Settings(results=tmp_path, profile="full", data_root=tmp_path, **{option: str(file)})
    settings = replace(settings, source="checkpoint") if option == "weights" else settings
    order = order_work("coco-r50-gc-r16", settings)
    confirm_unchanged(order)
    file.write_bytes(b"after")
    with pytest.raises(ReproError, match="coco-r50-gc-r16: the data set, or a file given with --init or --weights"):
        confirm_unchanged(order)


def test_a_data_set_that_changed_since_the_plan_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(keys.sources, "identify_data", lambda *_: "before")
    order = order_work("kinetics-r50-5gc", Settings(results=tmp_path, profile="full", data_root=tmp_path))
    monkeypatch.setattr(keys.sources, "identify_data", lambda *_: "after")
    with pytest.raises(ReproError, match="kinetics-r50-5gc: the data set, or a file"):
        confirm_unchanged(order)


def test_a_reading_is_part_of_the_order_and_of_its_key(tmp_path):
    plain = Settings(results=tmp_path)
    settings = replace(plain, readings=(("single-block-relu", "after"),))
    order, default = order_work("coco-r50-1gc", settings), order_work("coco-r50-1gc", plain)
    assert order.experiment.readings == settings.readings
    assert order.experiment.network.backbone.context.position == "afterReLU"
    assert order.key != default.key
    assert order.directory != default.directory
    assert travelled(order) == order
    content = to_json(order)
    content["settings"]["readings"] = []
    with pytest.raises(ReproError, match="coco-r50-1gc is defined in another way here"):
        from_json(content)


def test_a_reading_touches_what_a_training_starts_from_only_where_it_changes_it(tmp_path):
    settings = Settings(results=tmp_path, readings=(("single-block-relu", "after"),))
    order = order_work("imagenet-r50-1gc", settings)
    default = order_work("imagenet-r50-1gc", Settings(results=tmp_path))
    assert order.starts_from.key == default.starts_from.key
    assert order.starts_from.experiment.readings == ()


def test_a_reading_that_does_not_touch_the_experiment_is_refused(tmp_path):
    settings = Settings(results=tmp_path, readings=(("single-block-relu", "after"),))
    with pytest.raises(
        ReproError, match="single-block-relu=after changes nothing of coco-r50-gc-r16 in the mini profi"
    ):
        order_work("coco-r50-gc-r16", settings)


def test_a_reading_of_the_evaluation_names_the_training_whose_network_it_takes(tmp_path):
    both = (("attention-images", "six"), ("nl-start", "msra"))
    order = order_work("coco-r50-1nl", Settings(results=tmp_path, readings=both))
    assert travelled(order) == order
    trained = order_work("coco-r50-1nl", Settings(results=tmp_path, readings=both[1:]))
    assert order.network_of == order.training == trained
    assert trained.network_of is None
    assert (order.attention, trained.attention) == (True, False)
    assert order.key != trained.key


def test_published_weights_take_no_reading_of_a_training(tmp_path, monkeypatch):
    monkeypatch.setattr(keys.sources, "identify_data", lambda *_: "data")
    settings = Settings(results=tmp_path, profile="full", data_root=tmp_path, readings=(("gpus", "4x4"),))
    assert isinstance(order_work("coco-r50-gc-r16", settings), TrainedWork)
    with pytest.raises(ReproError, match="--reading gpus=4x4 shapes a training; checkpoints have had it"):
        order_work("coco-r50-gc-r16", replace(settings, source="checkpoint"))
    order = order_work("coco-r50-gc-r16", replace(settings, readings=(("proposals", "1000"),)))
    assert isinstance(order, CheckpointWork)
    assert order.weights.network(order.experiment).proposals == (2000, 1000)
    assert travelled(order) == order

"""Evaluations of a network that is being trained: they change no bit of it, and are what evaluating it would give."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import imagenet_measurements as small
import pytest
import torch

from repro import experiments, tasks
from repro.data.classification import normalise
from repro.experiments import mini
from repro.files.seals import unseal_bytes
from repro.measuring.measure import measure
from repro.planning import keys
from repro.planning.work_order import order_work

pytestmark = pytest.mark.rounding

NAME = "imagenet-r50-stage1"  # it has batch norm, and is trained from nothing; 3 iterations an epoch, 12 in all


class Interrupted(Exception):
    pass


@pytest.fixture(scope="module", autouse=True)
def tiny():
    patch = pytest.MonkeyPatch()
    for name, experiment in small.all_small().items():
        patch.setitem(experiments.EXPERIMENTS, name, experiment)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    data = small.write_data(tmp_path_factory.mktemp("data"))
    return small.settings(data, tmp_path_factory.mktemp("never"))


def run(settings, stop=None):
    def progress(stage, done, total, at=None):
        if (stage, done) == stop:
            raise Interrupted

    return measure(order_work(NAME, settings), command="repro run", progress=progress)


def read_rows(settings):
    with (keys.training_directory(experiments.get(NAME), settings) / "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def evaluations(settings):
    return {row["step"]: row["evaluation/top1"] for row in read_rows(settings) if "evaluation/top1" in row}


def directory(settings):
    return keys.training_directory(experiments.get(NAME), settings)


def test_nothing_of_a_training_changes_by_evaluating_it(settings, tmp_path):
    plain = run(settings)
    observed = replace(settings, results=tmp_path, evaluate_every=1)
    record = run(observed)
    for name in ("weights.pt", "log.jsonl", "predictions.json.gz"):
        assert (directory(observed) / name).read_bytes() == (directory(settings) / name).read_bytes(), name
    assert (record.key, record.metrics) == (plain.key, plain.metrics)
    top1 = next(metric.value for metric in record.metrics if metric.name == "top1")
    assert list(evaluations(observed)) == [3, 6, 9, 12]
    assert evaluations(observed)[12] == top1
    assert evaluations(settings) == {12: top1}
    assert not (directory(observed) / "meanwhile" / "shards").exists()


def test_it_is_what_evaluating_the_saved_network_gives(settings, tmp_path):
    observed = replace(settings, results=tmp_path, evaluate_every=2)
    with pytest.raises(Interrupted):
        run(observed, stop=("training", 7))  # a state was saved after 6
    content, _ = unseal_bytes((directory(observed) / "state.pt").read_bytes())
    task = tasks.task_for(experiments.get(NAME), observed)
    network = task.build_network()
    network.load_state_dict(torch.load(io.BytesIO(content), weights_only=True)["model"])
    data = task.validation_data
    samples = [data.sample(index) for index in range(len(data))]
    images = normalise(torch.stack([sample.image for sample in samples]), data.preprocessing)
    with torch.inference_mode():
        order = network.eval()(images).argsort(1, descending=True)
    labels = torch.tensor([sample.label for sample in samples])
    (row,) = (row for row in read_rows(observed) if "evaluation/top1" in row)
    assert row["step"] == 6
    for top in (1, 5):
        right = (order[:, :top] == labels[:, None]).any(1).double().mean().item()
        assert row[f"evaluation/top{top}"] == pytest.approx(100 * right)
    assert row["evaluation/top5"] > 0


def test_interrupted_in_an_evaluation_it_is_made_once(settings, tmp_path):
    observed = replace(settings, results=tmp_path, evaluate_every=2)
    with pytest.raises(Interrupted):
        run(observed, stop=("evaluation after iteration 6", 5))
    with pytest.raises(Interrupted):
        run(observed, stop=("training", 11))
    run(observed)
    assert list(evaluations(observed)) == [6, 12]
    assert [row["step"] for row in read_rows(observed) if "loss" in row] == list(range(1, 13))


def test_no_key_depends_on_what_is_seen(settings):
    seen = replace(settings, evaluate_every=3, tensorboard=True, wandb=True)
    for name, of in ((NAME, "full"), ("coco-r50-gc-r16", "mini"), ("kinetics-r50-5nl", "mini")):
        experiment = mini.shrink(experiments.get(name)) if of == "mini" else experiments.get(name)
        first, second = (replace(each, profile=of, data_root=settings.data_root) for each in (settings, seen))
        assert keys.training_key(experiment, first) == keys.training_key(experiment, second)

"""One experiment from data to record, small enough for a test: whole, resumed, refused."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import ANY

import numpy as np
import pytest
import torch

from repro.data.miniature import coco as miniature
from repro.detection.torchvision import MaskRCNN
from repro.engine.launch import Processes
from repro.errors import ReproError
from repro.evaluation.matches import load_matches
from repro.experiments import mini, readings
from repro.files import notices
from repro.files.locks import hold_directory_lock
from repro.measuring import measure as measure_module
from repro.measuring.batch_division import divide_batch
from repro.measuring.deviations import protocol_deviations, recipe_overrides
from repro.measuring.measure import measure
from repro.paper.hypotheses import hash_hypotheses
from repro.planning.work_order import order_work
from repro.settings import Settings
from repro.statistics.precision import compute_average_precision
from repro.tasks.detection import Detection
from repro.verification.effects.evidence import locate_evidence

pytestmark = pytest.mark.rounding

NAME = "coco-r50-gc-r16"


@pytest.fixture(scope="module")
def small():
    """The mini profile with 24 + 8 images, four iterations of pre-training and six of training."""
    patch = pytest.MonkeyPatch()
    scenes = replace(mini.coco.SCENES, train_images=24, val_images=8, lit_images=8, classification_images=16)
    pretraining = replace(
        mini.coco.PRETRAINING, recipe=replace(mini.coco.PRETRAINING.recipe, batch_size=4, iterations=4)
    )
    for module in (mini.coco, miniature):
        patch.setattr(module, "SCENES", scenes)
    shared = replace(mini.coco.SHARED_RECIPE, batch_size=4, iterations=3, warmup_iterations=1)
    patch.setattr(mini.coco, "SHARED_RECIPE", shared)
    patch.setattr(mini.coco, "PRETRAINING", pretraining)
    patch.setattr(mini.coco, "DATASET_KEY", "0" * 64)
    patch.setattr(mini.coco, "CONTENT", ANY)
    shrink = mini.shrink
    short = {"iterations": 6, "batch_size": 4, "warmup_iterations": 2}
    patch.setattr(mini, "shrink", lambda e: replace(shrink(e), recipe=replace(shrink(e).recipe, **short)))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """The settings and the record of an uninterrupted measurement."""
    settings = Settings(results=tmp_path_factory.mktemp("whole"))
    return settings, measure(order_work(NAME, settings), command="repro run", progress=lambda *_: None)


class Interrupted(Exception):
    pass


def stop_at(stage, done):
    def progress(at, number, total, *_):
        if (at, number) == (stage, done):
            raise Interrupted

    return progress


def weights(settings):
    (path,) = settings.results.glob(f"runs/{NAME}.mini.seed0.*/weights.pt")
    return path.read_bytes()


def test_the_record_is_whole(whole):
    settings, record = whole
    assert (record.experiment, record.profile, record.source) == (NAME, "mini", "trained")
    assert record.spec_hash == mini.get_at_profile(NAME, "mini").spec_hash
    assert [metric.name for metric in record.metrics] == [
        "ap_box", "ap50_box", "ap75_box", "ap_mask", "ap50_mask", "ap75_mask",
    ]  # fmt: skip
    assert all(metric.n == 8 and 0 <= metric.value <= 100 for metric in record.metrics)
    assert (record.dataset.expected, record.dataset.evaluated) == (8, 8)
    assert len(record.dataset.drawn_sha256) == len(record.dataset.files_sha256) == 64
    assert (record.training.iterations, record.training.effective_batch) == (6, 4)
    assert "not comparable" in record.deviations[0]
    assert record.weights.sha256 == hashlib.sha256(weights(settings)).hexdigest()
    assert settings.store.all() == [record]
    assert record.hypotheses == hash_hypotheses("coco")


def test_its_evidence_gives_the_recorded_numbers(whole):
    settings, record = whole
    matches = load_matches(locate_evidence(settings.results, record))
    assert matches.predictions_sha256 == record.predictions_sha256
    everything = np.ones((record.dataset.evaluated, 1), dtype=np.int32)
    for kind in ("box", "mask"):
        found = compute_average_precision(matches, kind, everything)[:, 0]
        recorded = [record.require(f"{metric}_{kind}").value for metric in ("ap", "ap50", "ap75")]
        assert found == pytest.approx(recorded, abs=1e-9)


def test_of_several_processes_the_second_tells_for_whom_the_others_wait(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(notices, "PATIENCE", 0.05)
    order = SimpleNamespace(directory=tmp_path)
    with hold_directory_lock(tmp_path):
        for rank in range(4):
            execution = SimpleNamespace(processes=Processes(4, 4, rank), order=order)
            with measure_module._telling_for_whom(execution, "to evaluate the predictions"):
                time.sleep(0.4 if rank == 1 else 0.1)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("processes 2 to 4 wait for the first one to evaluate the predictions; ")
    assert f"in {tmp_path} works process {os.getpid()} on host " in line


def test_nothing_is_measured_twice(whole):
    settings, record = whole

    def refuse(*_):
        raise AssertionError("something was trained or evaluated again")

    assert measure(order_work(NAME, settings), command="again", progress=refuse) == record


def test_a_lost_record_is_made_again_from_the_weights(whole, tmp_path):
    import shutil

    settings, record = whole
    copy = replace(settings, results=shutil.copytree(settings.results, tmp_path / "copy"))
    (copy.store.directory / record.filename).unlink()

    def no_training(stage, *_):
        assert stage == "evaluation"

    again = measure(order_work(NAME, copy), command="again", progress=no_training)
    assert (again.metrics, again.key) == (record.metrics, record.key)


@pytest.mark.parametrize(("stage", "done"), [("pre-training", 2), ("training", 3), ("evaluation", 5)])
def test_interrupted_anywhere_the_end_is_the_same(whole, tmp_path, stage, done):
    settings, record = whole
    resumed = replace(settings, results=tmp_path)
    with pytest.raises(Interrupted):
        measure(order_work(NAME, resumed), command="repro run", progress=stop_at(stage, done))
    assert resumed.store.all() == []
    again = measure(order_work(NAME, resumed), command="repro run", progress=lambda *_: None)
    assert weights(resumed) == weights(settings)
    assert (again.metrics, again.predictions_sha256, again.key) == (
        record.metrics, record.predictions_sha256, record.key,
    )  # fmt: skip


def test_the_strongest_network_of_table_3_resumes_to_the_same_end(small, tmp_path):
    name = "coco-x101-dcn-cascade-gc-r4"
    ends = []
    for stops in ((), (("training", 3), ("evaluation", 5))):
        settings = Settings(results=tmp_path / str(len(stops)), save_every=2)
        for stop in stops:
            with pytest.raises(Interrupted):
                measure(order_work(name, settings), command="repro run", progress=stop_at(*stop))
        record = measure(order_work(name, settings), command="repro run", progress=lambda *_: None)
        assert record.training.resumed == (1 if stops else 0)
        ends.append((record.weights.sha256, record.predictions_sha256, record.metrics, record.key))
    assert ends[0] == ends[1]


def test_a_training_in_channels_last_is_evaluated_in_the_format_of_evaluations(whole, tmp_path, monkeypatch):
    """As on a GPU, carried out on the CPU."""
    asked = []
    monkeypatch.setattr(
        Detection, "choose_training_memory_format", lambda *_: asked.append("training") or torch.channels_last
    )
    evaluated, trained = [], []
    monkeypatch.setattr(
        MaskRCNN, "find_instances", watch(MaskRCNN.find_instances, lambda model: evaluated.append(lies_last(model)))
    )
    monkeypatch.setattr(MaskRCNN, "losses", watch(MaskRCNN.losses, lambda model: trained.append(lies_last(model))))
    settings, record = replace(whole[0], results=tmp_path), whole[1]
    again = measure(order_work(NAME, settings), command="repro run", progress=lambda *_: None)
    assert asked
    assert (set(trained[-6:]), set(evaluated)) == ({True}, {False})
    assert "channels_last" not in again.numerics
    assert again.numerics["trained_channels_last"] is True
    assert "trained_channels_last" not in record.numerics
    assert again.training.final_loss == pytest.approx(record.training.final_loss, rel=1e-3)


def watch(method, see):
    def watched(model, *arguments):
        see(model)
        return method(model, *arguments)

    return watched


def lies_last(model):
    """Whether the kernels of convolutions have their channels last; of 1x1 ones it cannot be told."""
    return not model.backbone.conv1.weight.is_contiguous()


def test_the_global_generator_is_not_what_decides(whole, tmp_path):
    settings, record = whole
    torch.manual_seed(12345)
    again = measure(order_work(NAME, replace(settings, results=tmp_path)), command="", progress=lambda *_: None)
    assert again.weights.sha256 == record.weights.sha256


def test_another_seed_is_another_measurement(whole):
    settings, record = whole
    other = measure(order_work(NAME, replace(settings, seed=1)), command="", progress=lambda *_: None)
    assert other.key != record.key
    assert other.weights.sha256 != record.weights.sha256


def test_the_state_of_another_experiment_is_refused(whole, tmp_path):
    settings, _ = whole
    start = replace(settings, results=tmp_path)
    with pytest.raises(Interrupted):
        measure(order_work(NAME, start), command="", progress=stop_at("training", 3))
    (directory,) = tmp_path.glob(f"runs/{NAME}.*")
    foreign = {"identity": "f" * 64, "position": {}, "model": {}, "optimizer": {}}
    torch.save(foreign, directory / "state.pt")
    with pytest.raises(ReproError, match="belongs to another training"):
        measure(order_work(NAME, start), command="", progress=lambda *_: None)


def test_the_data_of_another_experiment_are_refused(whole, tmp_path):
    settings, _ = whole
    (annotations,) = settings.results.glob("data/mini-*/annotations")
    full = Settings(tmp_path, "full", data_root=annotations.parent, initial="random")
    with pytest.raises(ReproError, match="6 categories, the detector has 80"):
        measure(order_work("coco-r50-baseline", full), command="", progress=lambda *_: None)


def test_the_weights_of_another_network_are_refused_as_initial_ones(whole, coco_tiny, tmp_path):
    settings, _ = whole
    (detector,) = settings.results.glob(f"runs/{NAME}.mini.seed0.*/weights.pt")
    full = Settings(tmp_path, "full", data_root=coco_tiny, initial=str(detector))
    with pytest.raises(ReproError, match="belong to another network"):
        measure(order_work("coco-r50-baseline", full), command="", progress=lambda *_: None)


def test_what_was_asked_for_instead_of_the_papers_recipe_is_listed(tmp_path):
    experiment = mini.get_at_profile("coco-r50-baseline", "full")
    plain = Settings(results=None, profile="full")

    def listed(settings, processes=1, accelerator="cpu"):
        parts = divide_batch(experiment, settings, Processes(processes, processes), accelerator)
        return recipe_overrides(experiment, settings, parts)

    assert listed(plain) == []
    hand_made = tmp_path / "resnet50-19c8e357.pth"
    hand_made.write_text("by name alone it is not the recipe's file")
    assert "given by hand" in listed(replace(plain, initial=str(hand_made)))[0]
    asked = {"initial": "random", "iterations": 3, "batch_size": 2, "micro_batch": 1, "precision": "bf16-mixed"}
    for option, value in asked.items():
        (text,) = listed(replace(plain, **{option: value}))
        assert str(value) in text
    assert len(listed(replace(plain, **asked))) == len(asked)
    # The paper's own division: 8 GPUs with two images each, one pass, statistics over all sixteen.
    assert listed(replace(plain, micro_batch=2), processes=8, accelerator="cuda") == []
    (text,) = listed(replace(plain, micro_batch=1), processes=8, accelerator="cuda")
    assert text == "batch norm over 8 images, gradients accumulated to the batch"


@pytest.mark.parametrize(("followed", "gpus"), [((), 8), ((("gpus", "4x4"),), 4)])
def test_a_training_divided_as_its_reading_says_has_no_deviation_of_the_batch(followed, gpus):
    experiment = readings.get_experiment("coco-r50-baseline", "full", followed)
    plain = Settings(results=None, profile="full")

    def listed(processes, accelerator="cuda", **changes):
        settings = replace(plain, **changes)
        parts = divide_batch(experiment, settings, Processes(processes, processes), accelerator)
        return " ".join(protocol_deviations(experiment, settings, parts))

    assert "GPUs" not in listed(gpus)
    assert "losses" not in listed(gpus)
    assert f"{12 - gpus} processes instead of {gpus} GPUs" in listed(12 - gpus)
    assert f"1 process instead of {gpus} GPUs" in listed(1)
    assert "losses" not in listed(1)  # they are means over the images of one GPU on one process, too
    assert f"losses are means over 1, not over the {16 // gpus} images of a GPU" in listed(1, micro_batch=1)


def test_the_log_has_a_line_for_every_iteration(whole):
    settings, _ = whole
    (log,) = settings.results.glob(f"runs/{NAME}.mini.seed0.*/log.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["iteration"] for line in lines] == list(range(1, 7))


def test_a_record_that_another_node_wrote_while_its_lock_was_waited_for_is_looked_for_anew(tmp_path, monkeypatch):
    """A client of NFS may remember for a minute that it was not there."""
    looked, store = [], SimpleNamespace(directory=tmp_path / "records")
    order = SimpleNamespace(directory=tmp_path / "run", settings=SimpleNamespace(store=store))
    monkeypatch.setattr(measure_module, "look_anew", looked.append)
    monkeypatch.setattr(measure_module, "_across_processes", lambda *_: list(looked))
    for first in (True, False):
        execution = SimpleNamespace(fabric=SimpleNamespace(is_global_zero=first), order=order)
        assert measure_module._with_run_lock(execution, "repro run", print) == [store.directory] * first
        looked.clear()

"""Logs beside `log.jsonl`: whatever interrupts a training, they have every row once, and change none of its bits."""

from __future__ import annotations

import csv
import errno
import json
import os
import random
import time
from contextlib import nullcontext
from statistics import fmean

import numpy as np
import pytest
import torch
from tiny_training import TOTAL, Noisy, Squares, recipe

from repro.engine import log_rows
from repro.engine.log_rows import OBSERVED, Window, read_rows
from repro.engine.log_targets import LogTargets
from repro.engine.logs import append_evaluation
from repro.engine.loop import fit
from repro.engine.observation import Observation
from repro.errors import ReproError

pytestmark = pytest.mark.rounding


def train(directory, observation=None, **options):
    options = {"identity": "tiny", "seed": 3, "save_every": 4, **options}
    return fit(Noisy(), recipe(), Squares(), directory=directory, observation=observation, **options)


def read_table(directory):
    with (directory / "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def read_log(directory):
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


def without_observed(directory):
    return [{name: value for name, value in row.items() if name not in OBSERVED} for row in read_table(directory)]


def interrupt(directory, at, save_every=4, **options):
    def stop(done):
        if done.iteration == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(directory, Observation(progress=stop, **options), save_every=save_every)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    directory = tmp_path_factory.mktemp("reference")
    train(directory)
    return directory


def test_a_short_training_has_a_row_for_each_iteration(reference):
    rows, lines = read_table(reference), read_log(reference)
    assert [row["step"] for row in rows] == list(range(1, TOTAL + 1))
    for row, line in zip(rows, lines, strict=True):
        assert {name: row[name] for name in line["losses"]} == line["losses"]
        assert row["loss"] == pytest.approx(sum(line["losses"].values()))
        assert (row["lr"], row["gradient_norm"]) == (line["lr"], line["norm"])
        assert row["images_per_second"] > 0
        assert 0 <= row["data_wait"] <= 1
        assert row["peak_memory_bytes"] > 50e6


def test_the_norm_is_that_of_the_gradient(tmp_path):
    """The first one, before it is clipped: by autograd, of the first batch."""
    from repro.engine.sampler import Batches, find_generators, reseed

    fit(Noisy(), recipe(clip_norm=0.01), Squares(), identity="", directory=tmp_path, seed=3)
    model = Noisy().train()
    epoch, indices = next(iter(Batches(len(Squares()), 4, 3, 0, 1)))
    reseed(find_generators(model), 3, 0, 0)
    losses = model([Squares().sample(index, seed=3, epoch=epoch, train=True) for index in indices])
    gradients = torch.autograd.grad(sum(losses.values()), list(model.parameters()))
    assert read_log(tmp_path)[0]["norm"] == pytest.approx(torch.cat([g.flatten() for g in gradients]).norm().item())


@pytest.mark.parametrize("at", [1, 4, 5, 9, 16, 17])
def test_interrupted_anywhere_the_table_has_every_row_once(at, tmp_path, reference):
    interrupt(tmp_path, at)
    train(tmp_path)
    assert without_observed(tmp_path) == without_observed(reference)
    assert all("images_per_second" in row for row in read_table(tmp_path))


def test_killed_around_every_replacement_of_a_file_the_table_has_every_row_once(separate_processes):
    root, report = separate_processes
    for name in [*report["killed"], "killed-at-random", "limited-log", "limited-state"]:
        assert without_observed(root / name) == without_observed(root / "reference"), name


def test_a_disk_that_is_full_from_any_flush_on_is_named(tmp_path, monkeypatch, reference):
    flush, told = os.fsync, 0
    for number in range(100):
        left = [number]

        def fill(descriptor, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            flush(descriptor)

        directory = tmp_path / str(number)
        with monkeypatch.context() as full:
            full.setattr(os, "fsync", fill)
            try:
                train(directory)
            except ReproError as error:
                assert "the disk is full" in str(error)  # noqa: PT017 there may be none
                told += 1
        train(directory)
        assert without_observed(directory) == without_observed(reference)
        if left[0] >= 0:
            break
    assert told == number > 10


def test_a_line_that_was_half_written_is_written_again(tmp_path, reference):
    interrupt(tmp_path, 10)
    table = tmp_path / "metrics.csv"
    table.write_bytes(table.read_bytes()[:-30])
    assert len(read_rows(tmp_path).training) == 9
    train(tmp_path)
    assert without_observed(tmp_path) == without_observed(reference)


def test_a_table_that_is_gone_or_altered_is_made_of_the_log(tmp_path, reference):
    interrupt(tmp_path / "gone", 10)
    (tmp_path / "gone" / "metrics.csv").unlink()
    interrupt(tmp_path / "altered", 10)
    altered = tmp_path / "altered" / "metrics.csv"
    altered.write_text(altered.read_text().replace("\n3,", "\n3,9"))
    for name in ("gone", "altered"):
        train(tmp_path / name)
        assert without_observed(tmp_path / name) == without_observed(reference), name
    assert ["seconds" in row for row in read_table(tmp_path / "gone")] == [False] * 8 + [True] * (TOTAL - 8)


def test_of_a_training_of_an_earlier_version_the_rows_are_those_of_its_log(tmp_path, reference):
    lines = [{name: line[name] for name in ("iteration", "lr", "losses")} for line in read_log(reference)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = read_rows(tmp_path).training
    assert [row["step"] for row in rows] == list(range(1, TOTAL + 1))
    assert [row["loss"] for row in rows] == [sum(line["losses"].values()) for line in lines]


def test_a_long_training_has_means_of_windows(tmp_path, monkeypatch):
    monkeypatch.setattr(log_rows, "_MOST_ROWS", 4)  # windows of 4 of 18 iterations, and of what is left
    interrupt(tmp_path, 11, targets=LogTargets())
    train(tmp_path, save_every=7)
    rows, lines = read_table(tmp_path), read_log(tmp_path)
    assert [row["step"] for row in rows] == [4, 8, 12, 16, 18]
    for row, window in zip(rows, (lines[:4], lines[4:8], lines[8:12], lines[12:16], lines[16:]), strict=True):
        assert row["gradient_norm"] == pytest.approx(fmean(line["norm"] for line in window))
        assert row["loss_fit"] == pytest.approx(fmean(line["losses"]["loss_fit"] for line in window))
        assert row["lr"] == window[-1]["lr"]


TABLES = [b"", b"step", b"step\n", b"step,step\n1,2\n3\n", b"step,loss\nnan,inf\n1,\n"]


@pytest.mark.parametrize("content", [*TABLES, b"a,b\n1,2\n", b"\xff\xfe\n\n"])
def test_a_file_that_is_no_table_does_no_harm(content, tmp_path):
    (tmp_path / "metrics.csv").write_bytes(content)
    with nullcontext() if content in TABLES else pytest.raises(ReproError, match="no log of a training"):
        assert len(read_rows(tmp_path).training) <= 1


# -- evaluation during the training ------------------------------------------------------------------------------------


def consume_randomness(iteration):
    random.random(), np.random.rand(), torch.rand(3)  # noqa: NPY002 - the global generator
    return {"ap": float(iteration)}


def test_evaluating_meanwhile_changes_no_bit(tmp_path, reference):
    train(tmp_path, Observation(evaluate=consume_randomness, every=1))
    for name in ("weights.pt", "log.jsonl"):
        assert (tmp_path / name).read_bytes() == (reference / name).read_bytes()


@pytest.mark.parametrize(("at", "save_every"), [(5, 4), (6, 4), (7, 4), (13, 4), (6, 6), (12, 3), (13, 6)])
def test_every_evaluation_is_logged_once(at, save_every, tmp_path):
    # 6 iterations an epoch: after 6 and 12; after 18 the network is evaluated as every one that was trained. A state
    # may be saved just before an evaluation in which the training is killed.
    interrupt(tmp_path, at, save_every, evaluate=consume_randomness, every=1)
    train(tmp_path, Observation(evaluate=consume_randomness, every=1))
    evaluations = [(row["step"], row["evaluation/ap"]) for row in read_table(tmp_path) if "evaluation/ap" in row]
    assert evaluations == [(6, 6), (12, 12)]
    for value in (40.0, 41.0):  # the second one as after a kill between the log and the record
        append_evaluation(tmp_path, "tiny", TOTAL, {"ap": value}, LogTargets())
    rows = read_table(tmp_path)
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, TOTAL + 1))
    assert [row["evaluation/ap"] for row in rows if "evaluation/ap" in row] == [6, 12, 41]


def test_the_time_of_an_evaluation_is_no_time_of_the_training(tmp_path):
    fitted = train(tmp_path, Observation(evaluate=lambda iteration: time.sleep(1) or {"ap": 1.0}, every=2))
    assert fitted.seconds < 1
    assert all(row["seconds"] < 1 for row in read_table(tmp_path) if "seconds" in row)


# -- TensorBoard and Weights & Biases ----------------------------------------------------------------------------------


def test_a_logger_that_is_not_installed_is_said_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("tensorboard", "wandb"):
        with pytest.raises(ReproError, match=rf"pip install 'gcnet-repro\[{name}\]'"):
            train(tmp_path / name, Observation(targets=LogTargets(**{name: True})))
        assert not (tmp_path / name / "weights.pt").exists()


def test_tensorboard_has_every_value_once_after_an_interruption(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = {"targets": LogTargets(tensorboard=True), "evaluate": consume_randomness, "every": 1}
    interrupt(tmp_path, 10, **options)
    train(tmp_path, Observation(**options))
    for value in (40.0, 41.0):
        append_evaluation(tmp_path, "tiny", TOTAL, {"ap": value}, LogTargets(tensorboard=True))
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"scalars": 0}, purge_orphaned_data=True)
    events.Reload()
    rows = [row for row in read_table(tmp_path) if "loss" in row]
    for name in ("loss", "loss_fit", "lr", "gradient_norm"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in found] == list(range(1, TOTAL + 1)), name
        assert [value for _, value in found] == pytest.approx([row[name] for row in rows], rel=1e-6)
    assert [(e.step, e.value) for e in events.Scalars("evaluation/ap")] == [(6, 6), (12, 12), (18, 41)]


def test_tensorboard_that_is_wished_later_has_what_was_before(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    interrupt(tmp_path, 10)
    train(tmp_path, Observation(targets=LogTargets(tensorboard=True)))
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(1, TOTAL + 1))


def test_weights_and_biases_offline_has_every_value(tmp_path, monkeypatch, request):
    wandb = pytest.importorskip("wandb")
    request.addfinalizer(wandb.teardown)  # ends its process, which outlives one that pytest-xdist ends
    monkeypatch.setenv("WANDB_MODE", "offline")
    options = {"targets": LogTargets(wandb=True), "evaluate": consume_randomness, "every": 1}
    interrupt(tmp_path, 10, **options)
    train(tmp_path, Observation(**options))
    append_evaluation(tmp_path, "tiny", TOTAL, {"ap": 41.0}, LogTargets(wandb=True))
    found = {}
    for file in sorted(tmp_path.glob("wandb/offline-run-*/*.wandb")):
        deadline = time.monotonic() + 20
        while not list(read_history(file)) and time.monotonic() < deadline:  # its own process writes it out at the end
            time.sleep(0.1)
        for step, values in read_history(file):
            known = found.setdefault(step, values)  # the server keeps the first of a step
            assert known["iteration"] == values["iteration"]
    rows = read_table(tmp_path)
    training = [found[step] for step in sorted(found) if "loss" in found[step]]
    assert [values["iteration"] for values in training] == list(range(1, TOTAL + 1))
    assert [values["loss"] for values in training] == [row["loss"] for row in rows if "loss" in row]
    evaluations = [found[step] for step in sorted(found) if "evaluation/ap" in found[step]]
    assert [(values["iteration"], values["evaluation/ap"]) for values in evaluations] == [(6, 6), (12, 12), (18, 41)]


def read_history(file):
    """(step, values) of an offline run: protocol buffers in the blocks of LevelDB's log format, after 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    content, at, parts = file.read_bytes(), 7, []
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # too little for a header: filled up with zeros
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        parts.append(content[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(b"".join(parts))
            parts = []
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                values = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
                yield record.history.step.num, values


def test_the_window_of_a_row_is_the_same_however_it_is_read():
    window = Window(4000)
    lines = [{"iteration": i, "lr": 0.1, "losses": {"loss_class": float(i)}, "norm": 1.0} for i in (1, 2)]
    assert [window.add(line) for line in lines] == [
        None, {"step": 2, "loss": 1.5, "loss_class": 1.5, "lr": 0.1, "gradient_norm": 1.0},
    ]  # fmt: skip

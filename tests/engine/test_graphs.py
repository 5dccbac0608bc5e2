"""Trainings whose passes are recorded and replayed: the same bytes as by ordinary passes, and what cannot be recorded.

CUDA graphs are stood in for by `recorded_operators`, which repeats what was executed on the same tensors.
"""

from __future__ import annotations

import inspect
import json
import math
import random
import re
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import recorded_operators
import torch
from device_samples import RandomSamples, build_network, build_task, shorten
from tiny_training import Squares, Steady, recipe, stack
from torch import nn
from typer.testing import CliRunner

from repro.cli import app
from repro.engine import distributed, graphs
from repro.engine.devices import convert_memory_format
from repro.engine.launch import Processes
from repro.engine.loop import fit
from repro.engine.observation import Observation
from repro.errors import ReproError
from repro.experiments import get
from repro.planning.arithmetic import check_arithmetic
from repro.planning.keys import training_key
from repro.planning.work_order import refuse_options_without_effect
from repro.settings import Settings


@pytest.fixture(autouse=True)
def recorded(monkeypatch):
    """How often something was recorded."""
    calls = []

    class Counting(recorded_operators.Recorder):
        def record(self, compute):
            calls.append(compute)
            return super().record(compute)

    monkeypatch.setattr(graphs, "Recorder", Counting)
    return calls


def train(directory, model=None, **options):
    options = {"of": recipe(batch_size=7), "collate": stack, "micro_batch": 3, "seed": 3, **options}
    return fit(model or Steady(), options.pop("of"), Squares(), identity="tiny", directory=directory, **options)


class Coloured(RandomSamples):
    """Images have changes of colour, as in a training on ImageNet."""

    def sample(self, index, **options):
        sample = super().sample(index, **options)
        if self.task.experiment.dataset != "imagenet":
            return sample
        return replace(sample, color=torch.eye(3, 4) + 0.1 * index)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize(
    "name", ["imagenet-r50-baseline", "imagenet-r50-gc-r16", "imagenet-r50-1nl", "imagenet-r50-avg-scale",
             "kinetics-r50-5nl", "kinetics-r50-gc-r4"],
)  # fmt: skip
def test_experiments_end_in_the_same_bytes(name, precision, recorded, tmp_path):
    """With dropout, running statistics, and passes of three and of one."""
    ends = []
    for replayed in (False, True):
        task = build_task(name, tmp_path, precision=precision)
        network, fabric = build_network(task), distributed.build_fabric(Processes(1, 1), "cpu", precision)
        convert_memory_format(network, task.choose_training_memory_format(fabric))
        directory = tmp_path / str(replayed)
        fitted = fit(
            network, replace(shorten(task.experiment.recipe), batch_size=4), Coloured(task), identity="tiny",
            directory=directory, seed=0, fabric=fabric, collate=task.collate, micro_batch=3, graphs=replayed,
        )  # fmt: skip
        ends.append((fitted.sha256, (directory / "log.jsonl").read_text()))
    assert ends[0] == ends[1]
    assert len(recorded) == 2


def test_a_shape_is_recorded_once_and_users_are_told(recorded, tmp_path, capsys):
    train(tmp_path, graphs=True)
    assert len(recorded) == 2  # 3 + 3 + 1
    told = [line for line in capsys.readouterr().err.splitlines() if "CUDA graph" in line]
    assert len(told) == 2
    assert all("replayed, it has the bits of an ordinary one" in line for line in told)


def test_an_interrupted_training_goes_on_to_the_same_bytes(tmp_path):
    class Stopped(Exception):
        pass

    def stop(at):
        if at.iteration == 6:
            raise Stopped

    whole = train(tmp_path / "whole")
    with pytest.raises(Stopped):
        train(tmp_path / "stopped", graphs=True, save_every=4, observation=Observation(progress=stop))
    resumed = train(tmp_path / "stopped", graphs=True, save_every=4)
    assert [segment.start for segment in resumed.segments] == [0, 4]
    assert resumed.sha256 == whole.sha256


def test_two_processes_average_as_ordinary_ones(separate_processes):
    root, _ = separate_processes
    one, other = (
        (
            json.loads((root / f"two-{name}" / "fitted.json").read_text())["fitted"]["sha256"],
            (root / f"two-{name}" / "log.jsonl").read_text(),
        )
        for name in ("ordinary", "replayed")
    )
    assert one == other


class DrawsByPython(Steady):
    def forward(self, batch):
        return {name: value * (1 + random.random()) for name, value in super().forward(batch).items()}


class DrawsByNumpy(Steady):
    def forward(self, batch):
        return {name: value * (1 + np.random.rand()) for name, value in super().forward(batch).items()}  # noqa: NPY002


class Waits(Steady):
    def forward(self, batch):
        losses = super().forward(batch)
        return losses if losses["loss_fit"].item() > 0 else {}


class Sends(Steady):
    def forward(self, batch):
        return {name: value * torch.tensor(2.0) for name, value in super().forward(batch).items()}


class HasItsOwnGenerator(Steady):
    def __init__(self):
        super().__init__()
        self.generator = torch.Generator()


class HasMoreThanItUses(Steady):
    def __init__(self):
        super().__init__()
        self.more = nn.Linear(2, 2)


class Synchronised(Steady):
    def __init__(self):
        super().__init__()
        self.norm = nn.SyncBatchNorm(4)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (DrawsByPython, "draws random numbers on the host"),
        (DrawsByNumpy, "draws random numbers on the host"),
        (Waits, "cannot be recorded as a CUDA graph: operation not permitted when stream is capturing"),
        (Sends, "cannot be recorded as a CUDA graph: operation not permitted when stream is capturing"),
        (HasItsOwnGenerator, "a random generator of its own"),
        (HasMoreThanItUses, r"the loss does not depend on more\.weight, more\.bias"),
        (Synchronised, "batch norm that waits for other processes"),
    ],
)
def test_what_cannot_be_recorded_is_said(model, why, tmp_path):
    with pytest.raises(ReproError, match=why) as caught:
        train(tmp_path, model(), graphs=True)
    assert str(caught.value).endswith("Leave out --cuda-graphs.")


def spoil(monkeypatch, change):
    """Have graphs do something else beside what was recorded: `change` gets the passes and the batch of the graph."""

    class Spoilt(recorded_operators.Recorder):
        def record(self, compute):
            inside = inspect.getclosurevars(compute).nonlocals
            return change(inside["self"], inside["own"], super().record(compute))

    monkeypatch.setattr(graphs, "Recorder", Spoilt)


def then(what):
    """A change by `what`, to which the passes are given after each replay."""

    def change(passes, batch, replay):
        def replay_and_more():
            replay()
            what(passes)

        return replay_and_more

    return change


REFUSED = r"a replayed pass differs from an ordinary one by .*; two ordinary ones by 0\.0e\+00 in loss"


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("field", ["images", "labels"])
def test_a_replayed_pass_of_other_inputs_is_refused(field, precision, monkeypatch, tmp_path):
    """A graph that reads other memory than its inputs', in which is what it was recorded with."""

    def change(passes, batch, replay):
        tensor = getattr(batch, field)
        kept = tensor.clone()

        def replay_stale():
            now = tensor.clone()
            tensor.copy_(kept)
            replay()
            tensor.copy_(now)

        return replay_stale

    spoil(monkeypatch, change)
    fabric = distributed.build_fabric(Processes(1, 1), "cpu", precision)
    with pytest.raises(ReproError, match=REFUSED):
        train(tmp_path, graphs=True, fabric=fabric)


WRONG = {
    # not of the convolution's bias, number 1, which batch norm takes away again
    **{f"gradient {number}": lambda passes, n=number: passes.gradients[n].zero_() for number in (0, 2, 3, 4, 5)},
    "not a number": lambda passes: passes.gradients[0].fill_(math.nan),
    "loss": lambda passes: passes.terms["loss_size"].mul_(2),
    "running mean": lambda passes: passes.model.norm.running_mean.mul_(2),
    "counter": lambda passes: passes.model.norm.num_batches_tracked.add_(1),
}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("what", WRONG)
def test_a_replayed_pass_that_computes_something_else_is_refused(what, precision, monkeypatch, tmp_path):
    """Also where a network was trained for long, whose counters are larger than everything else."""
    model = Steady()
    model.norm.num_batches_tracked.fill_(10**7)
    spoil(monkeypatch, then(WRONG[what]))
    fabric = distributed.build_fabric(Processes(1, 1), "cpu", precision)
    with pytest.raises(ReproError, match=REFUSED):
        train(tmp_path, model, graphs=True, fabric=fabric)


def test_a_gradient_is_compared_that_a_fresh_network_does_not_have(monkeypatch, tmp_path):
    """As that of a context block, whose last layer is zero when a training begins."""

    class Closed(Steady):
        def forward(self, batch):
            return {"loss_fit": super().forward(batch)["loss_fit"]}

    model = Closed()
    nn.init.zeros_(model.fc.weight)
    spoil(monkeypatch, then(lambda passes: passes.gradients[0].zero_()))
    with pytest.raises(ReproError, match=REFUSED):
        train(tmp_path, model, graphs=True, of=recipe(batch_size=3))


@pytest.mark.parametrize(
    ("precision", "tf32", "refused"), [("32-true", False, True), ("32-true", True, False), ("bf16-mixed", False, False)]
)
def test_as_far_off_as_rounding_may_be(precision, tf32, refused, monkeypatch, tmp_path, capsys):
    """ResNet-50 with its samples in another order: `graphs` has the numbers."""
    monkeypatch.setattr(graphs, "uses_tf32", lambda: tf32)
    fabric = distributed.build_fabric(Processes(1, 1), "cpu", precision)
    for what, words in (
        (lambda passes: passes.gradients[0].mul_(1.6), "0.0e+00 in loss or running statistics, 0.0e+00 to 6.0e-01"),
        (
            lambda passes: passes.terms["loss_fit"].mul_(1.05),
            "5.0e-02 in loss or running statistics, 0.0e+00 to 0.0e+00",
        ),
    ):
        spoil(monkeypatch, then(what))
        directory = tmp_path / words[:3]
        with pytest.raises(ReproError, match=re.escape(words)) if refused else nullcontext():
            train(directory, graphs=True, fabric=fabric)
        assert refused or f"replayed, it differs from an ordinary one by {words}" in capsys.readouterr().err


def test_rounding_of_a_deep_network_is_not_refused(monkeypatch, tmp_path):
    """The samples of a pass in another order when it is replayed, in bf16."""

    def change(passes, batch, replay):
        def replay_in_another_order():
            for tensor in (batch.images, batch.labels, batch.colors):
                tensor.copy_(tensor.flip(0))
            replay()

        return replay_in_another_order

    spoil(monkeypatch, change)
    task = build_task("imagenet-r50-gc-r16", tmp_path, precision="bf16-mixed")
    network, fabric = build_network(task), distributed.build_fabric(Processes(1, 1), "cpu", "bf16-mixed")
    fit(
        network, replace(shorten(task.experiment.recipe), batch_size=4, epochs=1), Coloured(task), identity="tiny",
        directory=tmp_path / "run", seed=0, fabric=fabric, collate=task.collate, graphs=True,
    )  # fmt: skip


class AddsInAnotherOrder(Steady):
    """Every second time its loss is another one."""

    def __init__(self, by):
        super().__init__()
        self.by, self.number = by, 0

    def forward(self, batch):
        self.number += 1
        return {name: term * (1 + self.by * (self.number % 2)) for name, term in super().forward(batch).items()}


def test_what_differs_from_pass_to_pass_may_when_it_is_replayed(tmp_path):
    train(tmp_path, AddsInAnotherOrder(0.5), graphs=True)


def test_what_is_frozen_stays(tmp_path):
    ends = []
    for replayed in (False, True):
        model = Steady()
        model.conv.requires_grad_(False)
        ends.append(train(tmp_path / str(replayed), model, graphs=replayed).sha256)
        assert torch.equal(model.conv.weight, Steady().conv.weight)
    assert ends[0] == ends[1]


@pytest.mark.parametrize("hidden", [False, True])
def test_too_little_memory_is_told_as_ever(hidden, monkeypatch, tmp_path):
    """Also where ending the recording is an error of its own."""

    def change(passes, batch, replay):
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        except torch.OutOfMemoryError as error:
            if hidden:
                raise RuntimeError("capture was invalidated") from error
            raise

    spoil(monkeypatch, change)
    with pytest.raises(torch.OutOfMemoryError):
        train(tmp_path, graphs=True)


def test_why_a_recording_ended_is_said(monkeypatch, tmp_path):
    def change(passes, batch, replay):
        try:
            raise RuntimeError("operation not permitted\nsecond line")
        finally:
            raise RuntimeError("capture was invalidated")

    spoil(monkeypatch, change)
    with pytest.raises(ReproError, match=r"as a CUDA graph: operation not permitted\. Leave"):
        train(tmp_path, graphs=True)


def test_parts_of_one_shape_have_the_shares_that_they_are_given(recorded):
    model, data = Steady().train(), Squares()
    part = stack([data.sample(index, seed=0, epoch=0, train=True) for index in range(3)])
    fabric = distributed.build_fabric(Processes(1, 1), "cpu", "32-true")
    passes = graphs.GraphedPasses(fabric, model)
    losses = []
    for share in (0.25, 0.75, 0.25):
        torch.manual_seed(0)
        losses.append(passes.accumulate([(part, share)])["loss_fit"])
    assert losses == pytest.approx([losses[0], 3 * losses[0], losses[0]], rel=1e-6)
    assert len(recorded) == 2


def test_sizes_that_are_always_others_are_refused(recorded, tmp_path):
    sizes = iter(range(4, 20))

    def collate(samples):
        whole, size = stack(samples), next(sizes)
        return replace(whole, images=torch.zeros(len(samples), 2, size, size))

    with pytest.raises(ReproError, match="more than 4 shapes"):
        train(tmp_path, graphs=True, collate=collate)
    assert len(recorded) == 4


def test_a_loss_that_is_not_finite_is_named_as_ever(tmp_path):
    class Exploding(Steady):
        def forward(self, batch):
            return {name: value / 0 for name, value in super().forward(batch).items()}

    with pytest.raises(ReproError, match="the training diverged in iteration 1 of"):
        train(tmp_path, Exploding(), graphs=True)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--profile", "mini"], "--cuda-graphs belongs to the full profile"),
        (["--profile", "full", "--source", "checkpoint"], "--cuda-graphs is of a training"),
        (["--profile", "full", "--device", "cpu"], "--cuda-graphs is of NVIDIA's GPUs"),
        (["--profile", "full", "--compile"], "leave out one"),
        (["--profile", "full", "--table", "2"], "changes nothing of what is to be measured"),
    ],
)
def test_where_it_would_do_nothing_it_is_refused(arguments, why, tmp_path):
    table = [] if "--table" in arguments else ["--table", "4"]
    result = CliRunner().invoke(app, ["plan", *table, "--cuda-graphs", *arguments, "--results", str(tmp_path)])
    assert isinstance(result.exception, ReproError)
    assert why in str(result.exception)


def test_it_is_of_classifiers_alone_and_part_of_their_keys(tmp_path):
    asked = Settings(results=tmp_path, profile="full", cuda_graphs=True, initial="random")
    with pytest.raises(ReproError, match="this is computed on a CPU"):
        check_arithmetic(get("kinetics-r50-5nl"), asked, "cpu")
    check_arithmetic(get("kinetics-r50-5nl"), asked, "cuda")
    check_arithmetic(get("coco-r50-gc-r16"), asked, "cpu")
    refuse_options_without_effect([get("coco-r50-gc-r16"), get("kinetics-r50-5nl")], asked)
    for name, changes in (("imagenet-r50-gc-r16", True), ("kinetics-r50-5nl", True), ("coco-r50-gc-r16", False)):
        keys = {training_key(get(name), replace(asked, cuda_graphs=each), "data") for each in (False, True)}
        assert len(keys) == 1 + changes, name

"""Trainings whose passes are recorded and replayed: the same bytes as by ordinary passes, and what cannot be recorded.

CUDA graphs are stood in for by `recorded_operators`, which repeats what was executed on the same tensors.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import recorded_operators
import torch
from device_samples import RandomSamples, build_network, build_task, shorten
from tiny_training import Squares, Stack, Steady, recipe, stack
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

    def capture(compute, device):
        calls.append(device)
        return recorded_operators.capture(compute, device)

    monkeypatch.setattr(graphs, "capture", capture)
    return calls


def train(directory, model=None, **options):
    options = {"of": recipe(batch_size=7), "collate": stack, "micro_batch": 3, "seed": 3, **options}
    return fit(model or Steady(), options.pop("of"), Squares(), identity="tiny", directory=directory, **options)


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
            network, replace(shorten(task.experiment.recipe), batch_size=4), RandomSamples(task), identity="tiny",
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
        (Synchronised, "batch norm that waits for other processes"),
    ],
)
def test_what_cannot_be_recorded_is_said(model, why, tmp_path):
    with pytest.raises(ReproError, match=why) as caught:
        train(tmp_path, model(), graphs=True)
    assert str(caught.value).endswith("Leave out --cuda-graphs.")


def test_a_replayed_pass_of_other_inputs_is_refused(monkeypatch, tmp_path):
    def capture(compute, device):
        """A graph that reads the memory of the images that it was recorded with."""
        values = [cell.cell_contents for cell in compute.__closure__]
        (batch,) = [value for value in values if isinstance(value, Stack)]
        kept, replay = batch.images.clone(), recorded_operators.capture(compute, device)

        def replay_stale():
            now = batch.images.clone()
            batch.images.copy_(kept)
            replay()
            batch.images.copy_(now)

        return replay_stale

    monkeypatch.setattr(graphs, "capture", capture)
    with pytest.raises(ReproError, match=r"a replayed pass differs from an ordinary one by .*, two ordinary ones by 0"):
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

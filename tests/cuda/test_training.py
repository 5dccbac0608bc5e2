"""Training steps of every experiment, what is saved of them, and what stops them, on each device."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import recorded_operators
import torch
from device_samples import RandomSamples, build_network, build_task, draw_pixels, shorten
from tiny_training import Noisy, Squares, recipe

from repro.checkpoints import registry
from repro.data.coco import DetectionSample
from repro.detection.torchvision import MaskRCNN
from repro.engine import distributed, graphs
from repro.engine.devices import convert_memory_format
from repro.engine.launch import Processes
from repro.engine.loop import fit
from repro.engine.memory import measure_peak_memory, reset_peak_memory
from repro.engine.observation import Observation
from repro.errors import ReproError
from repro.experiments import EXPERIMENTS, get
from repro.files.seals import unseal_bytes

ALONE = Processes(1, 1)
#: On the CPU, in the time that a test has.
A_FEW = ("coco-r50-gc-r16", "imagenet-r50-1nl", "kinetics-r50-gc-r4")
STEPS = [
    *(pytest.param(name, "cpu", "32-true", id=f"{name}-cpu-32") for name in A_FEW),
    pytest.param(A_FEW[0], "cpu", "bf16-mixed", id=f"{A_FEW[0]}-cpu-bf16"),
    *(
        pytest.param(name, "cuda", precision, id=f"{name}-cuda-{short}", marks=pytest.mark.cuda)
        for name in EXPERIMENTS
        for precision, short in (("32-true", "32"), ("bf16-mixed", "bf16"))
    ),
]


def read_log(directory):
    lines = (directory / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(("name", "where", "precision"), STEPS)
def test_every_experiment_trains(name, where, precision, tmp_path, request):
    """`fit` itself stops where a loss or a gradient is not finite. All that is trained gets a gradient and moves."""
    if where == "cuda":
        request.getfixturevalue("gpu")
    task = build_task(name, tmp_path, precision=precision)
    network = build_network(task)
    fabric = distributed.build_fabric(ALONE, where, precision)
    convert_memory_format(network, task.choose_training_memory_format(fabric))
    before = {key: value.detach().clone() for key, value in network.named_parameters() if value.requires_grad}
    fitted = fit(
        network, shorten(task.experiment.recipe), RandomSamples(task), identity="tiny", directory=tmp_path / "run",
        seed=0, fabric=fabric, collate=task.collate,
    )  # fmt: skip
    assert (fitted.iterations, fitted.segments[0].precision) == (4, precision)
    after = dict(network.named_parameters())
    moved = [key for key, value in before.items() if not torch.equal(value, after[key].detach().cpu())]
    # The bias of a softmax's logits has no gradient, and what precedes a ReLU that is closed everywhere may have none.
    assert len(moved) >= 0.9 * len(before)
    assert all(math.isfinite(line["norm"]) for line in read_log(tmp_path / "run"))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", ["imagenet-r50-baseline", "imagenet-r50-gc-r16", "imagenet-r50-1nl",
                                  "kinetics-r50-gc-r4"])  # fmt: skip
def test_replayed_passes_train_as_ordinary_ones(name, precision, device, tmp_path, monkeypatch):
    """`GraphedPasses` itself compares a pass with an ordinary one. On a CPU operators are repeated one by one."""
    if device == "cpu":
        monkeypatch.setattr(graphs, "Recorder", recorded_operators.Recorder)
    losses = []
    for replayed in (False, True):
        task = build_task(name, tmp_path, precision=precision)
        network, fabric = build_network(task), distributed.build_fabric(ALONE, device, precision)
        convert_memory_format(network, task.choose_training_memory_format(fabric))
        fit(
            network, replace(shorten(task.experiment.recipe), batch_size=4), RandomSamples(task), identity="tiny",
            directory=tmp_path / str(replayed), seed=0, fabric=fabric, collate=task.collate, micro_batch=3,
            graphs=replayed,
        )  # fmt: skip
        losses.append([line["losses"]["loss_class"] for line in read_log(tmp_path / str(replayed))])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3 if precision == "32-true" else 2e-2)


class Stopped(Exception):
    pass


def test_an_interrupted_training_goes_on(device, tmp_path):
    """On a CPU to the same bits; on a GPU to about the same losses."""

    def train(directory, stop=None):
        def progress(at):
            if at.iteration == stop:
                raise Stopped

        return fit(
            Noisy(), recipe(), Squares(), identity="tiny", directory=directory, seed=3, save_every=5,
            fabric=distributed.build_fabric(ALONE, device, "32-true"), observation=Observation(progress=progress),
        )  # fmt: skip

    whole = train(tmp_path / "whole")
    with pytest.raises(Stopped):
        train(tmp_path / "stopped", stop=13)
    state, _ = unseal_bytes((tmp_path / "stopped" / "state.pt").read_bytes())
    assert state
    resumed = train(tmp_path / "stopped")
    assert [segment.start for segment in resumed.segments] == [0, 10]
    losses = [[line["losses"]["loss_fit"] for line in read_log(tmp_path / name)] for name in ("whole", "stopped")]
    assert len(losses[0]) == whole.iterations
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    if device == "cpu":
        assert resumed.sha256 == whole.sha256


class Exploding(Noisy):
    def forward(self, batch):
        losses = super().forward(batch)
        self.calls = getattr(self, "calls", 0) + 1
        return losses if self.calls < 3 else {**losses, "loss_fit": losses["loss_fit"] * float("nan")}


def test_a_loss_that_is_not_finite_stops_the_training(device, tmp_path):
    fabric = distributed.build_fabric(ALONE, device, "32-true")
    with pytest.raises(ReproError, match=r"the training diverged in iteration 3 of 18: loss_fit = nan"):
        fit(Exploding(), recipe(), Squares(), identity="tiny", directory=tmp_path, seed=3, fabric=fabric)


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["coco-r50-baseline", "coco-r50-gc-r16"])
def test_two_images_of_full_size_take_no_more_memory_than_plan_says(name, gpu):
    """What `repro plan` says is what the authors report: of two images a GPU, in float32."""
    reported = [entry.training.memory for entry, _ in registry.load().list_serving(name) if entry.training]
    model = MaskRCNN(get(name).detector).to(gpu).train()
    boxes = torch.tensor([[100.0, 100.0, 400.0, 500.0], [600.0, 200.0, 900.0, 700.0]])
    samples = [
        DetectionSample(
            draw_pixels(number, 3, 800, 1333).to(gpu), number, (800, 1333), boxes.to(gpu),
            torch.tensor([0, 1]).to(gpu), torch.ones(2, 800, 1333, dtype=torch.uint8).to(gpu),
        )
        for number in range(2)
    ]  # fmt: skip
    reset_peak_memory()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        sum(model(samples).values()).backward()
        optimizer.step()
    assert measure_peak_memory(gpu) / 2**30 <= min(reported)

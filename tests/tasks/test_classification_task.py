"""The classification task, part by part: its training step, its networks' two stages, its evaluation."""

from __future__ import annotations

import json
import math
import re
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import imagenet_measurements as small
import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

from repro import experiments
from repro.data.classification import Augmentation, recolor
from repro.data.imagenet import ImageNet
from repro.engine import devices
from repro.engine.launch import Processes
from repro.errors import ReproError
from repro.evaluation import predictor
from repro.evaluation.predictor import Predictor
from repro.measuring import deviations
from repro.measuring.batch_division import divide_batch
from repro.measuring.measure import measure
from repro.planning.work_order import order_work
from repro.settings import Settings
from repro.tasks import classification
from repro.tasks.classification import Classification, ClassifierEvaluation

pytestmark = pytest.mark.rounding


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def shortened(monkeypatch):
    for name, experiment in small.all_small().items():
        monkeypatch.setitem(experiments.EXPERIMENTS, name, experiment)


# -- the training step ------------------------------------------------------------------------------------------------


class PlainGC(nn.Module):
    """The GC block, Eq. 5 with r = 16."""

    def __init__(self, channels):
        super().__init__()
        hidden = channels // 16
        self.conv_mask = nn.Conv2d(channels, 1, 1)
        self.channel_add_conv = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.LayerNorm([hidden, 1, 1]), nn.ReLU(), nn.Conv2d(hidden, channels, 1)
        )

    def forward(self, x):
        weights = self.conv_mask(x).flatten(2).softmax(2)
        context = x.flatten(2) @ weights.mT
        return x + self.channel_add_conv(context[..., None])


def plain_network(with_gc: bool) -> nn.Module:
    """torchvision's ResNet, as narrow as `small.BACKBONE`; GC blocks, where asked for, behind every bn3 of c3 to c5."""
    torch.manual_seed(7)
    width, blocks = small.BACKBONE["width"], small.BACKBONE["blocks"]
    network = ResNet(Bottleneck, list(blocks))
    network.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
    network.bn1 = nn.BatchNorm2d(width)
    network.inplanes = width
    for i, count in enumerate(blocks):
        layer = network._make_layer(Bottleneck, width * 2**i, count, stride=2 if i else 1)
        setattr(network, f"layer{i + 1}", layer)
        for block in layer if with_gc and i else ():
            block.context_block = PlainGC(4 * width * 2**i)
            block.bn3.register_forward_hook(lambda _, __, out, block=block: block.context_block(out))
    network.fc = nn.Linear(32 * width, 1000)
    return network


def plain_training(network, data, *, rate, epochs, warmup_epochs, batch=8, per_pass=2, seed=0):
    """Losses of every step, by PyTorch alone, but for the change of colours, which has tests of its own."""
    steps = math.ceil(len(data) / batch)
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    losses = []
    network.train()
    for step in range(epochs * steps):
        epoch, at = divmod(step, steps)
        order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, epoch))).permutation(len(data))
        chosen = [*order, *order][at * batch : (at + 1) * batch]
        warm = min(1.0, step / (warmup_epochs * steps)) if warmup_epochs else 1.0
        optimizer.param_groups[0]["lr"] = rate * warm * 0.5 * (1 + math.cos(math.pi * step / (epochs * steps)))
        optimizer.zero_grad()
        loss = 0.0
        for begin in range(0, batch, per_pass):
            samples = [data.sample(i, seed=seed, epoch=epoch, train=True) for i in chosen[begin : begin + per_pass]]
            colored = recolor(torch.stack([s.image for s in samples]), torch.stack([s.color for s in samples]))
            logits = network(((colored / 255 - mean) / std).double()).float()
            labels = torch.tensor([sample.label for sample in samples])
            term = -logits.log_softmax(1)[range(per_pass), labels].mean() * per_pass / batch
            term.backward()
            loss += term.item()
        optimizer.step()
        losses.append(loss)
    return losses


@pytest.mark.parametrize(
    ("name", "with_gc", "rate", "epochs", "warmup_epochs"),
    [("stage1", False, 0.05, 4, 1), ("baseline", False, 0.02, 4, 0), ("gc-r16", True, 0.02, 4, 0)],
)
def test_the_training_step_is_plain_pytorchs(
    data, shortened, tmp_path, monkeypatch, name, with_gc, rate, epochs, warmup_epochs
):
    """Schedule, batches, augmentation as drawn, normalisation, accumulation over passes of two images, and SGD.

    Both networks compute in float64: twelve steps make a million times as much of what float32 rounds off.
    """
    build, normalise = Classification.build_network, classification.normalise
    monkeypatch.setattr(Classification, "build_network", lambda task: build(task).double())
    monkeypatch.setattr(classification, "normalise", lambda *of: normalise(*of).double())
    monkeypatch.setattr(classification, "Augmentation", partial(Augmentation, size=96))
    name = f"imagenet-r50-{name}"
    experiment = experiments.EXPERIMENTS[name]
    longer = replace(experiment, recipe=replace(experiment.recipe, epochs=epochs))
    monkeypatch.setitem(experiments.EXPERIMENTS, name, longer)
    network = plain_network(with_gc).double()
    torch.save(network.state_dict(), tmp_path / "initial.pth")
    settings = replace(small.settings(data, tmp_path / "results"), initial=str(tmp_path / "initial.pth"))
    measure(order_work(name, settings), command="", progress=lambda *_: None)
    (log,) = (tmp_path / "results").glob("runs/*/log.jsonl")
    ours = [json.loads(line)["losses"] for line in log.read_text().splitlines()]
    images = ImageNet(data, "train", augmentation=Augmentation(size=96))
    theirs = plain_training(network, images, rate=rate, epochs=epochs, warmup_epochs=warmup_epochs)
    assert len(theirs) == 12
    # Within 6e-7 over 3 seeds x 3 instruction sets; with a momentum of 0.89, or without weight decay, 0.05 and more.
    assert [one["loss_class"] for one in ours] == pytest.approx(theirs, abs=1e-4, rel=0)
    assert theirs[-1] < theirs[0] - 0.5  # it learnt, so that the steps are in it


# -- the two stages' networks, full size ------------------------------------------------------------------------------

ADDED = ("1nl", "1snl", "1gc", "gc-r16", "avg-add")
SCALED = ("avg-scale", "att-scale")


def task_of(name: str) -> Classification:
    return Classification(experiments.get(name), Settings(results=None, profile="full"))


@pytest.fixture(scope="module")
def trained():
    """A ResNet-50 as a first stage leaves one: statistics and affine parameters are no longer the initial ones."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = task_of("imagenet-r50-stage1").build_network()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for value in (module.weight, module.running_var):
                    nn.init.uniform_(value, 0.5, 1.5)
                for value in (module.bias, module.running_mean):
                    nn.init.normal_(value, 0, 0.2)
    return network.eval()


@pytest.fixture(scope="module")
def image():
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def second_stage(name: str, trained: nn.Module) -> nn.Module:
    task = task_of(f"imagenet-r50-{name}")
    network = task.build_network()
    task.start_from(network, trained.state_dict(), task.experiment)
    return network.eval()


def outputs(network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return network(image)


@pytest.mark.parametrize("name", ["baseline", *ADDED, *SCALED])
def test_the_first_stages_weights_are_all_of_the_seconds_but_the_blocks(trained, image, name):
    network = second_stage(name, trained)
    state, first = network.state_dict(), trained.state_dict()
    assert {key for key in state if ".context_block." not in key} == first.keys()
    assert all(torch.equal(state[key], value) for key, value in first.items())
    blocks = {key.split(".context_block.")[0] for key in state if ".context_block." in key}
    every = {f"layer{layer}.{i}" for layer, count in ((2, 4), (3, 6), (4, 3)) for i in range(count)}
    assert blocks == (set() if name == "baseline" else {"layer3.4"} if name.startswith("1") else every)
    if name not in SCALED:  # what is added is nothing yet, bit for bit
        assert torch.equal(outputs(network, image), outputs(trained, image))


@pytest.mark.parametrize("name", SCALED)
def test_blocks_that_scale_begin_by_halving_the_residual_branches(trained, image, name):
    """sigmoid(0) = 1/2: unlike those that add, they do change the network that they are inserted into."""
    network = second_stage(name, trained)
    found, before = outputs(network, image), outputs(trained, image)
    assert not torch.allclose(found, before, rtol=0.1)
    state = trained.state_dict()
    last_norm = re.compile(r"layer[234]\.\d\.bn3\.(weight|bias)")
    halved = {key: value / 2 if last_norm.fullmatch(key) else value for key, value in state.items()}
    peer = task_of("imagenet-r50-baseline").build_network()
    peer.load_state_dict(halved)
    assert torch.equal(found, outputs(peer.eval(), image))


def test_weights_of_another_network_are_no_first_stage(trained):
    task = task_of("imagenet-r50-gc-r16")
    state = trained.state_dict()
    del state["layer3.5.bn2.running_mean"]
    with pytest.raises(ReproError, match=r"initial weights lack layer3\.5\.bn2\.running_mean"):
        task.start_from(task.build_network(), state, task.experiment)


# -- evaluation -------------------------------------------------------------------------------------------------------


class Watching(nn.Module):
    """Takes every image for class 0 and keeps the batches that it is given."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, images):
        self.batches.append([image.numpy().tobytes() for image in images])
        return torch.arange(1000.0, 0, -1).repeat(len(images), 1)


def one_of(rank: int, count: int, device: str = "cpu") -> SimpleNamespace:
    """What an evaluation needs of one process's Fabric."""
    return SimpleNamespace(
        global_rank=rank, world_size=count, device=SimpleNamespace(type=device), to_device=lambda x: x,
        autocast=nullcontext,
    )  # fmt: skip


def test_batches_do_not_depend_on_how_many_processes_share_the_images_or_on_interruptions(data, tmp_path, monkeypatch):
    monkeypatch.setattr(ClassifierEvaluation, "shard", 4)
    monkeypatch.setattr(ClassifierEvaluation, "batch", 3)
    monkeypatch.setattr(predictor, "gather", lambda part, fabric: [part])
    images = ImageNet(data, "val")

    def batches(fabric, directory, progress=lambda *_: None):
        watching = Watching()
        predictor = Predictor(ClassifierEvaluation(watching, images), directory, fabric)
        try:
            predicted = predictor.predict("weights", progress)
        except KeyboardInterrupt:
            return watching.batches, []
        return watching.batches, predicted.results

    whole, found = batches(one_of(0, 1), tmp_path / "alone")
    assert [len(batch) for batch in whole] == [3, 1, 3, 1, 1]
    assert [one.image_id for one in found] == images.ids
    for count in (2, 3):
        shares = [batches(one_of(rank, count), tmp_path / f"{count}") for rank in range(count)]
        assert sorted(batch for seen, _ in shares for batch in seen) == sorted(whole)
        assert sorted((one.image_id for _, part in shares for one in part)) == images.ids

    def stop(stage, done, total, at=None):
        if done == 6:
            raise KeyboardInterrupt

    before, _ = batches(one_of(0, 1), tmp_path / "interrupted", stop)
    after, again = batches(one_of(0, 1), tmp_path / "interrupted")
    assert before[:2] + after == whole
    assert again == found


# -- devices and divisions --------------------------------------------------------------------------------------------


def test_on_a_gpu_images_and_weights_lie_with_their_channels_last(data, monkeypatch):
    """As far as it can be seen without one: which layout is asked for, and where."""
    task = task_of("imagenet-r50-gc-r16")
    assert task.choose_memory_format(one_of(0, 1, "cuda")) == torch.channels_last
    assert task.choose_memory_format(one_of(0, 1)) == torch.contiguous_format
    layouts = []
    network = Watching()
    network.register_forward_pre_hook(
        lambda _, args: layouts.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    evaluation = ClassifierEvaluation(network, ImageNet(data, "val"))
    monkeypatch.setattr("repro.tasks.classification.count_loading_processes", lambda fabric, workers: 0)
    for device in ("cuda", "cpu"):
        list(evaluation.predict([range(2)], one_of(0, 1, device)))
    assert layouts == [True, False]
    settings = Settings(results=None, profile="full")
    assert devices.describe_numerics(settings, 50, torch.channels_last)["channels_last"] is True
    assert "channels_last" not in devices.describe_numerics(settings, 50)


def listed(name: str, processes: int = 1, accelerator: str = "cuda", **options) -> tuple[list[str], list[str]]:
    """Deviations of the kind, and departures that were asked for."""
    experiment = experiments.get(name)
    settings = Settings(results=None, profile="full", **options)
    division = divide_batch(experiment, settings, Processes(processes, processes), accelerator)
    return deviations.protocol_deviations(experiment, settings, division), deviations.recipe_overrides(
        experiment, settings, division
    )


def test_on_fewer_gpus_the_papers_batch_is_accumulated_in_passes_of_64():
    name = "imagenet-r50-stage1"
    for processes, passes in ((1, 8), (2, 4), (4, 2), (8, 1)):
        division = divide_batch(experiments.get(name), Settings(results=None, profile="full"),
                          Processes(processes, processes), "cuda")  # fmt: skip
        assert (division.effective, division.per_pass, division.per_process // division.per_pass) == (512, 64, passes)
        assert division.statistics == 64  # batch norm sees what it saw on a GPU of the paper's
    papers, departures = listed(name, 8)
    assert not departures
    one, departures = listed(name)
    assert not departures
    assert set(one) - set(papers) == {"1 process instead of 8 GPUs, batch of 512 in passes of 64"}
    small_passes, departures = listed(name, micro_batch=16)
    assert not departures
    assert set(small_passes) - set(papers) == {
        "batch norm, over 16 images instead of the 64 of one of 8 GPUs",
        "1 process instead of 8 GPUs, batch of 512 in passes of 16",
    }


def test_another_recipe_is_a_departure():
    options = {"iterations": 10, "batch_size": 256, "precision": "bf16-mixed", "initial": "random"}
    for option, value in options.items():
        _, (text,) = listed("imagenet-r50-gc-r16", **{option: value})
        assert str(value) in text
    assert listed("imagenet-r50-stage1", initial="random")[1] == []  # which it begins from anyway

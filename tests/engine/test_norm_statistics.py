"""Precise statistics of batch norm against moments that are computed here, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from tiny_training import SAMPLES, TOTAL, Noisy, Squares, recipe
from torch import nn

from repro.engine.loop import build_optimizer, fit
from repro.engine.sampler import Batches

pytestmark = pytest.mark.rounding

PRECISE = recipe(precise_norm=5)


def train(directory, model, *, of=PRECISE, **options):
    return fit(model, of, Squares(), identity="tiny", directory=directory, seed=3, **options)


def find_images(batches: int, parts: int = 4) -> list[torch.Tensor]:
    """The images of the iterations that would follow the training's last, in micro-batches of `parts`."""
    data, found = Squares(), []
    for epoch, indices in Batches(SAMPLES, 4, 3, TOTAL, TOTAL + batches):
        images = torch.stack([data.sample(i, seed=3, epoch=epoch, train=True)["image"] for i in indices])
        found += images.split(parts)
    return found


def assert_moments(layer, values: list[torch.Tensor], rtol=1e-5):
    """`values`: what enters the layer, (B, C, H, W) for each batch."""
    pooled = np.concatenate(
        [value.detach().double().numpy().transpose(1, 0, 2, 3).reshape(4, -1) for value in values], 1
    )
    np.testing.assert_allclose(layer["running_mean"].numpy(), pooled.mean(1), rtol=rtol, atol=1e-6)
    np.testing.assert_allclose(layer["running_var"].numpy(), pooled.var(1), rtol=rtol)


def read_layer(directory, name="norm"):
    state = torch.load(directory / "weights.pt", weights_only=True)
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}


@pytest.mark.parametrize("micro_batch", [None, 3])
def test_statistics_are_those_of_all_values_of_further_batches(tmp_path, micro_batch):
    model = Noisy()
    train(tmp_path, model, micro_batch=micro_batch)
    assert_moments(read_layer(tmp_path), [model.conv(part) for part in find_images(5, micro_batch or 4)])
    assert model.norm.momentum == 0.1


class Deep(Noisy):
    """What enters its second norm depends on the batches' own statistics in the first."""

    def __init__(self):
        super().__init__()
        self.second = nn.BatchNorm2d(4)
        self.fixed = nn.BatchNorm2d(2).eval()

    def train(self, mode=True):
        super().train(mode)
        self.fixed.eval()
        return self

    def forward(self, batch):
        losses = super().forward(batch)
        images = torch.stack([sample["image"] for sample in batch])
        losses["loss_second"] = self.second(self.norm_once(self.conv(self.fixed(images))).relu()).square().mean() * 0.01
        return losses

    def norm_once(self, x):
        return nn.functional.batch_norm(x, None, None, self.norm.weight, self.norm.bias, training=True)


def test_each_batch_is_normalised_by_its_own_and_layers_in_eval_mode_keep_theirs(tmp_path):
    model = Deep()
    train(tmp_path, model)
    with torch.no_grad():
        parts = [model.norm_once(model.conv(model.fixed(part))).relu() for part in find_images(5)]
    assert_moments(read_layer(tmp_path, "second"), parts)
    assert read_layer(tmp_path, "fixed")["running_var"].tolist() == [1, 1]


def test_weights_do_not_depend_on_it_and_no_more_batches_pass_than_an_epoch_has(tmp_path):
    model = Noisy()
    train(tmp_path / "without", model, of=recipe())
    train(tmp_path / "with", Noisy(), of=recipe(precise_norm=200))
    before, after = (torch.load(tmp_path / d / "weights.pt", weights_only=True) for d in ("without", "with"))
    assert [name for name in before if not torch.equal(before[name], after[name])] == [
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
    ]
    assert_moments(read_layer(tmp_path / "with"), [model.conv(part) for part in find_images(6)])


class Stopped(Noisy):
    def __init__(self, after: int):
        super().__init__()
        self.left = after

    def forward(self, batch):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().forward(batch)


def test_interrupted_while_they_are_computed_it_ends_with_the_same_bytes(tmp_path):
    train(tmp_path / "whole", Noisy())
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", Stopped(TOTAL + 2), save_every=4)
    assert not (tmp_path / "stopped" / "weights.pt").exists()
    train(tmp_path / "stopped", Noisy(), workers=1)
    for name in ("weights.pt", "log.jsonl"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_two_processes_compute_them_over_the_samples_of_both(separate_processes):
    root, _ = separate_processes
    model = Noisy()
    model.load_state_dict(torch.load(root / "two-precise" / "weights.pt", weights_only=True))
    assert_moments(read_layer(root / "two-precise"), [model.conv(part) for part in find_images(5)])


def test_bf16_passes_give_float32_statistics(tmp_path):
    model = Noisy()
    train(tmp_path, model, fabric=Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"))
    layer = read_layer(tmp_path)
    assert layer["running_var"].dtype == torch.float32
    assert_moments(layer, [model.conv(part) for part in find_images(5)], rtol=0.02)


def test_a_compiled_network_has_them_too(tmp_path):
    model = Noisy()
    model.compile(backend="eager")
    train(tmp_path, model)
    assert_moments(read_layer(tmp_path), [model.conv(part) for part in find_images(5)])


# -- weight decay ------------------------------------------------------------------------------------------------------


def test_batch_norm_has_a_weight_decay_of_its_own_and_layer_norm_has_not():
    """`construct_optimizer` of [6]: parameters of batch norm layers in a group of their own, all others in another."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.LayerNorm(4), nn.BatchNorm3d(4))
    model[3].weight.requires_grad_(False)
    of = recipe(weight_decay=1e-4, norm_weight_decay=0.0)
    decays = {
        id(p): group["weight_decay"] for group in build_optimizer(model, of).param_groups for p in group["params"]
    }
    named = {name: decays.get(id(parameter)) for name, parameter in model.named_parameters()}
    assert named == {
        "0.weight": 1e-4, "0.bias": 1e-4, "1.weight": 0, "1.bias": 0, "2.weight": 1e-4, "2.bias": 1e-4,
        "3.weight": None, "3.bias": 0,
    }  # fmt: skip


def test_a_decay_of_its_own_that_is_the_same_changes_nothing_but_the_order(tmp_path):
    train(tmp_path / "one", Noisy(), of=recipe(weight_decay=0.1))
    train(tmp_path / "two", Noisy(), of=recipe(weight_decay=0.1, norm_weight_decay=0.1))
    train(tmp_path / "none", Noisy(), of=recipe(weight_decay=0.1, norm_weight_decay=0.0))
    one, two, none = (read_layer(tmp_path / d)["weight"] for d in ("one", "two", "none"))
    torch.testing.assert_close(one, two)
    assert (none > two).all()  # with no decay the scales of batch norm stay larger

import json
import math
from itertools import pairwise

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from tiny_training import TOTAL, Noisy, Plain, Squares, recipe

from repro.engine.loop import build_optimizer, fit
from repro.engine.observation import Observation
from repro.errors import ReproError

pytestmark = pytest.mark.rounding


def run(directory, model=None, *, of=None, data=None, **options):
    model = Plain() if model is None else model
    options = {"identity": "tiny", "seed": 3, **options}
    return model, fit(model, of or recipe(), Squares() if data is None else data, directory=directory, **options)


def log(directory):
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


def weights(directory):
    return torch.load(directory / "weights.pt", weights_only=True)


class Recording(Squares):
    def __init__(self):
        super().__init__()
        self.samples_seen = []

    def sample(self, index, **options):
        self.samples_seen.append(super().sample(index, **options))
        return self.samples_seen[-1]


def _by_hand(of, samples, rates):
    """Ten updates with the optimizers' equations: Sutskever et al. as in torch, and Loshchilov & Hutter, Alg. 2."""
    model = Plain()
    parameters = list(model.parameters())
    first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    for step, rate in enumerate(rates):
        batch = samples[4 * step : 4 * step + 4]
        gradients = torch.autograd.grad(sum(model(batch).values()), parameters)
        norm = math.sqrt(sum(g.double().square().sum().item() for g in gradients))
        scale = min(1.0, of.clip_norm / norm) if of.clip_norm else 1.0
        with torch.no_grad():
            for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
                g = g * scale
                if of.optimizer == "sgd":
                    g = g + of.weight_decay * p
                    m.mul_(of.momentum).add_(g)
                    p -= rate * (g + of.momentum * m if of.nesterov else m)
                else:
                    m.mul_(0.9).add_(0.1 * g)
                    v.mul_(0.999).add_(0.001 * g * g)
                    update = (m / (1 - 0.9 ** (step + 1))) / ((v / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
                    p -= rate * (update + of.weight_decay * p)
    return model.state_dict()


@pytest.mark.parametrize(("optimizer", "nesterov"), [("sgd", False), ("sgd", True), ("adamw", False)])
@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_ten_iterations_equal_the_optimizers_equations(tmp_path, optimizer, nesterov, clip_norm):
    of = recipe(optimizer=optimizer, nesterov=nesterov, clip_norm=clip_norm, iterations=10, learning_rate=0.01,
                weight_decay=0.01)  # fmt: skip
    data = Recording()
    run(tmp_path, of=of, data=data)
    # 6 iterations an epoch, decay after 12; 4 iterations of warm-up from a quarter.
    rates = [0.01 * factor for factor in (0.25, 0.4375, 0.625, 0.8125, 1, 1, 1, 1, 1, 1)]
    assert [line["lr"] for line in log(tmp_path)] == pytest.approx(rates)
    expected = _by_hand(of, data.samples_seen, rates)
    for name, value in weights(tmp_path).items():
        # At most 0.07 times that over 4 seeds x 3 instruction sets; without weight decay 50 times.
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-5)


def test_the_global_norm_is_clipped(tmp_path):
    """Without momentum, decay and warm-up an update is as long as rate * norm, and no longer than rate * clip."""

    def update_lengths(clip_norm, name):
        of = recipe(clip_norm=clip_norm, momentum=0, weight_decay=0, warmup_iterations=0, iterations=1)
        model, _ = run(tmp_path / name, of=of)
        changes = [a - b for a, b in zip(model.parameters(), Plain().parameters(), strict=True)]
        return torch.cat([change.flatten() for change in changes]).norm().item() / of.learning_rate

    free = update_lengths(None, "free")
    assert free > 1
    assert update_lengths(0.1, "clipped") == pytest.approx(0.1, rel=1e-4)
    assert update_lengths(2 * free, "wide") == pytest.approx(free, rel=1e-6)


def test_frozen_parameters_are_left_out(tmp_path):
    model = Plain()
    model.conv.requires_grad_(False)
    assert [id(p) for group in build_optimizer(model, recipe()).param_groups for p in group["params"]] == [
        id(model.fc.weight),
        id(model.fc.bias),
    ]
    run(tmp_path, model)
    after = weights(tmp_path)
    assert torch.equal(after["conv.weight"], Plain().conv.weight)
    assert not torch.equal(after["fc.weight"], Plain().fc.weight)


def test_result_log_and_progress_agree(tmp_path):
    seen = []
    model, fitted = run(tmp_path, Noisy(), observation=Observation(progress=seen.append))
    lines = log(tmp_path)
    assert [line["iteration"] for line in lines] == [at.iteration for at in seen] == list(range(1, TOTAL + 1))
    assert [line["losses"] for line in lines] == [at.losses for at in seen]
    assert [line["lr"] for line in lines] == [at.lr for at in seen]
    assert {at.total for at in seen} == {TOTAL}
    assert all(a.seconds < b.seconds for a, b in pairwise(seen))
    assert set(lines[0]["losses"]) == {"loss_fit", "loss_shift"}
    assert fitted.iterations == TOTAL
    assert (fitted.effective_batch, fitted.world_size, fitted.resumed) == (4, 1, 0)
    assert fitted.seconds == seen[-1].seconds
    assert fitted.peak_memory_bytes > 50e6
    assert fitted.final_loss == pytest.approx(sum(sum(line["losses"].values()) for line in lines) / TOTAL)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in weights(tmp_path).items())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fitted.copy.json",
        "fitted.json",
        "log.jsonl",
        "metrics.csv",
        "weights.pt",
    ]


def test_final_loss_is_of_the_last_twenty_iterations(tmp_path):
    _, fitted = run(tmp_path, of=recipe(iterations=30))
    assert fitted.final_loss == pytest.approx(sum(sum(line["losses"].values()) for line in log(tmp_path)[10:]) / 20)


def test_it_learns(tmp_path):
    run(tmp_path, of=recipe(epochs=30, decay_epochs=()))
    lines = [line["losses"]["loss_fit"] for line in log(tmp_path)]
    # 0.06 to 0.20 over 4 seeds x 3 instruction sets; 0.98 at a rate of nothing, 0.51 where labels change by the epoch.
    assert sum(lines[-20:]) < 0.35 * sum(lines[:20])


def test_micro_batches_accumulate_the_same_gradient(tmp_path):
    run(tmp_path / "whole")
    run(tmp_path / "parts", micro_batch=3)  # 3 and 1 of 4
    for whole, parts in zip(log(tmp_path / "whole"), log(tmp_path / "parts"), strict=True):
        assert parts["losses"] == pytest.approx(whole["losses"], rel=1e-4)
    for name, value in weights(tmp_path / "whole").items():
        torch.testing.assert_close(weights(tmp_path / "parts")[name], value, atol=1e-5, rtol=1e-4)


def test_workers_change_nothing(tmp_path):
    run(tmp_path / "none", Noisy())
    run(tmp_path / "two", Noisy(), workers=2)
    for name in ("weights.pt", "log.jsonl"):
        assert (tmp_path / "none" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_seed_decides(tmp_path):
    run(tmp_path / "3", Noisy())
    torch.manual_seed(99)  # whatever the state of the global generators was
    run(tmp_path / "again", Noisy())
    run(tmp_path / "4", Noisy(), seed=4)
    assert (tmp_path / "3" / "weights.pt").read_bytes() == (tmp_path / "again" / "weights.pt").read_bytes()
    assert (tmp_path / "3" / "weights.pt").read_bytes() != (tmp_path / "4" / "weights.pt").read_bytes()


def test_mixed_precision_keeps_float32_weights(tmp_path):
    class Seen(Plain):
        def forward(self, batch):
            self.dtype = self.conv(batch[0]["image"]).dtype
            return super().forward(batch)

    run(tmp_path / "full")
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    model, fitted = run(tmp_path / "mixed", Seen(), fabric=fabric)
    assert model.dtype == torch.bfloat16
    assert all(value.dtype == torch.float32 for value in weights(tmp_path / "mixed").values())
    assert fitted.segments[0].precision == "bf16-mixed"
    first, mixed = log(tmp_path / "full")[0]["losses"]["loss_fit"], log(tmp_path / "mixed")[0]["losses"]["loss_fit"]
    assert mixed != first
    assert mixed == pytest.approx(first, rel=0.05)


class Diverging(Plain):
    """Its second loss term, its gradient, or both are not finite in the seventh iteration."""

    def __init__(self, what):
        super().__init__()
        self.what, self.calls = what, 0

    def forward(self, batch):
        self.calls += 1
        losses = super().forward(batch)
        if self.calls == 7 and self.what == "gradient":
            zero = self.fc.weight.sum() * 0
            losses["loss_size"] = losses["loss_size"] + (zero * zero).sqrt()
        elif self.calls == 7 and self.what == "value":
            losses["loss_size"] = losses["loss_size"] + math.nan
        elif self.calls == 7:
            losses["loss_size"] = losses["loss_size"] * float(self.what)
        return losses


@pytest.mark.parametrize("what", ["nan", "inf", "value", "gradient"])
def test_a_loss_that_is_not_finite_stops_and_what_was_saved_stays(tmp_path, what):
    run(tmp_path / "reference")
    with pytest.raises(ReproError) as error:
        run(tmp_path / "diverged", Diverging(what), save_every=3)
    message = str(error.value)
    assert "iteration 7 of 18" in message
    assert "loss_fit = " in message
    named = {"value": "loss_size = nan", "gradient": "gradient norm = nan"}
    assert named.get(what, f"loss_size = {what}") in message
    assert len(log(tmp_path / "diverged")) == 6
    assert not (tmp_path / "diverged" / "weights.pt").exists()
    _, fitted = run(tmp_path / "diverged", save_every=3)  # as if the cause had gone
    assert [segment.start for segment in fitted.segments] == [0, 6]
    for name in ("weights.pt", "log.jsonl"):
        assert (tmp_path / "diverged" / name).read_bytes() == (tmp_path / "reference" / name).read_bytes()


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(ReproError, match="empty"):
        run(tmp_path, data=Squares(0))
    fabric = Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu"))
    with pytest.raises(ReproError, match="bf16-mixed"):
        run(tmp_path, fabric=fabric)

    class Three(Fabric):
        world_size = 3

    with pytest.raises(ReproError, match="batch of 4 samples cannot be divided among 3 processes"):
        run(tmp_path, fabric=Three(accelerator="cpu", devices=1))


def test_modes_of_the_model_are_its_own(tmp_path):
    """`fit` only calls `model.train()`, which a network with frozen stages may override."""

    class Frozen(Noisy):
        def train(self, mode=True):
            super().train(mode)
            self.norm.eval()
            return self

    model = Frozen()
    before = model.norm.running_mean.clone()
    run(tmp_path, model)
    assert torch.equal(model.norm.running_mean, before)

from __future__ import annotations

import pytest
import torch
from torch import nn

from repro.models import norm

pytestmark = pytest.mark.rounding

KINDS = ("bn", "sync", "frozen", "eval")


def reference(dimensions: int = 2) -> nn.Module:
    """Batch norm with nothing at its default."""
    layer, generator = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dimensions](5), torch.Generator().manual_seed(0)
    for tensor in (layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var):
        tensor.copy_(torch.rand(5, generator=generator) + 0.5)
    return layer


def maps(dimensions: int = 2) -> torch.Tensor:
    """Feature maps of images, or of clips with as many frames as channels: nothing but their order tells them apart."""
    frames = (5,) if dimensions == 3 else ()
    return torch.randn(3, 5, *frames, 4, 6, generator=torch.Generator().manual_seed(1)) * 2 + 1


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_loads_batch_norm_and_equals_it_in_eval_mode(kind: str, dimensions: int) -> None:
    peer, layer, x = reference(dimensions), norm.build(kind, 5, dimensions), maps(dimensions)
    layer.load_state_dict(peer.state_dict())
    torch.testing.assert_close(layer.eval()(x), peer.eval()(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["bn", "eval"])
def test_images_are_no_clips_and_clips_no_images(kind: str) -> None:
    for dimensions in (2, 3):
        with pytest.raises(ValueError, match=f"expected {dimensions + 2}D input"):
            norm.build(kind, 5, dimensions)(maps(5 - dimensions))


def trained_once(layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor], list[torch.Tensor]]:
    """Output, state and affine gradients after one training step's forward and backward pass."""
    output = layer.train()(x)
    if output.requires_grad:
        (output * x.roll(1, 0)).sum().backward()
    return output, layer.state_dict(), [p.grad for p in layer.parameters()]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_sync_is_batch_norm_until_it_is_synchronised(dimensions: int) -> None:
    peer, layer, x = reference(dimensions), norm.build("sync", 5, dimensions), maps(dimensions)
    layer.load_state_dict(peer.state_dict())
    for ours, theirs in zip(trained_once(layer, x), trained_once(peer, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_synchronised_it_is_torchs_with_the_same_state(dimensions: int) -> None:
    model = nn.Sequential(norm.build("sync", 5, dimensions), nn.ReLU())
    model[0].load_state_dict(reference(dimensions).state_dict())
    parameters, state = list(model.parameters()), model.state_dict()
    model = norm.synchronise(model)
    assert isinstance(model[0], nn.SyncBatchNorm)
    assert all(ours is theirs for ours, theirs in zip(model.parameters(), parameters, strict=True))
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("kind", ["frozen", "eval"])
def test_statistics_are_used_and_kept_in_training(kind: str, dimensions: int) -> None:
    peer, layer, x = reference(dimensions), norm.build(kind, 5, dimensions), maps(dimensions)
    layer.load_state_dict(peer.state_dict())
    output, state, gradients = trained_once(layer, x)
    torch.testing.assert_close(output, peer.eval()(x), rtol=1e-6, atol=1e-6)
    for name, value in state.items():
        assert torch.equal(value, peer.state_dict()[name]), name
    if kind == "eval":  # affine parameters are trained
        assert len(gradients) == 2
        assert all((g.abs() > 0).all() for g in gradients)
    else:
        assert gradients == []


def test_eval_norm_does_not_depend_on_a_train_call() -> None:
    layer = norm.build("eval", 5)
    assert not layer.training
    assert not layer.train().training

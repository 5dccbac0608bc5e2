"""Slow-only networks as mmaction2 and pytorchvideo publish them (`classifiers_peer`)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from classifiers_peer import Tensors, slow_only, slow_r50
from torch import Tensor

from repro.checkpoints import registry
from repro.conversion import build, convert, recognise
from repro.errors import ReproError
from repro.experiments import GC, Classifier, NonLocal, get, preprocessing
from repro.models.context import NonLocalBlock
from repro.models.conventions import MMCV, PAPER

pytestmark = pytest.mark.rounding

PLAIN = get("kinetics-r50-baseline").network
PAPER_NL = get("kinetics-r50-5nl").network
ENTRY = "mmaction2/slowonly_nl_embedded_gaussian_r50_8x8x1_150e_kinetics400_rgb"
THEIR_NL = registry.load().get(ENTRY).adapt_network(PAPER_NL)


def clips() -> Tensor:
    """Float64: in float32 the softmax of a non-local block would blur small differences of the layout."""
    return torch.randn(1, 3, 4, 64, 80, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def parameters(tensors: dict[str, Tensor]) -> int:
    return sum(v.numel() for k, v in tensors.items() if not k.endswith(("running_mean", "running_var", "tracked")))


@torch.no_grad()
def largest_difference(converted, theirs: Tensor) -> float:
    """In units of the spread of the logits."""
    ours = build(converted).double()(clips())
    assert theirs.std() > 0.05
    return float((ours - theirs).abs().max() / theirs.std())


@pytest.fixture(scope="module")
def plain() -> tuple[dict[str, Tensor], Tensor]:
    tensors = Tensors(5)
    return tensors, slow_only(tensors, clips())


@pytest.fixture(scope="module")
def non_local() -> tuple[dict[str, Tensor], Tensor]:
    tensors = Tensors(6)
    return tensors, slow_only(tensors, clips(), non_local=True)


def test_slow_only_gives_the_same_logits(plain) -> None:
    tensors, theirs = plain
    assert parameters(tensors) == 32_454_096  # as published
    assert recognise(tensors) == "mmaction2"
    converted = convert(tensors, "mmaction2", PLAIN)
    assert (converted.missing, converted.unexpected, converted.reshaped) == ((), (), ())
    assert largest_difference(converted, theirs) < 1e-10


def test_slow_only_with_non_local_blocks_gives_the_same_logits(non_local) -> None:
    tensors, theirs = non_local
    assert parameters(tensors) == 39_808_464  # as published
    converted = convert(tensors, "mmaction2", THEIR_NL)
    assert (converted.missing, converted.unexpected, converted.conventions) == ((), (), MMCV)
    # Of each of five blocks, a bias that the file does not have is zero.
    assert len(converted.reshaped) == 5
    assert all(what.endswith("conv_out.conv.bias: zeros, the file has none") for what in converted.reshaped)
    assert largest_difference(converted, theirs) < 1e-6


def test_each_peculiarity_of_the_non_local_blocks_matters(non_local) -> None:
    """Else the comparison above would not show that it is heeded."""
    tensors, theirs = non_local
    converted = convert(tensors, "mmaction2", THEIR_NL)
    assert largest_difference(replace(converted, conventions=PAPER), theirs) > 1e-3
    assert largest_difference(replace(converted, network=with_block(scaled=False)), theirs) > 1e-3


def test_attention_of_converted_blocks_is_that_of_mmcv(non_local) -> None:
    tensors, _ = non_local
    block = build(convert(tensors, "mmaction2", THEIR_NL)).double().layer2[0].context_block
    assert isinstance(block, NonLocalBlock)
    x = torch.randn(1, 512, 2, 4, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    theirs = {k.removeprefix("backbone.layer2.0.non_local_block."): v.double() for k, v in tensors.items()}

    def project(name: str) -> Tensor:
        weight, bias = theirs[f"{name}.conv.weight"], theirs[f"{name}.conv.bias"]
        return torch.einsum("oc,bcthw->bothw", weight.flatten(1), x) + bias[:, None, None, None]

    keys = project("phi.0")[..., :4].unflatten(3, (2, 2)).unflatten(5, (2, 2)).amax((4, 6))  # 2x2, the rest dropped
    logits = project("theta").flatten(2).transpose(1, 2) @ keys.flatten(2) / 16
    torch.testing.assert_close(block.attention(x), logits.softmax(-1), rtol=1e-6, atol=1e-9)


def test_pytorchvideos_slow_network_gives_the_same_logits() -> None:
    tensors = Tensors(7)
    theirs = slow_r50(tensors, clips())
    assert len(tensors) == 320
    assert recognise(tensors) == "pytorchvideo"
    converted = convert(tensors, "pytorchvideo", PLAIN)
    assert (converted.missing, converted.unexpected, converted.reshaped) == ((), (), ())
    assert largest_difference(converted, theirs) < 1e-10


def with_block(**changes) -> Classifier:
    context = THEIR_NL.backbone.context
    return replace(
        THEIR_NL, backbone=replace(THEIR_NL.backbone, context=replace(context, block=replace(context.block, **changes)))
    )


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (PLAIN, "the file has non-local blocks, the network has none"),
        (get("kinetics-r50-5gc").network, "the file has non-local blocks, the network has none"),
        (PAPER_NL, "0 of c3, 2 of c3, 0 of c4, 2 of c4, 4 of c4, .* 1 of c3, 3 of c3, 1 of c4, 3 of c4, 5 of c4: "),
        (with_block(instantiation="dot_product"), "instantiation 'embedded_gaussian', not 'dot_product'"),
        (with_block(subsample=False), "subsample True, not False"),
        (with_block(output_norm=False), "output_norm True, not False"),
        (with_block(reduction=4), "reduction 2, not 4"),
        (with_block(scaled=False), "scaled True, not False"),
        (get("imagenet-r50-1nl").network, "dimensions 3, not 2"),
    ],
)
def test_non_local_weights_are_refused_by_other_networks(network: Classifier, says: str, non_local) -> None:
    with pytest.raises(ReproError, match=says):
        convert(non_local[0], "mmaction2", network)


@pytest.mark.parametrize(
    ("changes", "network", "says"),
    [
        ({"backbone.conv1.conv.weight": torch.zeros(64, 3, 5, 7, 7)}, PLAIN, r"5 frames \(I3D\)"),
        ({"backbone.conv1.conv.weight": torch.zeros(64, 3, 7, 7)}, PLAIN, "TSM"),
        ({"backbone.slow_path.conv1.conv.weight": torch.zeros(64, 3, 1, 7, 7)}, PLAIN, "second pathway"),
        ({"backbone.layer1.0.conv1.conv.weight": torch.zeros(64, 64, 3, 1, 1)}, PLAIN, "other numbers of frames"),
        ({"cls_head.fc_cls.weight": torch.zeros(700, 2048)}, PLAIN, "tells other classes apart"),
        ({}, PAPER_NL, "context blocks where the file has none"),
    ],
)
def test_files_of_other_networks_are_refused(changes: dict[str, Tensor], network: Classifier, says: str, plain) -> None:
    with pytest.raises(ReproError, match=says):
        convert({**plain[0], **changes}, "mmaction2", network)


def test_the_paper_asks_for_other_blocks_than_mmaction2_has() -> None:
    assert (
        NonLocal(output_norm=True, initial="msra") == PAPER_NL.backbone.context.block == THEIR_NL.backbone.context.block
    )
    assert PAPER_NL.backbone.context.sites != THEIR_NL.backbone.context.sites
    assert replace(GC, ratio=4) == get("kinetics-r50-5gc").network.backbone.context.block


def test_clips_are_those_of_each_file() -> None:
    by_entry = {
        entry.id: preprocessing.preprocessing_for("mmaction2", entry.id)
        for entry in registry.load().entries
        if entry.id.startswith("mmaction2/slowonly")
    }
    assert len(by_entry) == 13
    for name, inputs in by_entry.items():
        assert (inputs.frames, inputs.stride) == ((4, 16) if "4x16x1" in name else (8, 8)), name
        assert (inputs.clips, inputs.crops, inputs.crop, inputs.class_order) == (10, 3, 256, "label")
        assert inputs.clip_starts == ("ends" if "8xb16" in name else "middles"), name

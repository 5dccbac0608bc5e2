"""The backbones against torchvision's networks, and their parameters against an independent count."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.resnet import Bottleneck as PeerBottleneck
from torchvision.models.resnet import ResNet as PeerResNet
from torchvision_peer import LAYERS, SMALL, images, peer_features, randomised, small_peer

from repro.errors import ReproError
from repro.experiments import EXPERIMENTS, GC, Backbone, Insertion, NonLocal
from repro.models import norm
from repro.models.resnet import ResNet, load_initial

pytestmark = pytest.mark.rounding


def assert_same_features(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for stage, value in theirs.items():
        assert torch.equal(ours[stage], value), stage


@pytest.mark.parametrize(
    ("build_peer", "spec"),
    [
        (torchvision.models.resnet50, Backbone()),
        (torchvision.models.resnet101, Backbone(blocks=(3, 4, 23, 3))),
    ],
    ids=["resnet50", "resnet101"],
)
def test_torchvision_weights_load_strictly_and_give_the_same_output(build_peer, spec: Backbone) -> None:
    peer = randomised(build_peer(weights=None)).eval()
    ours = ResNet(spec, num_classes=1000)
    ours.load_state_dict(peer.state_dict(), strict=True)
    x = images(2, 3, 70, 97)
    with torch.no_grad():
        expected = peer(x)
        assert torch.equal(ours.eval()(x), expected)
    assert expected.std() > 1e-3


def test_resnext101_32x4d_has_the_shape_of_torchvisions() -> None:
    with torch.device("meta"):
        peer = PeerResNet(PeerBottleneck, [3, 4, 23, 3], groups=32, width_per_group=4)
        ours = ResNet(Backbone(blocks=(3, 4, 23, 3), groups=32, width_per_group=4), num_classes=1000)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in peer.state_dict().items()}


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("spec", [SMALL, replace(SMALL, width=16, groups=8, width_per_group=16)], ids=["net", "next"])
def test_small_networks_are_torchvisions(spec: Backbone, train: bool) -> None:
    peer, ours, x = small_peer(spec), ResNet(spec, num_classes=10), images(2, 3, 64, 65)
    ours.load_state_dict(peer.state_dict())
    ours.train(train), peer.train(train)
    assert torch.equal(ours(x), peer(x))
    assert_same_features(ours.features(x), peer_features(peer, x))
    assert_same_features(dict(ours.named_buffers()), dict(peer.named_buffers()))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    ("field", "norm", "count"), [("last_norm", "bn3.weight", 5), ("shortcut_norm", "downsample.1.weight", 4)]
)
def test_norms_of_residual_blocks_start_from_what_is_asked_for_and_nothing_else_changes(
    field, norm, count, dimensions
) -> None:
    spec = Backbone(blocks=(1, 2, 1, 1), width=4, dimensions=dimensions)
    networks = []
    for start in (1.0, 0.25):
        torch.manual_seed(0)
        networks.append(ResNet(replace(spec, **{field: start}), num_classes=3).state_dict())
    usual, small = networks
    changed = {name for name in usual if name.endswith(norm)}
    assert len(changed) == count
    for name, value in usual.items():
        assert torch.equal(small[name], 0.25 * value if name in changed else value), name


def test_features_and_channels() -> None:
    ours = ResNet(SMALL)
    outputs = ours(images(1, 3, 65, 96))
    assert {stage: tuple(value.shape[1:]) for stage, value in outputs.items()} == {
        "c2": (32, 17, 24), "c3": (64, 9, 12), "c4": (128, 5, 6), "c5": (256, 3, 3),
    }  # fmt: skip
    assert ours.channels == {"c2": 32, "c3": 64, "c4": 128, "c5": 256}
    assert not any(name.startswith("fc") for name in ours.state_dict())


def test_stride_in_the_first_convolution() -> None:
    peer, ours, x = small_peer().eval(), ResNet(replace(SMALL, stride_in="1x1")).eval(), images(1, 3, 64, 64)
    load_initial(ours, peer.state_dict())
    for layer in (peer.layer2, peer.layer3, peer.layer4):
        layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    assert_same_features(ours(x), peer_features(peer, x))


# -- Context blocks ---------------------------------------------------------------------------------------------------


def carriers(network: nn.Module) -> set[str]:
    return {
        name.removesuffix(".context_block") for name, _ in network.named_modules() if name.endswith("context_block")
    }


C3 = {f"layer2.{i}" for i in range(4)}
C4 = {f"layer3.{i}" for i in range(6)}
C5 = {f"layer4.{i}" for i in range(3)}
ALL = C3 | C4 | C5
TABLE_2 = {
    "baseline": set(), "1nl": {"layer3.4"}, "1snl": {"layer3.4"}, "1gc": {"layer3.4"}, "gc-r16": ALL,
    "gc-r16-after-add": ALL, "gc-r16-c3": C3, "gc-r16-c4": C4, "gc-r16-c5": C5, "snl": ALL, "gc-r16-plain": ALL,
    "gc-r16-relu": ALL, "gc-r4": ALL, "gc-r8": ALL, "gc-r32": ALL, "avg-scale": ALL, "avg-add": ALL, "att-scale": ALL,
}  # fmt: skip
#: Trainable parameters of the whole detectors: an independent closed-form count of Table 2's networks.
DETECTOR_PARAMETERS = {
    "baseline": 44_400_693, "1nl": 46_500_405, "1snl": 45_451_318, "1gc": 44_534_006, "gc-r16": 46_922_434,
    "gc-r16-after-add": 46_922_434, "gc-r16-c3": 44_536_249, "gc-r16-c4": 45_200_571, "gc-r16-c5": 45_987_000,
    "snl": 64_352_322, "gc-r16-plain": 46_920_642, "gc-r16-relu": 46_920_642, "gc-r4": 54_401_602,
    "gc-r8": 49_415_490, "gc-r32": 45_675_906, "avg-scale": 46_908_085, "avg-add": 46_908_085, "att-scale": 46_922_434,
}  # fmt: skip
IMAGENET_PARAMETERS = {
    "baseline": 25_557_032, "1nl": 27_656_744, "1snl": 26_607_657, "1gc": 25_690_345, "gc-r16": 28_078_773,
    "avg-scale": 28_064_424, "avg-add": 28_064_424, "att-scale": 28_078_773,
}  # fmt: skip


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def on_meta(spec: Backbone, num_classes: int | None = None) -> ResNet:
    with torch.device("meta"):
        return ResNet(spec, num_classes)


@pytest.mark.parametrize("name", TABLE_2)
def test_table_2_networks(name: str) -> None:
    spec = EXPERIMENTS[f"coco-r50-{name}"].network.backbone
    network = on_meta(spec)
    assert carriers(network) == TABLE_2[name]
    added = DETECTOR_PARAMETERS[name] - DETECTOR_PARAMETERS["baseline"]
    assert parameters(network) - parameters(on_meta(replace(spec, context=None))) == added


@pytest.mark.parametrize("name", IMAGENET_PARAMETERS)
def test_imagenet_networks(name: str) -> None:
    spec = EXPERIMENTS[f"imagenet-r50-{name}"].network.backbone
    assert parameters(on_meta(spec, num_classes=1000)) == IMAGENET_PARAMETERS[name]


@pytest.mark.parametrize("block", [GC, NonLocal()], ids=["gc", "nl"])
def test_after_relu_stands_between_residual_blocks(block) -> None:
    peer, x = small_peer().eval(), images(1, 3, 64, 64)
    ours = ResNet(replace(SMALL, context=Insertion(block, (("c4", -2),), "afterReLU"))).eval()
    load_initial(ours, peer.state_dict())
    randomised(ours.layer3[1].context_block)
    plain = peer_features(peer, x)["c4"]
    peer.layer3 = nn.Sequential(*peer.layer3[:2], ours.layer3[1].context_block, peer.layer3[2])
    assert_same_features(ours(x), peer_features(peer, x))
    assert not torch.equal(ours(x)["c4"], plain)


@pytest.mark.parametrize("block", [GC, NonLocal()], ids=["gc", "nl"])
def test_after_add_stands_between_the_addition_and_the_last_relu(block) -> None:
    """As in the authors' code at 38b0b8e, mmdet/models/backbones/resnet.py: sum, block, ReLU."""
    ours = ResNet(replace(SMALL, context=Insertion(block, (("c4", -2),), "afterAdd"))).eval()
    load_initial(ours, randomised(small_peer()).state_dict())
    residual = ours.layer3[1]
    randomised(residual.context_block)
    x = images(2, 128, 6, 5)
    inside = nn.Sequential(
        residual.conv1, residual.bn1, nn.ReLU(), residual.conv2, residual.bn2, nn.ReLU(), residual.conv3, residual.bn3
    )
    total = inside(x) + x
    assert torch.equal(residual(x), residual.context_block(total).relu())
    assert not torch.allclose(residual(x), residual.context_block(total.relu()))


@pytest.mark.parametrize("block", [replace(GC, ratio=4), replace(GC, ratio=4, fusion="scale")], ids=["gc", "scale"])
def test_after_1x1_stands_between_norm_and_addition(block) -> None:
    peer, x = small_peer().eval(), images(1, 3, 64, 64)
    ours = ResNet(replace(SMALL, context=Insertion(block))).eval()
    load_initial(ours, peer.state_dict())
    for layer in ("layer2", "layer3", "layer4"):
        for theirs, mine in zip(getattr(peer, layer), getattr(ours, layer), strict=True):
            randomised(mine.context_block)
            theirs.bn3 = nn.Sequential(theirs.bn3, mine.context_block)
    assert_same_features(ours(x), peer_features(peer, x))


@pytest.mark.parametrize("position", ["after1x1", "afterAdd", "afterReLU"])
def test_fresh_blocks_leave_a_pretrained_network_unchanged(position: str) -> None:
    peer, x = small_peer().eval(), images(1, 3, 64, 64)
    ours = ResNet(replace(SMALL, context=Insertion(GC, position=position)), num_classes=10).eval()
    load_initial(ours, peer.state_dict())
    assert torch.equal(ours(x), peer(x))


@pytest.mark.parametrize("site", [("c4", 3), ("c4", -4), ("c6", 0), ("c1", None)])
def test_sites_outside_the_network(site: tuple[str, int | None]) -> None:
    with pytest.raises(ValueError, match=f"stage {site[0]}"):
        ResNet(replace(SMALL, context=Insertion(GC, (site,))))


# -- Deformable convolutions ------------------------------------------------------------------------------------------


def with_deformable(**changes) -> tuple[PeerResNet, ResNet]:
    spec = replace(SMALL, width=16, groups=8, width_per_group=16)
    peer, ours = small_peer(spec).eval(), ResNet(replace(spec, dcn=("c3", "c4", "c5"), **changes))
    missing, _ = load_initial(ours, peer.state_dict())
    assert missing
    assert all(".conv2.conv_offset." in key for key in missing)
    return peer, ours.eval()


def test_zero_offsets_make_a_convolution() -> None:
    peer, ours = with_deformable()
    for name, parameter in ours.named_parameters():
        if "conv_offset" in name:
            parameter.data.zero_()
    x = images(1, 3, 64, 64)
    for stage, expected in peer_features(peer, x).items():
        torch.testing.assert_close(ours(x)[stage], expected, rtol=1e-5, atol=1e-5)


def test_offsets_are_predicted_and_trained() -> None:
    peer, ours = with_deformable()
    x = images(1, 3, 64, 64)
    outputs = ours(x)
    assert torch.equal(outputs["c2"], peer_features(peer, x)["c2"])
    assert not torch.allclose(outputs["c3"], peer_features(peer, x)["c3"], atol=1e-3)
    outputs["c5"].square().sum().backward()
    assert all(p.grad.abs().max() > 0 for name, p in ours.named_parameters() if "conv_offset" in name)


def test_a_constant_offset_shifts_the_input() -> None:
    _, ours = with_deformable()
    conv = ours.layer2[1].conv2
    x = images(1, conv.in_channels, 8, 9)
    conv.conv_offset.weight.data.zero_()
    conv.conv_offset.bias.data.copy_(torch.tensor([1.0, 0.0] * 9))  # (y, x) of each of the nine taps
    shifted = nn.functional.pad(x[:, :, 1:], (0, 0, 0, 1))
    expected = nn.functional.conv2d(shifted, conv.weight, padding=1, groups=8)
    torch.testing.assert_close(conv(x)[:, :, 1:], expected[:, :, 1:], rtol=1e-4, atol=1e-5)


def test_offset_convolutions_of_the_published_network() -> None:
    spec = EXPERIMENTS["coco-x101-dcn-cascade-baseline"].network.backbone
    network, plain = on_meta(spec), on_meta(replace(spec, dcn=()))
    widths = {"layer2": (256, 4), "layer3": (512, 23), "layer4": (1024, 3)}  # of the grouped 3x3, and blocks
    assert parameters(network) - parameters(plain) == sum(n * (18 * 9 * w + 18) for w, n in widths.values())
    for layer, (width, _) in widths.items():
        first = getattr(network, layer)[0].conv2
        assert first.weight.shape == (width, width // 32, 3, 3)
        assert first.conv_offset.weight.shape == (18, width, 3, 3)
        assert first.conv_offset.bias is not None
        assert first.conv_offset.stride == first.stride == (2, 2)
    assert not any("layer1" in name and "offset" in name for name in network.state_dict())


# -- Training: frozen stages and norms --------------------------------------------------------------------------------


def changed_by_a_step(network: ResNet) -> set[str]:
    """Keys of the state dict that one step of SGD changes."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    frames = (2,) if network.spec.dimensions == 3 else ()
    sum(value.square().mean() for value in network.train()(images(2, 3, *frames, 64, 64)).values()).backward()
    optimizer.step()
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("kind", ["bn", "sync"])
@pytest.mark.parametrize("frozen", [(), ("c1",), ("c1", "c2"), ("c2", "c4")])
def test_frozen_stages_do_not_change(frozen: tuple[str, ...], kind: str, dimensions: int) -> None:
    network = ResNet(replace(SMALL, frozen=frozen, norm=kind, dimensions=dimensions))
    prefixes = {"c1": ("conv1.", "bn1."), **{stage: (f"{layer}.",) for stage, layer in LAYERS.items()}}
    still = tuple(prefix for stage in frozen for prefix in prefixes[stage])
    assert changed_by_a_step(network) == {
        name for name in network.state_dict() if not (still and name.startswith(still))
    }


def test_statistics_of_frozen_stages_may_follow_the_batches() -> None:
    """As in the authors' code at 38b0b8e, whose configurations have `frozen_stages=1` and `norm_eval=False`."""
    spec = replace(SMALL, frozen=("c1", "c2"), frozen_statistics="batch")
    network = ResNet(spec)
    frozen = ("conv1.", "bn1.", "layer1.")
    statistics = {name for name, _ in network.named_buffers() if name.startswith(frozen)}
    assert {name for name in changed_by_a_step(network) if name.startswith(frozen)} == statistics
    x, first = images(2, 3, 64, 64), network.bn1
    network.train()
    expected = torch.nn.functional.batch_norm(network.conv1(x), None, None, first.weight, first.bias, training=True)
    outputs = []
    first.register_forward_hook(lambda _layer, _inputs, output: outputs.append(output.clone()))
    network(x)
    assert torch.equal(outputs[0], expected)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("kind", ["eval", "frozen"])
def test_norms_that_keep_their_statistics(kind: str, dimensions: int) -> None:
    network = ResNet(replace(SMALL, norm=kind, dimensions=dimensions))
    changed = changed_by_a_step(network)
    assert not any(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in changed)
    assert ("layer1.0.bn1.weight" in changed) == (kind == "eval")
    assert "layer1.0.conv1.weight" in changed


def test_train_and_eval_modes() -> None:
    network = ResNet(replace(SMALL, frozen=("c1", "c2"), context=Insertion(NonLocal(output_norm=True))))

    def training() -> set[str]:
        layers = network.named_modules()
        return {name for name, layer in layers if layer.training and isinstance(layer, norm.BatchNorm)}

    expected = {
        name for name, layer in network.named_modules()
        if isinstance(layer, norm.BatchNorm) and name.startswith(("layer2", "layer3", "layer4"))
    }  # fmt: skip
    assert training() == expected
    assert network.eval() is network
    assert training() == set()
    assert not network.training
    assert network.train() is network
    assert training() == expected
    assert network.training


def test_stages_that_no_network_has() -> None:
    with pytest.raises(ValueError, match="c6"):
        ResNet(replace(SMALL, frozen=("c6",)))
    with pytest.raises(ValueError, match="c1"):
        ResNet(replace(SMALL, dcn=("c1",)))


# -- Initial weights --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bn", "sync", "frozen", "eval"])
def test_initial_weights_of_a_classifier(kind: str) -> None:
    peer, x = small_peer().eval(), images(1, 3, 64, 64)
    # As in torchvision's older files, which have no counter of batches.
    old = {name: value for name, value in peer.state_dict().items() if not name.endswith("num_batches_tracked")}
    spec = replace(SMALL, norm=kind, context=Insertion(GC))
    ours = ResNet(spec)
    for state in (old, peer.state_dict()):
        missing, unexpected = load_initial(ours, state)
        assert set(missing) == {name for name in ours.state_dict() if "context_block" in name}
        assert set(unexpected) == {"fc.weight", "fc.bias"}
    for stage, expected in peer_features(peer, x).items():
        torch.testing.assert_close(ours.eval()(x)[stage], expected, rtol=1e-4, atol=1e-4)


def test_initial_weights_without_a_head() -> None:
    headless = {name: value for name, value in small_peer().state_dict().items() if not name.startswith("fc.")}
    missing, unexpected = load_initial(ResNet(SMALL, num_classes=10), headless)
    assert set(missing) == {"fc.weight", "fc.bias"}
    assert unexpected == []


def test_initial_weights_of_other_classes() -> None:
    ours, weights = ResNet(SMALL, num_classes=7), small_peer().state_dict()
    head = ours.fc.weight.clone()
    missing, unexpected = load_initial(ours, weights)
    assert set(missing) == set(unexpected) == {"fc.weight", "fc.bias"}
    assert torch.equal(ours.fc.weight, head)
    assert torch.equal(ours.layer4[0].conv3.weight, weights["layer4.0.conv3.weight"])


def broken(change) -> dict[str, torch.Tensor]:
    state = dict(small_peer().state_dict())
    change(state)
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layer3.0.conv2.weight"), r"lack layer3\.0\.conv2\.weight;"),
        (lambda s: [s.pop("bn1.weight"), s.pop("bn1.bias")], r"lack bn1\.weight and 1 more keys"),
        (lambda s: s.update({"layer3.9.conv1.weight": torch.zeros(1)}), r"unknown layer3\.9\.conv1\.weight"),
        (lambda s: s.update({"layer2.0.context_block.conv_mask.bias": torch.zeros(1)}), "unknown layer2"),
        (lambda s: s.update({"conv1.weight": torch.zeros(64, 3, 7, 7)}), r"conv1\.weight has shape \(64, 3, 7, 7\)"),
        (
            lambda s: s.update({"conv1.weight": s["conv1.weight"].char()}),
            r"conv1\.weight holds torch\.int8, .* quantised",
        ),
        (
            lambda s: s.update({"bn1.bias": s["bn1.bias"] > 0}),
            r"bn1\.bias holds torch\.bool, the network needs torch\.float",
        ),
    ],
)
def test_initial_weights_of_another_network(change, message: str) -> None:
    with pytest.raises(ReproError, match=message):
        load_initial(ResNet(SMALL), broken(change))

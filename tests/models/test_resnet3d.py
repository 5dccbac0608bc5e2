"""The 3-D networks against pytorchvideo's, against torchvision's frame by frame, and through inflated weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torchvision_peer import LAYERS, SMALL, images, peer_features, randomised, small_peer

from repro.errors import ReproError
from repro.experiments import ALL_STAGES, EXPERIMENTS, GC, Backbone, Insertion, NonLocal
from repro.models import context
from repro.models.resnet import ResNet, load_initial
from repro.models.resnet3d import inflate

pytestmark = pytest.mark.rounding

SLOW = Backbone(dimensions=3)
SMALL_SLOW = replace(SMALL, dimensions=3)
KINETICS = {name: e.network for name, e in EXPERIMENTS.items() if e.dataset == "kinetics"}


def frames_first(clip: torch.Tensor) -> torch.Tensor:
    """The (T, C, H, W) of one clip (1, C, T, H, W): its frames as a batch of images."""
    return clip.squeeze(0).transpose(0, 1)


def repeated(image: torch.Tensor, frames: int) -> torch.Tensor:
    """The clip (B, C, T, H, W) that shows one image (B, C, H, W) all the time."""
    return image.unsqueeze(2).repeat(1, 1, frames, 1, 1)


def assert_close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


# -- Other constructions of the same network --------------------------------------------------------------------------


def pytorchvideo_key(key: str) -> str:
    """The name in pytorchvideo's slow_r50 of a parameter or buffer of ours."""
    parts = key.split(".")
    if parts[0] == "fc":
        return f"blocks.5.proj.{parts[1]}"
    if not parts[0].startswith("layer"):
        return {"conv1": "blocks.0.conv", "bn1": "blocks.0.norm"}[parts[0]] + f".{parts[1]}"
    layer, block, *module, leaf = parts
    name = {
        "conv1": "branch2.conv_a", "bn1": "branch2.norm_a", "conv2": "branch2.conv_b", "bn2": "branch2.norm_b",
        "conv3": "branch2.conv_c", "bn3": "branch2.norm_c",
        "downsample.0": "branch1_conv", "downsample.1": "branch1_norm",
    }[".".join(module)]  # fmt: skip
    return f"blocks.{layer.removeprefix('layer')}.res_blocks.{block}.{name}.{leaf}"


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")
def test_pytorchvideos_slow_r50() -> None:
    hub = pytest.importorskip("pytorchvideo.models.hub", reason="needs pytorchvideo (the test extra)")
    peer = randomised(hub.slow_r50()).eval()
    ours = ResNet(SLOW, num_classes=400).eval()
    names = {key: pytorchvideo_key(key) for key in ours.state_dict()}
    assert sorted(names.values()) == sorted(peer.state_dict())
    ours.load_state_dict({key: peer.state_dict()[name] for key, name in names.items()})
    peer.blocks[5].pool = nn.AvgPool3d((8, 2, 2))  # as the published (8, 7, 7) does for 224x224: the whole of c5
    clip = images(1, 3, 8, 64, 64)
    with torch.no_grad():
        x, features = peer.blocks[0](clip), ours.features(clip)
        for stage, block in zip(LAYERS, peer.blocks[1:5], strict=True):
            x = block(x)
            assert_close(features[stage], x)
        logits = peer(clip)
        assert_close(ours(clip), logits)
    assert logits.std() > 0.01


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")
@pytest.mark.parametrize(
    ("instantiation", "theirs"), [("embedded_gaussian", "softmax"), ("dot_product", "dot_product")]
)
def test_pytorchvideos_non_local_block(instantiation: str, theirs: str) -> None:
    layers = pytest.importorskip("pytorchvideo.layers.nonlocal_net", reason="needs pytorchvideo (the test extra)")
    channels, inner = 16, 8
    ours = context.build(NonLocal(instantiation, output_norm=True), channels, dimensions=3).eval()
    peer = layers.create_nonlocal(dim_in=channels, dim_inner=inner, pool_size=(1, 2, 2), instantiation=theirs)
    peer = randomised(peer.eval())
    weights = {key.replace("conv_", "") if "out" not in key else key: v for key, v in peer.state_dict().items()}
    ours.load_state_dict(weights)
    x = images(2, channels, 3, 6, 8)
    with torch.no_grad():
        expected = peer(x)
        assert_close(ours(x), expected, tolerance=1e-5)
    assert (expected - x).abs().max() > 0.1


@pytest.mark.parametrize("dimensions", [2, 3])
def test_logits_of_windows_are_those_of_each_window_alone(dimensions: int) -> None:
    network = randomised(ResNet(replace(SMALL, dimensions=dimensions), num_classes=5)).eval()
    x = images(2, 3, *(3,) * (dimensions - 2), 128, 160)  # c5 has 4 x 5 positions
    with torch.no_grad():
        windows, c5 = network.window_logits(x, side=3), network.features(x)["c5"]
        assert windows.shape == (2, 5, 2, 3)
        for row in range(2):
            for column in range(3):
                pooled = c5[..., row : row + 3, column : column + 3].flatten(2).mean(2)
                expected = torch.einsum("kc,bc->bk", network.fc.weight, pooled) + network.fc.bias
                assert_close(windows[..., row, column], expected)
        assert windows.std((2, 3)).min() > 1e-3
        # Where c5 is one window, its logits are those of the global pooling.
        square = x[..., :96, :96]
        assert_close(network.window_logits(square, side=3)[..., 0, 0], network(square))
        with pytest.raises(ValueError, match="4 x 5 positions, fewer than a window of 7 x 7"):
            network.window_logits(x)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")
def test_logits_of_windows_are_those_of_pytorchvideos_head() -> None:
    """Which averages their softmaxes, too, if it is given one as its activation."""
    head = pytest.importorskip("pytorchvideo.models.head", reason="needs pytorchvideo (the test extra)")
    network = randomised(ResNet(SMALL_SLOW, num_classes=5)).eval()
    peer = head.create_res_basic_head(
        in_features=256, out_features=5, pool_kernel_size=(4, 7, 7), activation=nn.Softmax
    ).eval()  # fmt: skip
    peer.proj.load_state_dict(network.fc.state_dict())
    clip = images(1, 3, 4, 256, 256)
    with torch.no_grad():
        assert_close(network.window_logits(clip).softmax(1).mean((2, 3)), peer(network.features(clip)["c5"]))


@pytest.mark.parametrize("fc_std", [0.01, 0.1])
def test_spread_of_the_last_layer(fc_std: float) -> None:
    fc = ResNet(SMALL_SLOW, 1000, fc_std).fc
    assert not fc.bias.any()
    assert abs(fc.weight.std().item() / fc_std - 1) < 5 / (2 * fc.weight.numel()) ** 0.5
    assert ResNet(SMALL_SLOW, 1000).fc.weight.abs().max() <= 256**-0.5  # PyTorch's default is uniform


class AcrossFrames(nn.Module):
    """A 3x1x1 convolution of a clip whose frames are the batch, (T, C, H, W), as a sum of three 1x1 ones of images."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        padded = functional.pad(frames, (0, 0, 0, 0, 0, 0, 1, 1))
        return sum(functional.conv2d(padded[tap : tap + len(frames)], self.weight[:, :, tap]) for tap in range(3))


@pytest.mark.parametrize("train", [True, False])
def test_torchvisions_network_with_sums_over_three_frames(train: bool) -> None:
    ours, peer = randomised(ResNet(SMALL_SLOW, num_classes=10)).train(train), small_peer()
    weights = dict(ours.state_dict())
    spatial = {key: value.squeeze(2) if value.dim() == 5 else value for key, value in weights.items()}
    temporal = [f"{layer}.{i}" for layer in ("layer3", "layer4") for i in range(len(getattr(peer, layer)))]
    for block in temporal:
        spatial[f"{block}.conv1.weight"] = weights[f"{block}.conv1.weight"][:, :, 1]
    peer.load_state_dict(spatial)
    for block in temporal:
        peer.get_submodule(block).conv1 = AcrossFrames(weights[f"{block}.conv1.weight"].clone())
    clip = images(1, 3, 5, 64, 65)
    expected = peer_features(peer.train(train), frames_first(clip))
    for stage, value in ours.features(clip).items():
        assert_close(frames_first(value), expected[stage])
    for key, value in peer.state_dict().items():  # running statistics, too
        if "running" in key:
            assert_close(ours.state_dict()[key], value)
    assert_close(ours(clip)[0], peer.fc(expected["c5"].mean((0, 2, 3))))


def test_names_and_shapes_are_torchvisions_with_a_time_axis() -> None:
    with torch.device("meta"):
        ours, peer = ResNet(SLOW, num_classes=1000).state_dict(), torchvision.models.resnet50().state_dict()
    assert list(ours) == list(peer)
    for key, value in peer.items():
        frames = 3 if key.startswith(("layer3", "layer4")) and key.endswith(".conv1.weight") else 1
        shape = (*value.shape[:2], frames, *value.shape[2:]) if value.dim() == 4 else value.shape
        assert ours[key].shape == shape, key
    assert ours["layer3.0.conv1.weight"].shape == (256, 512, 3, 1, 1)


def test_features_and_channels() -> None:
    ours = ResNet(SMALL_SLOW)
    outputs = ours(images(1, 3, 3, 65, 96))
    assert {stage: tuple(value.shape[1:]) for stage, value in outputs.items()} == {
        "c2": (32, 3, 17, 24), "c3": (64, 3, 9, 12), "c4": (128, 3, 5, 6), "c5": (256, 3, 3, 3),
    }  # fmt: skip
    assert ours.channels == {"c2": 32, "c3": 64, "c4": 128, "c5": 256}


# -- The networks of Table 5 ------------------------------------------------------------------------------------------

#: Trainable parameters: an independent closed-form count of Table 5's networks.
PARAMETERS = {
    "kinetics-r50-baseline": 32_454_096, "kinetics-r50-5nl": 39_812_560, "kinetics-r50-5snl": 36_132_309,
    "kinetics-r50-5gc": 34_300_373, "kinetics-r50-gc-r4": 42_455_005,
}  # fmt: skip
FIVE = {"layer2.1", "layer2.3", "layer3.1", "layer3.3", "layer3.5"}
ALL = {f"{layer}.{i}" for layer, blocks in (("layer2", 4), ("layer3", 6), ("layer4", 3)) for i in range(blocks)}


@pytest.mark.parametrize("name", KINETICS)
def test_table_5_networks(name: str) -> None:
    with torch.device("meta"):
        network = ResNet(KINETICS[name].backbone, KINETICS[name].num_classes)
    carriers = {key.split(".context_block.")[0] for key in network.state_dict() if ".context_block." in key}
    assert carriers == {"baseline": set(), "gc-r4": ALL}.get(name.removeprefix("kinetics-r50-"), FIVE)
    if name in PARAMETERS:
        assert sum(p.numel() for p in network.parameters() if p.requires_grad) == PARAMETERS[name]


# -- Inflation --------------------------------------------------------------------------------------------------------


def test_an_image_network_inflated_sees_each_frame_as_an_image() -> None:
    """ImageNet's classes give way to Kinetics's; fresh context blocks change nothing."""
    peer = randomised(torchvision.models.resnet50()).eval()
    ours = ResNet(KINETICS["kinetics-r50-5gc"].backbone, num_classes=400).eval()
    head = ours.fc.weight.clone()
    missing, unexpected = load_initial(ours, inflate(peer.state_dict(), ours))
    assert {key for key in missing if ".context_block." not in key} == {"fc.weight", "fc.bias"}
    assert set(unexpected) == {"fc.weight", "fc.bias"}
    assert torch.equal(ours.fc.weight, head)
    clip = images(1, 3, 3, 64, 64)
    with torch.no_grad():
        features, expected = ours.features(clip), peer_features(peer, frames_first(clip))
    for stage, value in expected.items():
        assert_close(frames_first(features[stage]), value)


@pytest.mark.parametrize("frames", [1, 8])
@pytest.mark.parametrize("name", KINETICS)
def test_a_constant_clip_gives_the_output_of_the_image(name: str, frames: int) -> None:
    """With trained context blocks, too: their sums over T*H*W positions are averages over T equal frames."""
    spec = replace(KINETICS[name].backbone, width=8)
    flat = randomised(ResNet(replace(spec, dimensions=2), num_classes=10)).double().eval()
    deep = ResNet(spec, num_classes=10).double().eval()
    deep.load_state_dict(inflate(flat.state_dict(), deep), strict=True)
    image = images(2, 3, 64, 64).double()
    with torch.no_grad():
        expected = flat(image)
        assert_close(deep(repeated(image, frames)), expected, tolerance=1e-9 * expected.abs().max().item())
    assert (expected[0] - expected[1]).abs().max() > 1e-3


def test_mean_taps_give_it_away_from_the_ends_of_the_clip() -> None:
    spec = replace(SMALL_SLOW, blocks=(1, 1, 1, 1), context=None)
    flat, deep = small_peer(spec).double().eval(), ResNet(spec, num_classes=10).double().eval()
    deep.load_state_dict(inflate(flat.state_dict(), deep, taps="mean"), strict=True)
    image = images(1, 3, 64, 64).double()
    with torch.no_grad():
        ours, expected = deep.features(repeated(image, 7)), peer_features(flat, image)
    for stage, reach in (("c2", 0), ("c3", 0), ("c4", 1), ("c5", 2)):  # one frame more for each temporal convolution
        differ = [(frame - expected[stage]).abs().max().item() > 1e-9 for frame in ours[stage].unbind(2)]
        assert differ == [True] * reach + [False] * (7 - 2 * reach) + [True] * reach, stage


def test_inflated_context_blocks_keep_their_shapes() -> None:
    spec = replace(SMALL, context=Insertion(replace(GC, ratio=4), ALL_STAGES))
    flat, deep = ResNet(spec), ResNet(replace(spec, dimensions=3))
    inflated = inflate(flat.state_dict(), deep)
    key = "layer3.0.context_block.channel_add_conv"
    assert (inflated[f"{key}.0.weight"].shape, inflated[f"{key}.1.weight"].shape) == ((32, 128, 1, 1, 1), (32, 1, 1, 1))
    assert torch.equal(inflated["layer3.0.conv1.weight"].sum(2), flat.layer3[0].conv1.weight)
    assert inflate(inflated, deep).keys() == inflated.keys()
    assert all(value is inflated[key] for key, value in inflate(inflated, deep).items())  # nothing left to inflate


def test_weights_of_another_network_are_refused() -> None:
    ours = ResNet(SMALL_SLOW, num_classes=10)
    weights = small_peer().state_dict()
    with pytest.raises(
        ReproError, match=r"conv1\.weight has shape \(8, 3, 7, 7\), the network needs \(8, 3, 1, 7, 7\)"
    ):
        load_initial(ours, weights)
    wider = small_peer(replace(SMALL, width=16)).state_dict()
    with pytest.raises(ReproError, match=r"conv1\.weight has shape \(16, 3, 1, 7, 7\)"):
        load_initial(ours, inflate(wider, ours))
    with pytest.raises(ReproError, match=r"lack layer3\.0\.conv1\.weight;"):
        load_initial(ours, inflate({k: v for k, v in weights.items() if k != "layer3.0.conv1.weight"}, ours))
    with pytest.raises(ReproError, match="layer3"):
        load_initial(ours, inflate(weights | {"layer3.0.conv1.weight": torch.zeros(())}, ours))
    with pytest.raises(ValueError, match="for images"):
        inflate(weights, ResNet(SMALL))


def test_specifications_that_no_network_for_clips_has() -> None:
    with pytest.raises(ValueError, match="deformable convolutions are for images, not for clips: c4, c5"):
        ResNet(replace(SMALL_SLOW, dcn=("c4", "c5")))
    with pytest.raises(ValueError, match=r"2 dimensions \(images\) or 3 \(clips\), not 4"):
        ResNet(replace(SMALL, dimensions=4))


def test_an_image_is_no_clip_and_a_clip_no_image() -> None:
    with pytest.raises(ValueError, match="5D"):
        ResNet(SMALL_SLOW)(images(3, 3, 64, 64))
    with pytest.raises((ValueError, RuntimeError), match="4D"):
        ResNet(SMALL)(images(1, 3, 4, 64, 64))

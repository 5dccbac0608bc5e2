"""The mini profile keeps what distinguishes the experiments of Table 5."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import combinations

import pytest

from repro.errors import ReproError
from repro.experiments import FIVE_OF_C3_C4, NonLocal, get, mini
from repro.experiments.mini import kinetics
from repro.experiments.mini.generated import identify_generated

NAMES = ["baseline", "5nl", "5snl", "5gc", "gc-r4", "5nl-gaussian", "5nl-dot-product", "5nl-concat"]
FULL = [get(f"kinetics-r50-{name}") for name in NAMES]


def small(name):
    return kinetics.shrink(get(f"kinetics-r50-{name}"))


@pytest.mark.parametrize("full", FULL, ids=NAMES)
def test_shrinking_keeps_the_blocks_and_their_places(full):
    one, backbone = kinetics.shrink(full), full.network.backbone
    assert (one.name, one.dataset, one.profile) == (full.name, "kinetics", "mini")
    for kept in ("context", "norm", "frozen", "dimensions", "stride_in"):
        assert getattr(one.network.backbone, kept) == getattr(backbone, kept)
    assert one.network.backbone.width < backbone.width
    assert one.network.input_size[0] == full.network.input_size[0]  # as many frames
    assert one.recipe.initial_weights == "shared network"


def test_any_two_experiments_differ_in_the_context_blocks_alone():
    experiments = [kinetics.shrink(full) for full in FULL]
    for a, b in combinations(experiments, 2):
        assert a.spec_hash != b.spec_hash
        assert a.network != b.network
    plain = {replace(one.network, backbone=kinetics._strip_context(one.network.backbone)) for one in experiments}
    assert len(plain) == 1
    assert len({one.recipe for one in experiments}) == 1


def test_the_five_blocks_follow_every_other_block_of_c3_and_c4():
    from repro.models.resnet import ResNet

    for name in ("5nl", "5snl", "5gc", "5nl-gaussian", "5nl-dot-product", "5nl-concat"):
        spec = small(name).network.backbone
        assert spec.context.sites == FIVE_OF_C3_C4
        found = [key for key, _ in ResNet(spec).named_modules() if key.endswith("context_block")]
        assert found == [f"layer{stage}.{i}.context_block" for stage, i in ((2, 1), (2, 3), (3, 1), (3, 3), (3, 5))]
        assert spec.blocks[1:3] == (4, 6)


def test_non_local_blocks_compare_positions_of_all_frames():
    import torch

    from repro.models.resnet import ResNet

    spec = small("5nl").network
    network = ResNet(spec.backbone, spec.num_classes).eval()
    with torch.inference_mode():
        c4 = network.features(torch.zeros(1, 3, *spec.input_size))["c4"]
        omega = network.layer3[5].context_block.attention(c4)
    queries = c4[0, 0].numel()
    assert queries >= 128
    assert omega.shape == (1, queries, queries // 4)


def test_the_instantiations_stay_what_they_are():
    for name in ("gaussian", "dot-product", "concat"):
        block = small(f"5nl-{name}").network.backbone.context.block
        assert isinstance(block, NonLocal)
        assert block.instantiation == name.replace("-", "_")


@pytest.mark.rounding
def test_inflated_pretrained_weights_fit_every_experiment_and_change_nothing_on_a_still_clip():
    import torch

    from repro.data.miniature.coco import Tagger
    from repro.models.resnet import ResNet, load_initial
    from repro.models.resnet3d import inflate

    torch.manual_seed(0)
    spec = kinetics.PRETRAINING.network
    image_network = Tagger(spec.backbone, spec.num_classes).eval()
    image = torch.randn(1, 3, *spec.input_size)
    for full in FULL:
        one = kinetics.shrink(full).network
        network = ResNet(one.backbone, one.num_classes).eval()
        missing, unexpected = load_initial(network, inflate(image_network.state_dict(), network))
        assert {*missing, *unexpected} >= {"fc.weight", "fc.bias"}
        assert all(".context_block." in key or key.startswith("fc.") for key in (*missing, *unexpected))
        first, second = mini.list_pretrainings(kinetics.shrink(full))
        assert first == kinetics.PRETRAINING
        assert second.network == kinetics.shrink(FULL[0]).network
        with torch.inference_mode():
            clip = image.unsqueeze(2).expand(-1, -1, one.input_size[0], -1, -1)
            ours, theirs = network.features(clip)["c5"], image_network.features(image)["c5"]
        torch.testing.assert_close(ours, theirs.unsqueeze(2).expand_as(ours), rtol=1e-4, atol=1e-4)


def test_every_clip_of_test_and_training_sees_the_light_in_three_frames_at_least():
    import numpy as np

    from repro.data.clips import choose_clip_starts, list_clip_frames

    videos, inputs = kinetics.VIDEOS, kinetics.PREPROCESSING
    span = inputs.frames * inputs.stride
    starts = {*choose_clip_starts(videos.frames, inputs).tolist(), *range(videos.frames - span + 1)}
    clips = list_clip_frames(np.array(sorted(starts)), videos.frames, inputs.frames, inputs.stride)
    assert (np.diff(clips) > 0).all()  # nothing is played again
    for begin in range(videos.dark, videos.frames - videos.dark - videos.lasting + 1):
        seen = np.isin(clips, range(begin, begin + videos.lasting)).sum(axis=1)
        assert set(seen.tolist()) <= {3, 4}


def test_training_clips_are_what_the_network_takes_and_never_mirrored():
    from repro.data.clips import ClipAugmentation

    augmentation = ClipAugmentation(**kinetics.AUGMENTATION)
    assert augmentation.flip == 0
    assert small("baseline").network.input_size == (augmentation.frames, augmentation.size, augmentation.size)


@pytest.mark.parametrize("name", ["imagenet-r50-gc-r16", "coco-r50-baseline"])
def test_networks_of_other_tables_are_refused(name):
    with pytest.raises(ReproError, match=f"{name} has no mini version"):
        kinetics.shrink(get(name))


def test_a_classifier_of_other_clips_is_refused():
    full = get("kinetics-r50-baseline")
    longer = replace(full, name="longer", network=replace(full.network, input_size=(16, 224, 224)))
    with pytest.raises(ReproError, match="longer has no mini version"):
        kinetics.shrink(longer)


def test_the_key_of_the_data_follows_what_is_drawn_and_how_it_is_encoded():
    assert identify_generated(kinetics.VIDEOS, kinetics.CONTENT) == kinetics.DATASET_KEY
    for change in ({"seed": 3}, {"lit": 1}, {"codec": "mpeg4"}, {"quantizer": 30}):
        assert identify_generated(replace(kinetics.VIDEOS, **change), kinetics.CONTENT) != kinetics.DATASET_KEY
    assert identify_generated(kinetics.VIDEOS, "0" * 64) != kinetics.DATASET_KEY


def test_importing_the_profile_imports_nothing_heavy():
    code = (
        "import sys, repro.experiments.mini.kinetics; print(sorted({'torch', 'numpy', 'PIL', 'av'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"

"""The mini profile keeps what distinguishes the experiments of Table 2."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, replace
from itertools import combinations

import pytest

from repro import mini
from repro.errors import ReproError
from repro.experiments import BEFORE_LAST_OF_C4, EXPERIMENTS, GlobalContext, digest, get

#: The rows of Table 2 by the paper's groups (a) to (f), each experiment once.
TABLE_2 = [
    *("r50-baseline", "r50-1nl", "r50-1snl", "r50-1gc", "r50-gc-r16"),
    *("r50-gc-r16-after-add", "r50-gc-r16-c3", "r50-gc-r16-c4", "r50-gc-r16-c5"),
    *("r50-snl", "r50-gc-r16-plain", "r50-gc-r16-relu", "r50-gc-r4", "r50-gc-r8", "r50-gc-r32"),
    *("r50-avg-scale", "r50-avg-add", "r50-att-scale"),
]
FULL = [get(f"coco-{name}") for name in TABLE_2]


@pytest.mark.parametrize("full", FULL, ids=TABLE_2)
def test_shrinking_keeps_the_blocks_and_their_places(full):
    small = mini.shrink(full)
    assert small.name == full.name
    assert (small.dataset, small.profile) == ("coco", "mini")
    for kept in ("context", "norm", "frozen", "dcn", "stride_in"):
        assert getattr(small.network.backbone, kept) == getattr(full.network.backbone, kept)
    assert small.network.backbone.width < full.network.backbone.width
    assert sum(small.network.backbone.blocks) < sum(full.network.backbone.blocks)


def test_any_two_experiments_stay_different_and_share_everything_but_the_blocks():
    small = [mini.shrink(full) for full in FULL]
    for a, b in combinations(small, 2):
        assert a.spec_hash != b.spec_hash
        assert a.network != b.network
    plain = {replace(one.network, backbone=replace(one.network.backbone, context=None)) for one in small}
    assert len(plain) == 1
    assert len({one.recipe for one in small}) == 1


def test_sites_are_distinct_places_of_the_small_network():
    from repro.models.resnet import placements

    small = {name: mini.shrink(full).network.backbone for name, full in zip(TABLE_2, FULL, strict=True)}
    sites = {name: placements(spec.context, spec.blocks) for name, spec in small.items() if spec.context}
    stages = [sites[f"r50-gc-r16-{stage}"] for stage in ("c3", "c4", "c5")]
    assert all(stages)
    assert sites["r50-gc-r16"] == set.union(*stages)
    assert len(sites["r50-gc-r16"]) == sum(map(len, stages))
    last = small["r50-1gc"].blocks[2] - 1
    assert small["r50-1gc"].context.sites == BEFORE_LAST_OF_C4
    assert sites["r50-1gc"] == {("c4", last - 1)}  # there is a block after it
    assert sites["r50-1gc"] < sites["r50-gc-r16-c4"]


def test_every_ratio_leaves_a_bottleneck_of_its_own():
    channels = [mini.PRETRAINING.network.backbone.width * factor for factor in (8, 16, 32)]  # c3, c4, c5
    blocks = [full.network.backbone.context.block for full in FULL if full.network.backbone.context]
    ratios = {block.ratio for block in blocks if isinstance(block, GlobalContext) and block.ratio}
    assert ratios == {4, 8, 16, 32}
    for ratio in ratios:
        assert all(count % ratio == 0 and count // ratio >= 2 for count in channels)


def test_pretrained_weights_fit_every_experiment():
    from repro.data.miniature import pretraining_network
    from repro.detection.torchvision import MaskRCNN
    from repro.models.resnet import load_initial

    weights = pretraining_network().state_dict()
    for full in FULL:
        missing, unexpected = load_initial(MaskRCNN(mini.shrink(full).network).backbone, weights)
        assert set(unexpected) == {"fc.weight", "fc.bias"}
        assert all(".context_block." in key for key in missing)
        assert bool(missing) == (full.name != "coco-r50-baseline")


@pytest.mark.parametrize("name", ["coco-r101-gc-r16", "coco-x101-cascade-baseline", "imagenet-r50-gc-r16"])
def test_other_networks_are_refused(name):
    with pytest.raises(ReproError, match=f"{name} has no mini version"):
        mini.shrink(EXPERIMENTS[name])


def test_the_key_of_the_data_follows_what_is_drawn():
    assert digest(asdict(mini.SCENES)) == mini.DATASET_KEY
    for change in ({"seed": 1}, {"version": 99}, {"distance": 0}, {"cue_hues": (0.5, 0.0)}):
        assert digest(asdict(replace(mini.SCENES, **change))) != mini.DATASET_KEY


def test_importing_the_profile_imports_nothing_heavy():
    code = "import sys, repro.mini; print(sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"

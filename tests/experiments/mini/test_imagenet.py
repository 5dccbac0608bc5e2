"""Table 4 in the mini profile: the same blocks at the same places, and the same two stages."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from repro.errors import ReproError
from repro.experiments import EXPERIMENTS, get, mini

NAMES = [name for name, experiment in EXPERIMENTS.items() if experiment.dataset == "imagenet"]


@pytest.mark.parametrize("name", NAMES)
def test_blocks_and_stages_are_those_of_the_full_profile(name):
    full, small = get(name), mini.shrink(get(name))
    assert small.network.backbone.context == full.network.backbone.context
    first_stage = full.recipe.initial_weights == "random"
    assert small.recipe.initial_weights == ("pretraining" if first_stage else full.recipe.initial_weights)
    assert (small.recipe.schedule, full.recipe.schedule) == ("cosine", "cosine")
    assert (small.name, small.dataset, small.profile) == (name, "imagenet", "mini")
    assert small.network.num_classes == len(mini.imagenet.CLASSES) == 8


def test_every_site_of_the_paper_is_there():
    from repro.models.resnet import locate_context_blocks

    found = {
        name: locate_context_blocks(small.context, small.blocks)
        for name in NAMES
        if (small := mini.shrink(get(name)).network.backbone).context
    }
    assert found["imagenet-r50-1gc"] == {("c4", 0)}  # before the last block
    assert {stage for stage, _ in found["imagenet-r50-gc-r16"]} == {"c3", "c4", "c5"}


def test_the_eight_experiments_start_from_one():
    starts = {mini.shrink(get(name)).recipe.initial_weights for name in NAMES if name != "imagenet-r50-stage1"}
    assert starts == {"imagenet-r50-stage1"}


def test_another_network_is_refused():
    other = get("imagenet-r50-baseline")
    deeper = replace(other, network=replace(other.network, num_classes=10))
    with pytest.raises(ReproError, match="has no mini version"):
        mini.imagenet.shrink(deeper)


def test_it_loads_nothing_heavy():
    code = "import sys, repro.experiments.mini; print(sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"

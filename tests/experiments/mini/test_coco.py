"""The mini profile keeps what distinguishes the experiments of Tables 2 and 3."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import combinations

import pytest
from places import REFERENCE

from repro import paper
from repro.engine.launch import Processes
from repro.errors import ReproError
from repro.experiments import ALL_STAGES, BEFORE_LAST_OF_C4, EXPERIMENTS, GlobalContext, NonLocal, get, mini
from repro.experiments.mini.generated import identify_generated
from repro.measuring import deviations
from repro.measuring.batch_division import divide_batch
from repro.planning import keys, plan
from repro.records import Store
from repro.settings import Settings

#: The rows of Table 2 by the paper's groups (a) to (f), each experiment once.
TABLE_2 = [
    *("r50-baseline", "r50-1nl", "r50-1snl", "r50-1gc", "r50-gc-r16"),
    *("r50-gc-r16-after-add", "r50-gc-r16-c3", "r50-gc-r16-c4", "r50-gc-r16-c5"),
    *("r50-snl", "r50-gc-r16-plain", "r50-gc-r16-relu", "r50-gc-r4", "r50-gc-r8", "r50-gc-r32"),
    *("r50-avg-scale", "r50-avg-add", "r50-att-scale"),
]
#: Those of Table 3 that Table 2 does not have.
STRONGER = [
    f"{network}-{block}"
    for network in ("r101", "x101", "x101-cascade", "x101-dcn-cascade")
    for block in ("baseline", "gc-r16", "gc-r4")
]
NAMES = TABLE_2 + STRONGER
FULL = [get(f"coco-{name}") for name in NAMES]


def backbone(name):
    return mini.shrink(get(f"coco-{name}")).network.backbone


@pytest.mark.parametrize("full", FULL, ids=NAMES)
def test_shrinking_keeps_the_blocks_and_their_places(full):
    small = mini.shrink(full)
    assert small.name == full.name
    assert (small.dataset, small.profile) == ("coco", "mini")
    for kept in ("context", "norm", "frozen", "dcn", "stride_in"):
        assert getattr(small.network.backbone, kept) == getattr(full.network.backbone, kept)
    assert small.network.cascade == full.network.cascade
    assert small.network.backbone.width < full.network.backbone.width
    assert sum(small.network.backbone.blocks) < sum(full.network.backbone.blocks)


def test_these_are_the_experiments_of_the_two_tables():
    ours = {f"coco-{name}" for name in NAMES}
    assert {*paper.load(2).experiments, *paper.load(3).experiments} == ours
    assert len(paper.load(3).experiments) == 15


def test_any_two_experiments_stay_different_and_share_everything_but_backbone_and_cascade():
    small = [mini.shrink(full) for full in FULL]
    for a, b in combinations(small, 2):
        assert a.spec_hash != b.spec_hash
        assert a.network != b.network
    heads = {replace(one.network, backbone=small[0].network.backbone, cascade=False) for one in small}
    assert len(heads) == 1
    assert len({one.recipe for one in small}) == 1


def test_the_networks_of_table_2_differ_in_the_context_blocks_alone():
    assert len({replace(backbone(name), context=None) for name in TABLE_2}) == 1


def test_backbones_differ_in_what_the_papers_differ_in():
    r50, r101, x101 = (backbone(f"{name}-baseline") for name in ("r50", "r101", "x101"))
    assert [deep > shallow for deep, shallow in zip(r101.blocks, r50.blocks, strict=True)] == [
        False, False, True, False,
    ]  # fmt: skip
    assert replace(r101, blocks=r50.blocks) == r50
    assert r101.groups == 1 < x101.groups
    assert replace(x101, groups=r101.groups, width_per_group=r101.width_per_group) == r101
    assert backbone("x101-cascade-baseline") == x101
    assert replace(backbone("x101-dcn-cascade-baseline"), dcn=()) == x101
    for name in ("r101", "x101", "x101-cascade", "x101-dcn-cascade"):
        for ratio in ("r16", "r4"):
            with_blocks = backbone(f"{name}-gc-{ratio}")
            assert replace(with_blocks, context=None) == backbone(f"{name}-baseline")
            assert with_blocks.context == backbone(f"r50-gc-{ratio}").context


def test_the_grouped_convolutions_are_built_and_all_three_heads():
    from repro.detection.torchvision import MaskRCNN

    network = MaskRCNN(mini.shrink(get("coco-x101-dcn-cascade-gc-r16")).network)
    plain = MaskRCNN(mini.shrink(get("coco-r101-gc-r16")).network)
    for stage, deformable in (("layer1", False), ("layer2", True), ("layer3", True), ("layer4", True)):
        for grouped, dense in zip(
            network.backbone.get_submodule(stage), plain.backbone.get_submodule(stage), strict=True
        ):
            assert grouped.conv2.groups == 4
            assert grouped.conv2.weight.numel() * 4 == dense.conv2.weight.numel()
            assert hasattr(grouped.conv2, "conv_offset") == deformable
            assert hasattr(grouped, "context_block") == (stage != "layer1")
    assert (len(network.roi_heads.stage_heads), len(plain.roi_heads.stage_heads)) == (3, 1)


def test_sites_are_distinct_places_of_the_small_network():
    from repro.models.resnet import locate_context_blocks

    small = {name: backbone(name) for name in NAMES}
    sites = {name: locate_context_blocks(spec.context, spec.blocks) for name, spec in small.items() if spec.context}
    stages = [sites[f"r50-gc-r16-{stage}"] for stage in ("c3", "c4", "c5")]
    assert all(stages)
    assert sites["r50-gc-r16"] == set.union(*stages)
    assert len(sites["r50-gc-r16"]) == sum(map(len, stages))
    last = small["r50-1gc"].blocks[2] - 1
    assert small["r50-1gc"].context.sites == BEFORE_LAST_OF_C4
    assert sites["r50-1gc"] == {("c4", last - 1)}  # there is a block after it
    assert sites["r50-1gc"] < sites["r50-gc-r16-c4"]
    for name in STRONGER:
        if small[name].context:
            assert small[name].context.sites == ALL_STAGES
            assert len(sites[name]) == sum(small[name].blocks[1:])


def test_every_ratio_leaves_a_bottleneck_of_its_own():
    assert {backbone(name).width for name in NAMES} == {mini.coco.PRETRAINING.network.backbone.width}
    channels = [mini.coco.PRETRAINING.network.backbone.width * factor for factor in (8, 16, 32)]  # c3, c4, c5
    blocks = [full.network.backbone.context.block for full in FULL if full.network.backbone.context]
    ratios = {block.ratio for block in blocks if isinstance(block, GlobalContext) and block.ratio}
    assert ratios == {4, 8, 16, 32}
    for ratio in ratios:
        assert all(count % ratio == 0 and count // ratio >= 2 for count in channels)


# -- initial weights --------------------------------------------------------------------------------------------------


def test_there_is_a_classifier_for_every_public_weights_file_of_the_paper():
    by_file = {}
    for full in FULL:
        classifier, _ = mini.list_pretrainings(mini.shrink(full))
        by_file.setdefault(full.recipe.initial_weights, set()).add(classifier.spec_hash)
    assert len(by_file) == 3  # ResNet-50, ResNet-101, ResNeXt-101
    assert all(len(hashes) == 1 for hashes in by_file.values())
    assert len(set.union(*by_file.values())) == 3
    assert by_file["torchvision/resnet50-19c8e357"] == {mini.coco.PRETRAINING.spec_hash}


def test_experiments_that_differ_in_their_blocks_alone_start_from_one_detector():
    """Otherwise a difference might be one of the detectors that blocks are inserted into."""
    shared = {}
    for full in FULL:
        small = mini.shrink(full)
        _, detector = mini.list_pretrainings(small)
        assert detector.network == replace(small.network, backbone=replace(small.network.backbone, context=None))
        shared.setdefault(detector.spec_hash, set()).add(small.name)
    assert sorted(map(len, shared.values())) == [3, 3, 3, 3, 18]


def test_weights_that_are_shared_fit_every_experiment():
    from repro.data.miniature.coco import Tagger
    from repro.detection.torchvision import MaskRCNN
    from repro.models.resnet import load_initial

    for full in FULL:
        small = mini.shrink(full)
        classifier, detector = mini.list_pretrainings(small)
        shared = MaskRCNN(detector.network)
        missing, unexpected = load_initial(
            shared.backbone, Tagger(classifier.network.backbone, classifier.network.num_classes).state_dict()
        )
        assert set(unexpected) == {"fc.weight", "fc.bias"}
        assert all(".conv_offset." in key for key in missing)
        assert bool(missing) == bool(small.network.backbone.dcn)
        missing, unexpected = load_initial(MaskRCNN(small.network), shared.state_dict())
        assert not unexpected
        assert all(".context_block." in key for key in missing)
        assert bool(missing) == bool(small.network.backbone.context)


def test_weights_of_another_network_are_refused():
    from repro.data.miniature.coco import Tagger
    from repro.detection.torchvision import MaskRCNN
    from repro.models.resnet import load_initial

    classifier, detector = mini.list_pretrainings(mini.shrink(get("coco-r50-gc-r16")))
    weights = Tagger(classifier.network.backbone, classifier.network.num_classes).state_dict()
    shared = MaskRCNN(detector.network).state_dict()
    for name in ("r101-baseline", "x101-baseline"):
        other = MaskRCNN(mini.shrink(get(f"coco-{name}")).network)
        with pytest.raises(ReproError, match="another network"):
            load_initial(other.backbone, weights)
        with pytest.raises(ReproError, match="another network"):
            load_initial(other, shared)


# -- planning ---------------------------------------------------------------------------------------------------------


def test_a_training_key_holds_the_pretraining(tmp_path, monkeypatch):
    settings = Settings(results=tmp_path)
    small = [mini.get_at_profile(f"coco-{name}", "mini") for name in NAMES]
    before = [keys.training_key(experiment, settings) for experiment in small]
    assert len({*before}) == len(NAMES)
    longer = replace(mini.coco.PRETRAINING.recipe, epochs=mini.coco.PRETRAINING.recipe.epochs + 1)
    monkeypatch.setattr(mini.coco, "PRETRAINING", replace(mini.coco.PRETRAINING, recipe=longer))
    again = [keys.training_key(experiment, settings) for experiment in small]
    assert not {*before} & {*again}
    monkeypatch.setattr(
        mini.coco, "SHARED_RECIPE", replace(mini.coco.SHARED_RECIPE, epochs=mini.coco.SHARED_RECIPE.epochs + 1)
    )
    third = [keys.training_key(experiment, settings) for experiment in small]
    assert not {*before, *again} & {*third}


def test_a_run_by_the_recipe_departs_from_nothing(tmp_path):
    for name in NAMES:
        experiment, settings = mini.get_at_profile(f"coco-{name}", "mini"), Settings(results=tmp_path)
        parts = divide_batch(experiment, settings, Processes(1, 1), "cpu")
        assert deviations.recipe_overrides(experiment, settings, parts) == []


def test_all_of_table_3_is_ready_on_an_empty_machine(tmp_path):
    steps = plan.plan(paper.load(3).experiments, Settings(results=tmp_path))
    assert [step.status for step in steps] == ["ready"] * 15
    assert all(step.cost.words.endswith("s of one core") for step in steps)
    took = {step.experiment.name: step.seconds for step in steps}
    assert took["coco-r50-baseline"] < took["coco-x101-cascade-baseline"] < took["coco-x101-dcn-cascade-baseline"]


def test_the_committed_records_are_of_these_experiments():
    """A change of the mini profile that would have Table 2 measured again is seen here."""
    settings = Settings(results=REFERENCE)
    records = [record for record in Store(REFERENCE / "records").all() if record.profile == "mini"]
    assert {f"coco-{name}" for name in TABLE_2} <= {record.experiment for record in records}
    for record in records:
        small = mini.get_at_profile(record.experiment, "mini")
        assert record.spec_hash == small.spec_hash
        assert record.training.key == keys.training_key(small, replace(settings, seed=record.seed))


# -- refusals, import -------------------------------------------------------------------------------------------------


def other_networks():
    r50, r101 = get("coco-r50-baseline"), get("coco-r101-baseline")
    return [
        EXPERIMENTS["imagenet-r50-gc-r16"],
        EXPERIMENTS["kinetics-r50-5gc"],
        replace(r50, name="other-classes", network=replace(r50.network, num_classes=90)),
        replace(r101, name="narrow", network=replace(r101.network, backbone=replace(r101.network.backbone, width=32))),
    ]


@pytest.mark.parametrize("full", other_networks(), ids=lambda full: full.name)
def test_other_networks_are_refused(full):
    with pytest.raises(ReproError, match=f"{full.name} has no mini version"):
        mini.coco.shrink(full)


def test_the_instantiations_of_the_non_local_block_are_run_as_well():
    for name in ("gaussian", "dot-product", "concat"):
        block = backbone(f"r50-1nl-{name}").context.block
        assert isinstance(block, NonLocal)
        assert block.instantiation == name.replace("-", "_")


def test_the_key_of_the_data_follows_what_is_drawn():
    scenes, content = mini.coco.SCENES, mini.coco.CONTENT
    assert identify_generated(scenes, content) == mini.coco.DATASET_KEY
    for change in ({"seed": 2}, {"distance": 0}, {"amplitude": 50}):
        assert identify_generated(replace(scenes, **change), content) != mini.coco.DATASET_KEY
    assert identify_generated(scenes, "0" * 64) != mini.coco.DATASET_KEY


def test_importing_the_profile_imports_nothing_heavy():
    code = "import sys, repro.experiments.mini; print(sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"

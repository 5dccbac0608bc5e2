"""What stands in the hash of a specification, and what does not."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from repro.experiments import EXPERIMENTS, GC, Classifier, Insertion, NonLocal, canonical, digest, get
from repro.experiments.specification import later

POSITIONS = ("after1x1", "afterAdd", "afterReLU")


@dataclass(frozen=True)
class Before:
    width: int = 8
    stages: tuple[str, ...] = ("c3",)


@dataclass(frozen=True)
class After(Before):
    scaled: bool = later(True, before=False)


def test_an_experiment_that_does_what_was_done_before_keeps_its_hash() -> None:
    assert digest(canonical(After(scaled=False))) == digest(asdict(Before()))
    assert digest(canonical(After())) == digest({**asdict(Before()), "scaled": True})


def test_positions_keep_their_meaning_in_hashes() -> None:
    """Until there was `afterReLU`, it was called `afterAdd`: the two functions never share a hash."""
    written = {position: canonical(Insertion(GC, position=position))["position"] for position in POSITIONS}
    assert written["after1x1"] == "after1x1"
    assert written["afterReLU"] == "afterAdd"
    assert written["afterAdd"] not in ("afterAdd", "after1x1")


def test_blocks_of_the_framework_are_hashed_as_they_were() -> None:
    before = {"pooling": "att", "ratio": 16, "layer_norm": True, "relu": True, "fusion": "add"}
    assert canonical(GC) == before
    assert canonical(replace(GC, bias=False)) == {**before, "bias": False}
    assert canonical(replace(GC, initial="normal")) == {**before, "initial": "normal"}


def test_non_local_blocks_without_scale_and_with_torchs_weights_are_hashed_as_they_were() -> None:
    before = {"instantiation": "embedded_gaussian", "reduction": 2, "subsample": True, "output_norm": False}
    assert canonical(NonLocal(scaled=False, initial="default")) == before
    assert canonical(NonLocal()) == {**before, "scaled": True, "initial": "normal"}


def test_non_local_blocks_are_those_of_31_in_images_and_of_6_in_videos() -> None:
    blocks = {
        name: experiment.network.backbone.context.block
        for name, experiment in EXPERIMENTS.items()
        if experiment.network.backbone.context and isinstance(experiment.network.backbone.context.block, NonLocal)
    }
    assert {name.partition("-")[0] for name in blocks} == {"coco", "imagenet", "kinetics"}
    for name, block in blocks.items():
        assert (block.scaled, block.initial) == (True, "msra" if name.startswith("kinetics") else "normal"), name


def test_last_layers_of_video_networks_alone_have_a_set_spread() -> None:
    for name, experiment in EXPERIMENTS.items():
        if isinstance(experiment.network, Classifier):
            assert experiment.network.fc_std == (0.01 if experiment.dataset == "kinetics" else None), name
    assert "fc_std" not in canonical(get("imagenet-r50-stage1").network)


def test_a_reading_is_part_of_the_hash() -> None:
    experiment = get("coco-r50-gc-r16")
    assert replace(experiment, readings=(("proposals", "1000"),)).spec_hash != experiment.spec_hash

"""Readings of the protocol: choices that change an experiment, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from repro.errors import ReproError
from repro.experiments import EXPERIMENTS, get, mini, readings

OTHERS = [
    (point, choice)
    for point, choices in readings.POINTS.items()
    for choice in choices
    if choices[choice] is not readings.keep
]


def test_every_point_has_one_default_which_leaves_every_experiment_as_it_is():
    for point, choices in readings.POINTS.items():
        (default,) = [choice for choice, transform in choices.items() if transform is readings.keep]
        assert readings.default_of(point) == default
        assert all(choices[default](experiment) is experiment for experiment in EXPERIMENTS.values())


@pytest.mark.parametrize(("point", "choice"), OTHERS)
def test_every_other_choice_makes_another_experiment_of_what_it_touches_and_of_nothing_else(point, choice):
    touched = readings.list_touched(point, choice)
    assert touched
    for name, experiment in EXPERIMENTS.items():
        changed = readings.apply(experiment, [(point, choice)])
        if name in touched:
            assert changed.readings == ((point, choice),)
            assert changed.spec_hash != experiment.spec_hash
            assert replace(changed, readings=()).spec_hash != experiment.spec_hash  # the change itself is hashed, too
            assert (changed.name, changed.dataset, changed.profile) == (name, experiment.dataset, experiment.profile)
        else:
            assert changed == experiment


def test_choices_of_different_points_do_not_depend_on_their_order():
    for one, other in combinations(OTHERS, 2):
        if one[0] == other[0]:
            continue
        for experiment in EXPERIMENTS.values():
            first, second = readings.POINTS[one[0]][one[1]], readings.POINTS[other[0]][other[1]]
            assert first(second(experiment)) == second(first(experiment))


def test_the_block_before_the_last_of_c4_moves_behind_the_relu():
    for name in ("coco-r50-1nl", "imagenet-r50-1gc"):
        plain = get(name)
        changed = readings.apply(plain, [("single-block-relu", "after")])
        context = plain.network.backbone.context
        assert changed.network.backbone.context == replace(context, position="afterReLU")
        assert changed.recipe == plain.recipe
    assert readings.list_touched("single-block-relu", "after", "mini") == readings.list_touched(
        "single-block-relu", "after"
    )


def test_layer_norm_leaves_the_variants_that_scale():
    changed = readings.apply(get("coco-r50-avg-scale"), [("scale-layer-norm", "removed")])
    assert changed.network.backbone.context.block.layer_norm is False
    assert changed.network.backbone.context.block.relu is True
    touched = readings.list_touched("scale-layer-norm", "removed")
    assert touched == ("coco-r50-avg-scale", "coco-r50-att-scale", "imagenet-r50-avg-scale", "imagenet-r50-att-scale")


def test_a_reading_is_applied_to_the_small_network_too():
    changed = readings.get_experiment("coco-r50-1nl", "mini", [("single-block-relu", "after")])
    plain = mini.shrink(get("coco-r50-1nl"))
    assert changed.profile == "mini"
    assert changed.network.backbone.context.position == "afterReLU"
    assert replace(changed.network, backbone=plain.network.backbone) == plain.network
    assert readings.get_experiment("coco-r50-baseline", "mini", [("single-block-relu", "after")]) == mini.shrink(
        get("coco-r50-baseline")
    )


def test_texts_become_readings_and_the_default_changes_nothing():
    assert readings.parse([]) == ()
    assert readings.parse(["single-block-relu=before"]) == ()
    parsed = readings.parse(["single-block-relu=after", "scale-layer-norm=removed"])
    assert parsed == (("scale-layer-norm", "removed"), ("single-block-relu", "after"))
    assert readings.parse(list(readings.write(parsed).split(", "))) == parsed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["single-block-relu"], "is not POINT=CHOICE; `repro readings` lists the points"),
        (["single-block-rleu=after"], "unknown point of --reading 'single-block-rleu': did you mean single-block-relu"),
        (["single-block-relu=afetr"], "unknown choice of --reading single-block-relu 'afetr': did you mean after"),
        (["single-block-relu=after", "single-block-relu=before"], "--reading single-block-relu stands there twice"),
    ],
)
def test_what_is_no_reading_is_refused(given, message):
    with pytest.raises(ReproError) as caught:
        readings.parse(given)
    assert message in str(caught.value)


def test_a_reading_without_effect_is_refused_with_what_it_touches():
    with pytest.raises(ReproError) as caught:
        readings.refuse_without_effect(["kinetics-r50-5nl"], "full", (("scale-layer-norm", "removed"),))
    assert str(caught.value) == (
        "--reading scale-layer-norm=removed changes nothing of kinetics-r50-5nl in the full profile: it touches "
        "coco-r50-avg-scale, coco-r50-att-scale, imagenet-r50-avg-scale, imagenet-r50-att-scale."
    )
    readings.refuse_without_effect(
        ["kinetics-r50-5nl", "coco-r50-att-scale"], "full", (("scale-layer-norm", "removed"),)
    )


def test_a_record_names_an_experiment_only_by_readings_that_this_version_has():
    after = {"single-block-relu": "after"}
    assert readings.find_experiment("coco-r50-1nl", "full", after.items()) == readings.get_experiment(
        "coco-r50-1nl", "full", after.items()
    )
    assert readings.find_experiment("coco-r50-baseline", "full", after.items()) is None  # changes nothing of it
    assert readings.find_experiment("coco-r50-1nl", "full", [("gone", "after")]) is None
    assert readings.find_experiment("gone", "full", ()) is None


def test_counts_can_move_only_where_the_file_says_so():
    from repro.models.resnet import ResNetLayers
    from repro.paper.readings import load

    def count(experiment):
        return sum(p.numel() for p in ResNetLayers(experiment.network.backbone, 2).parameters())

    for point in load():
        moved = False
        for choice in point.choices:
            for name in readings.list_touched(point.point, choice, "mini"):
                plain = mini.get_at_profile(name, "mini")
                moved |= count(readings.apply(plain, [(point.point, choice)])) != count(plain)
        assert moved == ("counts" in point.concerns), point.point

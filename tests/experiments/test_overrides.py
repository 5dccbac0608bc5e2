"""Settings overridden on the command line: typed by the dataclasses, named in the experiment, part of its key."""

from __future__ import annotations

import pytest

from repro.errors import ReproError
from repro.experiments import get, is_defined, is_published, mini, overrides
from repro.planning.work_order import order_work
from repro.settings import Settings

GC = get("coco-r50-gc-r16")


def test_the_name_says_what_is_overridden_and_is_all_that_is_needed():
    changed = overrides.override(GC, ["recipe.learning_rate=1e-2", "network.backbone.context.block.ratio=8"])
    assert changed.name == "coco-r50-gc-r16+network.backbone.context.block.ratio=8+recipe.learning_rate=0.01"
    assert (changed.recipe.learning_rate, changed.network.backbone.context.block.ratio) == (0.01, 8)
    assert get(changed.name) == changed
    assert changed.spec_hash != GC.spec_hash
    assert (is_defined(changed.name), is_published(changed.name), changed.derived_from) == (True, False, GC.name)


@pytest.mark.parametrize(
    ("given", "path", "value"),
    [
        ("recipe.epochs=24", "epochs", 24),
        ("recipe.learning_rate=1", "learning_rate", 1.0),
        ("recipe.nesterov=true", "nesterov", True),
        ("recipe.schedule=cosine", "schedule", "cosine"),
        ("recipe.clip_norm=none", "clip_norm", None),
        ("recipe.decay_epochs=7,9", "decay_epochs", (7, 9)),
        ("recipe.decay_epochs=", "decay_epochs", ()),
        ("recipe.learning_rate=1e20", "learning_rate", 1e20),
    ],
)
def test_values_have_the_types_of_the_settings(given, path, value):
    changed = overrides.override(GC, [given])
    found = getattr(changed.recipe, path)
    assert (found, type(found)) == (value, type(value))
    assert get(changed.name) == changed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("recipe.learning_rat=1", "did you mean recipe.learning_rate"),
        ("recipe.epochs", "is not PATH=VALUE"),
        ("recipe.epochs=x", "it is a whole number"),
        ("recipe.epochs=1.5", "it is a whole number"),
        ("recipe.nesterov=1", "it is true or false"),
        ("recipe.clip_norm=x", "it is a number or none"),
        ("recipe.schedule=cosin", "did you mean cosine"),
        ("recipe.epochs=0", "it is more than 0"),
        ("recipe.momentum=-1", "not below 0"),
        ("recipe.learning_rate=1e999", "finite"),
        ("recipe.learning_rate=nan", "finite"),
        ("recipe.epochs=1000000000000", "not above 1000000000"),
        pytest.param(f"recipe.epochs=1{'0' * 400}", "not above 1000000000", id="epochs of 401 digits"),
        pytest.param(f"recipe.learning_rate=1{'0' * 400}", "finite", id="rate of 401 digits"),
        pytest.param(f"recipe.epochs={'9' * 5000}", "it is a whole number", id="epochs of 5000 digits"),
        pytest.param(f"recipe.epochs={'-' * 100_000}1", "it is a whole number", id="a deep expression"),
        ("network.proposals=3", "2 values with commas between, each a whole number"),
        ("network.backbone=x", "it is made of several settings: network.backbone.blocks"),
        ("recipe.initial_weights=random", "initial weights are given with --init"),
        ("recipe.epochs=12", "changes nothing: coco-r50-gc-r16 has it so"),
        ("name=x", "unknown setting"),
    ],
)
def test_a_wrong_override_is_one_message(given, message):
    with pytest.raises(ReproError, match=message):
        overrides.override(GC, [given])


def test_a_network_without_a_block_has_no_setting_of_one():
    with pytest.raises(ReproError, match="unknown setting of coco-r50-baseline"):
        overrides.override(get("coco-r50-baseline"), ["network.backbone.context.block.ratio=8"])
    with pytest.raises(ReproError, match="stands there twice"):
        overrides.override(GC, ["recipe.epochs=3", "recipe.epochs=4"])


def test_a_profile_has_what_is_overridden_in_its_own_recipe(tmp_path):
    small = mini.get_at_profile(GC.name, "mini")
    name = overrides.override(small, ["recipe.learning_rate=0.005"]).name
    order = order_work(name, Settings(results=tmp_path))
    assert order.experiment.recipe.learning_rate == 0.005
    assert order.experiment.recipe.epochs == small.recipe.epochs
    assert order.key != order_work(GC.name, Settings(results=tmp_path)).key
    assert overrides.describe(order.experiment, small) == ["recipe.learning_rate of 0.005 instead of 0.002"]


def test_a_network_that_cannot_be_built_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(ReproError, match="ratio 512 leaves none of 64 channels"):
        order_work("coco-r50-gc-r16+network.backbone.context.block.ratio=512", Settings(results=tmp_path))

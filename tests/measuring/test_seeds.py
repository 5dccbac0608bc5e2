"""What `repro reproduce --seeds` writes down before anything runs."""

from __future__ import annotations

from repro.measuring.seeds import declare_seeds
from repro.planning.plan import plan
from repro.settings import Settings


def test_what_is_trained_is_declared_with_its_number_of_seeds(tmp_path):
    settings = Settings(profile="mini", results=tmp_path)
    steps = plan(["coco-r50-baseline", "imagenet-r50-1gc"], settings, range(3))
    declare_seeds(steps, settings, 3)
    assert settings.store.read().declared == {
        ("coco-r50-baseline", "mini", "torchvision", ()): 3,
        ("imagenet-r50-1gc", "mini", "torchvision", ()): 3,  # and not the first stage, which is no row of a table
    }


def test_what_rows_start_from_is_not_declared_by_itself_either(tmp_path):
    """Else, a table with more seeds would need seeds of it that were not declared."""
    settings = Settings(profile="mini", results=tmp_path)
    declare_seeds(plan(["imagenet-r50-stage1"], settings, range(1)), settings, 1)
    assert settings.store.read().declared == {}


def test_seeds_of_another_reading_are_declared_for_it_alone(tmp_path):
    chosen = (("nl-scale", "none"),)
    settings = Settings(profile="mini", results=tmp_path, readings=chosen)
    declare_seeds(plan(["coco-r50-baseline", "coco-r50-1nl"], settings, range(3)), settings, 3)
    assert settings.store.read().declared == {
        ("coco-r50-baseline", "mini", "torchvision", ()): 3,
        ("coco-r50-1nl", "mini", "torchvision", chosen): 3,
    }

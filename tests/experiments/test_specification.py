"""What stands in the hash of a specification, and what does not."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import pytest

from repro.experiments import EXPERIMENTS, GC, Insertion, canonical, digest, get
from repro.experiments.specification import later


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
    sites = (("c4", -2),)
    assert canonical(Insertion(GC, sites, "afterReLU")) == asdict(Insertion(GC, sites, "afterAdd"))
    assert canonical(Insertion(GC, sites, "afterAdd")) != asdict(Insertion(GC, sites, "afterAdd"))
    assert canonical(Insertion(GC)) == asdict(Insertion(GC))


def test_a_reading_is_part_of_the_hash() -> None:
    experiment = get("coco-r50-gc-r16")
    assert replace(experiment, readings=(("proposals", "1000"),)).spec_hash != experiment.spec_hash


@pytest.mark.parametrize("name", ["coco-r50-baseline", "imagenet-r50-stage1"])
def test_networks_of_unchanged_experiments_are_hashed_as_they_were(name: str) -> None:
    assert canonical(EXPERIMENTS[name].network.backbone) == _as_json(asdict(EXPERIMENTS[name].network.backbone))


def _as_json(value: object) -> object:
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, tuple) else value

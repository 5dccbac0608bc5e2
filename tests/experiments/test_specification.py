"""What stands in the hash of a specification, and what does not."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from repro.experiments import GC, Insertion, canonical, digest, get
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


def test_a_reading_is_part_of_the_hash() -> None:
    experiment = get("coco-r50-gc-r16")
    assert replace(experiment, readings=(("proposals", "1000"),)).spec_hash != experiment.spec_hash

"""How long a full training takes on an H200: the measured rates, and each rule by which others follow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from repro.experiments import EXPERIMENTS, get
from repro.paths import TABLES
from repro.planning.rates import MEASURED, count_like, estimate, find_count
from repro.settings import Settings

FULL = Settings(Path("results"), "full")
BF16 = replace(FULL, precision="bf16-mixed")


def test_the_rates_are_those_of_the_page_that_tells_how_they_were_measured():
    page = (TABLES.parent / "benchmarks" / "gpu.md").read_text().partition("## Before")[2]
    said = {name: {p: f"{rate:g}" for p, rate in rates.items()} for name, rates in MEASURED.items()}

    def write(name: str, between: str = " and ") -> str:
        return f"{said[name]['32-true']}{between}{said[name]['bf16-mixed']}"

    for words in (
        write("coco-r50-baseline", " images/s float32 (39.5 GiB), ") + " bf16",
        f"{write('coco-r50-gc-r16')} / {write('coco-r50-1nl')}",
        write("imagenet-r50-baseline", " images/s float32, ") + " bf16",
        f"{write('imagenet-r50-gc-r16')} / {write('imagenet-r50-1nl')}",
        f"baseline {write('kinetics-r50-baseline', ' clips/s float32, ')} bf16; 5 NL {write('kinetics-r50-5nl')}",
        f"all GC r4 {write('kinetics-r50-gc-r4')}",
    ):
        assert words in page


def test_a_measured_network_takes_its_items_at_its_rate():
    found = estimate(get("coco-r50-baseline"), FULL)
    assert (found.rule, found.training) == ("measured", pytest.approx(12 * 117_266 / 13.9))
    assert found.evaluation == pytest.approx(5000 * 0.088)
    assert estimate(get("coco-r50-baseline"), BF16).training == pytest.approx(12 * 117_266 / 43.4)
    stage1 = estimate(get("imagenet-r50-stage1"), FULL)  # the baseline's network, for three times as long
    assert (stage1.rule, stage1.training) == ("measured", pytest.approx(120 * 1_281_167 / 910))
    assert stage1.evaluation == pytest.approx(50_000 / (3 * 910))
    video = estimate(get("kinetics-r50-5nl"), FULL)
    assert video.training == pytest.approx(118 * 246_534 / 33)
    assert video.evaluation == pytest.approx(19_906 * 30 * (256 / 224) ** 2 / (3 * 33))


def test_of_tf32_no_rate_was_measured():
    found = estimate(get("coco-r50-baseline"), replace(FULL, precision="tf32"))
    assert found.training == estimate(get("coco-r50-baseline"), FULL).training
    assert str(found).startswith("at most 28.2 h of an H200")


def test_the_authors_iterations_compare_two_networks_before_their_flops_do():
    found = estimate(get("coco-x101-gc-r4"), FULL)
    assert (found.rule, found.like) == ("authors", "coco-r50-gc-r16")
    assert found.training == pytest.approx(12 * 117_266 / 13.2 * 1.037 / 0.547)


def test_a_cascade_is_compared_by_flops_with_the_network_without_it():
    found = estimate(get("coco-x101-dcn-cascade-baseline"), FULL)
    ours, plain = (find_count(get(f"coco-x101-{name}")).macs for name in ("dcn-cascade-baseline", "baseline"))
    assert 1.4 < ours / plain < 1.7
    assert (found.rule, found.training) == ("FLOPs", pytest.approx(12 * 117_266 / 13.9 * 0.912 / 0.543 * ours / plain))


def test_what_was_neither_measured_nor_counted_is_as_what_was():
    found, of = estimate(get("kinetics-r50-5nl-concat"), FULL), estimate(get("kinetics-r50-5nl"), FULL)
    assert (found.rule, found.like, found.training) == ("alike", "kinetics-r50-5nl", of.training)
    assert count_like(get("kinetics-r50-5nl-concat")) == find_count(get("kinetics-r50-5nl"))


def test_every_experiment_of_the_paper_has_an_estimate():
    found = {name: estimate(experiment, FULL) for name, experiment in EXPERIMENTS.items()}
    assert all(each.training > 0 and each.evaluation > 0 for each in found.values())
    assert {name for name, each in found.items() if each.rule == "measured"} == {*MEASURED, "imagenet-r50-stage1"}


def test_a_short_training_takes_its_own_items():
    short = replace(FULL, iterations=100, batch_size=32)
    assert estimate(get("coco-r50-baseline"), short).training == pytest.approx(100 * 32 / 13.9)
    assert str(estimate(get("coco-r50-baseline"), FULL)) == "about 28.2 h of an H200 (its rate was measured)"

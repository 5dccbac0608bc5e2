"""The paper's claims against its own cells: verdicts by hand, planted cells, bad files, ours, and nothing left out."""

from __future__ import annotations

import itertools
import json
import random
import re
import shutil
import subprocess
import sys
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import numpy as np
import pytest
import yaml
from places import ROOT, SHARED
from samples import count, record
from scipy import stats

from repro import paper
from repro.errors import ReproError
from repro.paper.expressions import Constant, Operation, Parser, Quantity, Range, as_printed
from repro.paths import PUBLISHED
from repro.records import Store
from repro.rendering import report
from repro.verification.claims import audit
from repro.verification.measurements import Measurement
from repro.verification.ways import group_alike

TEXT = SHARED / "paper" / "gcnet.txt"
CLAIMS = audit.load()


def audit_store(tmp_path, records=(), counts=(), of=CLAIMS):
    store = Store(tmp_path / "records")
    for made in records:
        store.add(made)
    for made in counts:
        store.add_count(made)
    return {audited.claim.id: audited for audited in audit.audit(of, store)}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return audit_store(tmp_path_factory.mktemp("empty"))


# -- the paper against itself -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        ("intro-gain-over-nlnet-box", 39.9 - 38.0, "holds"),
        ("intro-gain-over-senet-mask", 36.2 - 34.7, "holds"),
        ("intro-gain-coco-mask", 36.2 - 33.8, "holds"),
        ("intro-flops-increase", 100 * (279.6 / 279.4 - 1), "holds"),
        ("intro-gain-imagenet", 77.70 - 76.88, "holds"),
        ("intro-cost", 100 * (3.87 / 3.86 - 1), "holds"),
        ("gc-resnet-50-parameters-increase", 100 * (28.08 / 25.56 - 1), "holds"),
        ("bottleneck-eighth-coco", (64.4 - 44.4) / (46.9 - 44.4), "holds"),
        ("bottleneck-ratio-32", (64.4 - 44.4) / (45.7 - 44.4), "holds within rounding"),
        ("all-blocks-gain-box", 39.4 - 38.1, "does not follow"),
        ("all-blocks-gain-mask", 35.7 - 34.9, "holds within rounding"),
        ("stages-least-gain", 37.9 - 37.2, "holds"),
        ("stages-greatest-gain", 38.9 - 37.2, "holds"),
        ("imagenet-gain-over-senet", 77.70 - 77.26, "holds"),
        ("kinetics-gc-top1", 75.95 - 75.85, "holds within rounding"),
        ("kinetics-gc-top5", 92.25 - 92.29, "does not follow"),
    ],
)
def test_numbers_computed_by_hand(name, value, verdict, published):
    found = published[name].published
    assert float(found.value.value) == pytest.approx(value, abs=1e-9)
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("name", "verdict", "true", "of"),
    [
        ("abstract-gcnet-generally-better", "holds", 7, 9),  # not 39.4 > 39.4, not 35.7 > 35.9
        ("intro-gc-block-better-than-snl", "holds", 2, 4),  # ImageNet 77.34 > 77.28, Kinetics 75.85 > 75.76
        ("bottleneck-reduces-further", "holds within rounding", 4, 6),  # 279.4 and 3.86 twice each
        ("ratio-costs", "holds within rounding", 1, 2),  # 279.6 three times
        ("ratio-consistent", "holds within rounding", 1, 2),  # 35.7 twice
        ("attention-greater-effect", "holds within rounding", 1, 2),  # 0.30 and 0.3
        ("stronger-backbones-gain", "holds", 16, 16),
        ("instantiations-comparable", "holds", 9, 9),  # at most 0.6 between them, where E-Gaussian gains 0.96
    ],
)
def test_comparisons_counted_by_hand(name, verdict, true, of, published):
    found = published[name].published
    assert found.verdict == verdict
    assert found.arithmetic.startswith(f"{true} of {of} comparisons")


def test_exactly_these_sentences_do_not_follow(published):
    failing = [name for name, audited in published.items() if audited.published.verdict == "does not follow"]
    assert failing == ["all-blocks-gain-box", "kinetics-gc-top5"]
    assert all(published[name].claim.note for name in failing)


@pytest.mark.parametrize("name", ["all-blocks-gain-box", "kinetics-gc-top5"])
@pytest.mark.parametrize(("below", "above"), [("0.5", "0.5"), ("0", "0.99"), ("0.99", "0")])
def test_they_do_not_follow_however_the_cells_were_rounded(name, below, above, published):
    """Rounded to nearest, down or up: no corner and no value between gives the printed number."""
    claim = published[name].claim
    (a, b) = claim.cells
    digit = Decimal(1).scaleb(-a.decimals)
    ends = [
        (Decimal(str(cell.value)) - Decimal(below) * digit, Decimal(str(cell.value)) + Decimal(above) * digit)
        for cell in (a, b)
    ]
    steps = [[low + (high - low) * i / 20 for i in range(21)] for low, high in ends]
    results = {(x - y).quantize(digit, ROUND_HALF_UP) for x, y in itertools.product(*steps)}
    assert Decimal(claim.printed.rstrip("%")) not in results


@pytest.mark.parametrize(
    ("name", "unrounded", "arithmetic"),
    [
        ("all-blocks-gain-mask", "35.74 34.86", lambda a, b: a - b),
        ("kinetics-gc-top1", "75.954 75.847", lambda a, b: a - b),
        ("bottleneck-ratio-32", "64.4 44.41 45.66 44.41", lambda a, b, c, d: (a - b) / (c - d)),
        ("snl-transform-coco", "45.44 44.39", lambda a, b: a - b),
    ],
)
def test_numbers_within_rounding_have_a_witness(name, unrounded, arithmetic, published):
    """Unrounded values that print as the cells do and give the claimed number."""
    claim = published[name].claim
    assert published[name].published.verdict == "holds within rounding"
    values = [Decimal(value) for value in unrounded.split()]
    for value, cell in zip(values, claim.expression.cells(), strict=True):
        assert f"{value:.{cell.decimals}f}" == cell.printed.rstrip("M")
    assert f"{arithmetic(*values):.{claim.decimals}f}" == (claim.stands_for or claim.printed).strip("%M")


@pytest.mark.parametrize(("least", "certain"), [(0.25, False), (0.2, True), (0.15, True)])
def test_a_comparison_is_certain_if_no_rounding_breaks_it(least, certain):
    """39.4 - 39.1 is 0.3 as printed, and more than 0.2 whatever was rounded: a half is rounded up."""
    gain = {"difference": ["2/f/att+add/ap_box", "2/f/avg+add/ap_box"]}
    truth = Parser(PUBLISHED).parse({"greater": [gain, least]}).evaluate(as_printed)
    assert (truth.holds, truth.possible, truth.certain) == (True, True, certain)


def draw_cell(generator, cell):
    """A number that is printed as the cell is: halves are rounded up."""
    whole = Fraction(str(cell.value)) - Fraction(1, 2 * 10**cell.decimals)
    return whole + Fraction(int(generator.integers(0, 1000)), 1000 * 10**cell.decimals)


def test_what_holds_under_every_rounding_holds_for_any_numbers_that_print_so(published):
    """68 claims. Drawn at random, the cells never break one; of most of the others, some draw does."""
    generator, broken = np.random.default_rng(0), set()
    for name, audited in published.items():
        claim = audited.claim
        if audited.published.verdict != "holds":
            continue
        for _ in range(60):
            drawn = {cell: Range.exactly(draw_cell(generator, cell)) for cell in claim.cells}
            result = claim.expression.evaluate(drawn.__getitem__)
            if claim.printed is None:
                right = result.holds
            elif claim.kind == "less than":
                right = result.value < claim.number.value
            else:
                right = claim.number.low <= result.value <= claim.number.high
            if not right:
                broken.add(name)
    certain = {name for name, audited in published.items() if audited.published.certain}
    assert len(certain) == 68
    assert not certain & broken
    assert {name for name, a in published.items() if a.published.shown == "holds at the midpoints"} - broken == set()


def test_a_claim_of_no_metric_says_in_which_it_is_false(published):
    assert published["stages-all-better"].unlike == (("AP75 mask", "37.6 > 37.7"),)
    assert published["imagenet-gc-better"].unlike == (("Top-5", "93.52 > 93.60"),)
    assert {name for name, audited in published.items() if audited.unlike} == {
        "intro-gc-block-better-than-snl", "stages-all-better", "ratio-consistent", "attention-slightly-better",
        "imagenet-gc-better",
    }  # fmt: skip


def test_the_same_network_prints_the_same_number_in_every_table_but_for_one_row():
    """`docs/claims.md` names it: Table 1's Kinetics row is Table 5's +5 NL cut off, not rounded."""
    printed: dict[tuple, set[str]] = {}
    for table in paper.load_all():
        for group in table.groups:
            for experiment, cell in ((row.experiment, cell) for row in group.rows for cell in row.cells):
                printed.setdefault((experiment, group.dataset, cell.column), set()).add(cell.printed.rstrip("MG"))
    assert {key[0::2]: values for key, values in printed.items() if len(values) > 1} == {
        ("kinetics-r50-5nl", "top1"): {"75.9", "75.95"},
        ("kinetics-r50-5nl", "top5"): {"92.2", "92.29"},
    }


# -- a planted cell ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "old", "new", "name", "before", "after"),
    [
        (5, 'top5: "92.25"', 'top5: "92.43"', "kinetics-gc-top5", "does not follow", "holds"),
        (5, 'top5: "92.44"', 'top5: "92.34"', "kinetics-snl-top5", "holds", "does not follow"),
        (4, 'top1: "77.34"', 'top1: "77.74"', "imagenet-further-boosted", "holds", "does not follow"),
        (4, 'flops: "3.87"', 'flops: "3.88"', "gc-resnet-50-flops-increase", "holds", "holds within rounding"),
        (2, 'ap_mask: "34.9"', 'ap_mask: "34.8"', "all-blocks-gain-mask", "holds within rounding", "holds"),
        (2, 'params: "54.4M"', 'params: "64.4M"', "bottleneck-ratio-4", "holds", "does not follow"),
    ],
)
def test_a_wrong_cell_flips_a_verdict(table, old, new, name, before, after, tmp_path, published):
    assert published[name].published.verdict == before
    directory = tmp_path / "published"
    shutil.copytree(PUBLISHED, directory)
    path = directory / f"table{table}.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    changed = audit_store(tmp_path, of=audit.load(published=directory))
    assert changed[name].published.verdict == after


# -- bad files --------------------------------------------------------------------------------------------------------

GOOD = {
    "id": "gain", "section": "5.1.1", "quote": "1.3%", "claim": "It gains.", "kind": "difference", "printed": "1.3%",
    "expression": {"difference": ["2/a/+all GC/ap_box", "2/a/+1 GC/ap_box"]},
}  # fmt: skip
ORDER = {key: value for key, value in GOOD.items() if key != "printed"} | {"kind": "ordering"}


def loaded(tmp_path, *items):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(list(items)))
    return audit.load(path)


def test_a_good_file_loads(tmp_path):
    (claim,) = loaded(tmp_path, GOOD)
    assert [cell.address for cell in claim.cells] == ["2/a/+all GC/ap_box", "2/a/+1 GC/ap_box"]
    assert (claim.number, claim.decimals, claim.unit) == (
        Range(Fraction("1.25"), Fraction("1.3"), Fraction("1.35")), 1, "%",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sectoin": "5"}, ["sectoin", "Extra inputs"]),
        ({"quote": None}, ["quote"]),
        ({"section": "5.1.1.1"}, ["section"]),
        ({"id": "Gain"}, ["id"]),
        ({"kind": "gain"}, ["kind"]),
        ({"kind": "ordering"}, ["kind 'ordering' has no printed number"]),
        ({"printed": None}, ["kind 'difference' needs a printed number"]),
        ({"printed": "1/8"}, ["'1/8' is not a decimal"]),
        ({"expression": {"power": ["2/a/+all GC/ap_box", 2]}}, ["expression", "'power'", "difference"]),
        ({"expression": {"difference": ["2/a/+all GC/ap_box"]}}, ["expression", "difference takes 2 operands"]),
        ({"expression": {"difference": "2/a/+all GC/ap_box"}}, ["expression", "difference takes 2 operands"]),
        ({"expression": "2/a/+all GC"}, ["expression", "no address of a cell"]),
        ({"expression": "6/a/+all GC/ap_box"}, ["expression", "'6/a/+all GC/ap_box' is no address of a cell"]),
        ({"expression": "2/g/+all GC/ap_box"}, ["expression", "no such group", "'a'"]),
        ({"expression": "2/a/+2 GC/ap_box"}, ["expression", "'2/a/+2 GC/ap_box'", "no such row", "+all GC"]),
        ({"expression": "2/a/+all GC/top1"}, ["expression", "no such column", "ap_box"]),
        ({"expression": "1/COCO/Concat/jsd_att"}, ["expression", "dash"]),
        ({"expression": "2/a/+all GC/*"}, ["expression", "comparisons only"]),
        ({"expression": {"ratio": [1, {"difference": ["2/a/+1 GC/flops", "2/a/+1 SNL/flops"]}]}}, ["divides by"]),
        ({"expression": {"greater": ["2/a/+all GC/ap_box", 1]}}, ["not a number"]),
        ({"expression": None}, ["expression", "None"]),
    ],
)
def test_a_bad_claim_is_named_with_file_and_key(changes, words, tmp_path):
    item = {
        key: value for key, value in {**GOOD, **changes}.items() if key in ("expression", "id") or value is not None
    }
    with pytest.raises(ReproError) as error:
        loaded(tmp_path, item)
    for word in ["claims.yaml", f"claim {item['id']!r}", *words]:
        assert word in str(error.value)


def test_a_comparison_must_compare_and_a_star_needs_a_headline_metric(tmp_path):
    with pytest.raises(ReproError, match="kind 'ordering' is not a statement"):
        loaded(tmp_path, ORDER)
    numbers = {"increasing": [{"all": []}, 1]}
    with pytest.raises(ReproError, match="'all' is not an operator on numbers"):
        loaded(tmp_path, {**ORDER, "expression": numbers})
    across = {"greater": ["4/a/+all GC/*", "2/a/+all GC/*"]}
    with pytest.raises(ReproError, match="no headline metric"):
        loaded(tmp_path, {**ORDER, "expression": across})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("- id: [", "not whole, valid YAML"),
        ("- id: a\n  id: b", "'id' stands twice"),
        ("id: a", "must be a list"),
        ("- 3", "claim 1"),
    ],
)
def test_a_file_that_is_no_list_of_claims_is_named(content, words, tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text(content)
    with pytest.raises(ReproError, match=re.escape(words)) as error:
        audit.load(path)
    assert str(path) in str(error.value)


def test_an_id_stands_once_and_a_missing_file_is_named(tmp_path):
    with pytest.raises(ReproError, match="claim 'gain': id: stands twice"):
        loaded(tmp_path, GOOD, GOOD)
    with pytest.raises(ReproError, match=re.escape(f"{tmp_path / 'none.yaml'} cannot be read")):
        audit.load(tmp_path / "none.yaml")


# -- arithmetic -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", ["difference", "ratio", "increase", "smallest", "largest"])
def test_bounds_hold_every_value_within_the_rounding(operator):
    random.seed(0)
    a, b = (Parser(PUBLISHED).find_cell(f"2/a/{row}/ap_box") for row in ("+all GC", "baseline"))
    bounds = Operation(operator, (Quantity(a), Quantity(b))).evaluate(as_printed)
    plain = {
        "difference": lambda x, y: x - y,
        "ratio": lambda x, y: x / y,
        "increase": lambda x, y: 100 * x / y - 100,
        "smallest": min,
        "largest": max,
    }[operator]
    assert float(bounds.value) == pytest.approx(plain(39.4, 37.2))
    found = [plain(39.4 + random.uniform(-0.05, 0.05), 37.2 + random.uniform(-0.05, 0.05)) for _ in range(2000)]
    assert float(bounds.low) <= min(found) <= max(found) <= float(bounds.high)
    width = float(bounds.high - bounds.low)
    assert max(found) - min(found) > 0.8 * width


@pytest.mark.parametrize(
    ("statement", "holds", "possible"),
    [
        ({"greater": ["2/a/+1 SNL/ap_box", "2/a/+1 GC/ap_box"]}, False, True),  # 38.1, 38.1
        ({"greater": ["2/c/c3+c4+c5/ap75_mask", "2/c/c4/ap75_mask"]}, False, False),  # 37.6, 37.7
        ({"less": ["2/a/baseline/ap_box", "2/a/+1 NL/ap_box"]}, True, True),  # 37.2, 38.0
        ({"comparable": ["2/a/+1 SNL/ap_box", "2/a/+1 NL/ap_box", "2/a/baseline/ap_box"]}, True, True),  # 0.1 < 0.8
        ({"comparable": ["2/a/+all GC/ap_box", "2/a/+1 NL/ap_box", "2/a/baseline/ap_box"]}, False, False),  # 1.4, 0.8
        ({"comparable": ["2/c/c3/ap_box", "2/c/c4/ap_box", "2/c/c5/ap_box"]}, False, False),  # 1.0 < 0.2
        ({"increasing": [1, 2, 3]}, True, True),
        ({"increasing": [1, 3, 2]}, False, False),
        ({"mostly": [{"less": [1, 2]}, {"less": [2, 1]}, {"less": [1, 3]}]}, True, True),
        ({"mostly": [{"less": [1, 2]}, {"less": [2, 1]}, {"less": [1, 3]}, {"less": [3, 1]}]}, False, False),
        ({"at_least_two": [{"less": [1, 2]}, {"less": [2, 1]}]}, False, False),
        ({"all": [{"less": [1, 2]}, {"greater": ["2/a/+1 SNL/ap_box", "2/a/+1 GC/ap_box"]}]}, False, True),
    ],
)
def test_statements(statement, holds, possible):
    truth = Parser(PUBLISHED).parse(statement).evaluate(as_printed)
    assert (truth.holds, truth.possible) == (holds, possible)


def test_a_constant_has_no_rounding():
    assert Constant(Fraction("0.26")).evaluate(as_printed) == Range.exactly(Fraction(26, 100))


# -- ours -------------------------------------------------------------------------------------------------------------

BASELINE, ALL, ONE = "coco-r50-baseline", "coco-r50-gc-r16", "coco-r50-1gc"


def ap(box, mask):
    return {"ap_box": box, "ap_mask": mask}


def test_nothing_measured_names_the_missing_cells(published):
    ours = published["all-blocks-gain-box"]
    assert ours.ours_verdict == "not measured"
    assert [cell.address for cell in ours.missing] == ["2/a/+all GC/ap_box", "2/a/+1 GC/ap_box"]


def test_the_same_arithmetic_with_our_values(tmp_path):
    found = audit_store(tmp_path, [record(ALL, ap(39.31, 35.6)), record(ONE, ap(38.22, 34.8))])
    assert found["all-blocks-gain-box"].ours_verdict == "agrees"
    assert found["all-blocks-gain-box"].ours[0].value == pytest.approx(1.09)
    half = stats.t.ppf(0.975, 10) * 0.15 * 2  # four runs: two of ours, two of the paper's
    assert found["all-blocks-gain-mask"].ours[0].half == pytest.approx(half)
    assert found["all-blocks-gain-mask"].ours[0].arithmetic == f"35.60 - 34.80 = 0.8% (limit {half:.2f})"
    assert found["all-blocks-gain-mask"].ours_verdict == "agrees"
    assert found["all-blocks-better"].ours_verdict == "agrees"
    assert "2/e/ratio 32/ap_box" in [cell.address for cell in found["ratio-32-better-than-baseline"].missing]


def test_only_seeds_that_all_rows_have_are_compared(tmp_path):
    made = [record(ALL, ap(39.0 + seed, 35.0), seed=seed) for seed in (0, 1, 2)]
    made += [record(ONE, ap(38.0, 34.0), seed=seed) for seed in (0, 1)]
    ours = audit_store(tmp_path, made)["all-blocks-gain-box"].ours[0]
    assert ours.value == pytest.approx((39 + 40) / 2 - 38)


@pytest.mark.parametrize(
    "other",
    [
        {"engine": "detectron2"},
        {"deviations": ["another way"]},
        {"numerics": {"precision": "32-true", "compiled": True}},
    ],
)
def test_rows_that_were_not_measured_alike_are_not_compared(other, tmp_path):
    found = audit_store(tmp_path, [record(ALL, ap(39.4, 35.7)), record(ONE, ap(38.1, 34.9), **other)])[
        "all-blocks-gain-box"
    ]
    assert found.ours_verdict == "not comparable"
    assert "different" in found.ours.reason


def test_a_way_in_which_all_rows_were_measured_is_found(tmp_path):
    made = [record(ALL, ap(39.4, 35.7), checkpoint={}), record(ALL, ap(39.0, 35.0)), record(ONE, ap(38.1, 34.9))]
    assert audit_store(tmp_path, made)["all-blocks-gain-box"].ours[0].value == pytest.approx(0.9)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("gain", "other", "verdict"),
    [
        (1.1, 1.2, "agrees"),
        (1.1, 0.6, "undecided"),
        (1.1, 2.0, "conflict"),
        (0.6, 2.0, "disagrees"),
    ],
)
def test_each_way_of_measuring_says_what_it_makes_of_a_claim(gain, other, verdict, order, tmp_path):
    """Gains of one seed over one seed in two engines; which was measured first, or is the better, says nothing."""
    made = [record(ALL, ap(38.0 + gain, 35.7)), record(ONE, ap(38.0, 34.9))]
    made += [record(ALL, ap(37.0 + other, 35.7), engine="detectron2"), record(ONE, ap(37.0, 34.9), engine="detectron2")]
    found = audit_store(tmp_path, made[::order])["all-blocks-gain-box"]
    assert found.ours_verdict == verdict
    assert {one.way: one.value for one in found.ours} == {
        "trained here, torchvision": pytest.approx(gain),
        "trained here, detectron2": pytest.approx(other),
    }
    assert [one["way"] for one in found.as_dict()["ours"]["ways"]] == [one.way for one in found.ours]


def test_two_files_of_one_way_are_both_used(tmp_path):
    """Trained twice from other initial weights: a claim is held against each."""
    first, second = (record(ALL, ap(value, 35.7), seed=0) for value in (39.2, 41.0))
    weights = second.weights.model_copy(update={"initial_sha256": "9" * 64, "sha256": "8" * 64})
    second = second.model_copy(update={"weights": weights})
    made = {"r": [first, second], "1": [record(ONE, ap(38.0, 34.9))]}
    measured = {name: [Measurement(records[0].experiment, (one,)) for one in records] for name, records in made.items()}
    groups = group_alike(measured)
    assert [group["r"].records for _, group in groups] == [(first,), (second,)]
    assert len({name for name, _ in groups}) == 2
    assert [name for name, _ in groups] == [f"trained here, torchvision, {one.key[:8]}" for one in (first, second)]


def test_ways_on_several_data_sets_are_combined():
    coco = [record(ALL, ap(39.2, 35.7)), record(ALL, ap(39.4, 35.7), engine="detectron2")]
    image = record("imagenet-r50-gc-r16", {"top1": 77.7}, name="imagenet-val")
    groups = group_alike({"c": [Measurement(ALL, (one,)) for one in coco], "i": [Measurement("i", (image,))]})
    assert [(name, set(group)) for name, group in groups] == [
        ("trained here, torchvision", {"c", "i"}),
        ("trained here, detectron2 and trained here, torchvision", {"c", "i"}),
    ]
    assert group_alike({}) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluated": 4999},
        {"checkpoint": {"match": "near"}},
        {"departures": ["trained for 10 iterations"]},
        {"profile": "mini"},
        {"spec_hash": "0" * 64},
    ],
)
def test_what_is_not_of_the_papers_protocol_is_not_measured(changes, tmp_path):
    found = audit_store(tmp_path, [record(ALL, ap(39.4, 35.7), **changes), record(ONE, ap(38.1, 34.9))])
    assert [cell.address for cell in found["all-blocks-gain-box"].missing] == ["2/a/+all GC/ap_box"]


#: Exact: parameters by an independent closed form; operations in the paper's convention, in its G.
COUNTS = [
    count("imagenet-r50-baseline", 25_557_032, 4_147_202_584 / 2**30),
    count("imagenet-r50-gc-r16", 28_078_773, 4_155_935_363 / 2**30),
    count("coco-r50-baseline", 44_400_693, 300_040_435_893 / 2**30),
    count("coco-r50-gc-r4", 54_401_602, 300_183_839_219 / 2**30),
]


def test_counts_are_exact(tmp_path):
    found = audit_store(tmp_path, counts=COUNTS)
    assert found["gc-resnet-50-added-parameters"].ours_verdict == "agrees"
    assert found["gc-resnet-50-added-parameters"].ours[0].value == 2.521741
    increase = found["gc-resnet-50-flops-increase"]
    assert (increase.ours_verdict, increase.ours[0].half) == ("disagrees", None)
    assert increase.ours[0].value == pytest.approx(100 * (4155935363 / 4147202584 - 1))


def test_a_ratio_to_no_difference_is_no_verdict(tmp_path):
    same = [count(f"imagenet-r50-{name}", 25_557_032, 3.862) for name in ("baseline", "1snl", "1gc")]
    found = audit_store(tmp_path, counts=same)["bottleneck-eighth-imagenet"]
    assert found.ours_verdict == "not comparable"
    assert "divides" in found.ours[0].reason


def test_a_count_by_another_counter_is_none(tmp_path):
    old = count("imagenet-r50-baseline", 25_557_032, 3.862, counter="another")
    assert audit_store(tmp_path, counts=[old])["resnet-50-parameters"].ours_verdict == "not measured"


# -- the command ------------------------------------------------------------------------------------------------------

PROGRAM = """
import sys
from repro import cli
from repro.cli import claims
cli.app.command("claims")(claims.command)
sys.argv = ["repro", "claims", *sys.argv[1:]]
try:
    cli.main()
finally:
    assert "torch" not in sys.modules
"""


def repro_claims(*arguments):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=ROOT
    )


def test_the_command_has_a_line_for_each_way(tmp_path):
    for engine, gain in (("torchvision", 1.1), ("detectron2", 2.0)):
        for name, value in ((ALL, 38.0 + gain), (ONE, 38.0)):
            Store(tmp_path / "records").add(record(name, {"ap_box": value}, engine=engine))
    process = repro_claims("--results", tmp_path, "--table", 2)
    assert process.returncode == 0, process.stderr
    half = stats.t.ppf(0.975, 10) * 0.15 * 2
    text = process.stdout
    assert "Our measurements are in conflict with each other:" in text
    assert f"    ours, trained here, torchvision: agrees: 39.10 - 38.00 = 1.1% (limit {half:.2f})" in text
    assert f"    ours, trained here, detectron2: disagrees: 40.00 - 38.00 = 2.0% (limit {half:.2f})" in text
    assert "Measured in several ways, none of which is preferred:" in text
    page = report.render(tmp_path)
    assert "trained here, detectron2: " in page
    assert "39.10 - 38.00 = 1.1%" in page


def test_the_command_exits_with_0_and_names_what_does_not_follow(tmp_path):
    process = repro_claims("--results", tmp_path)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[-2] == (
        "103 claims: 92 hold (68 of them under every rounding), 9 hold within rounding, 2 do not follow"
    )
    assert lines[-1] == "from ours: 0 agrees, 0 disagrees, 0 conflict, 0 undecided, 103 not measured, 0 not comparable"
    place = lines.index("Does not follow from the printed cells:")
    assert "all-blocks-gain-box (5.1.1), 1.1%" in lines[place + 1]
    assert "39.4 - 38.1 = 1.3%, with rounding 1.2 to 1.4" in lines[place + 2]


def test_the_command_as_data_for_one_table(tmp_path):
    process = repro_claims("--table", 5, "--json", "--results", tmp_path)
    assert process.returncode == 0, process.stderr
    found = {item["id"]: item for item in json.loads(process.stdout)}
    assert all(any(place.startswith("5/") for place in item["cells"]) for item in found.values())
    one = found["kinetics-gc-top5"]
    assert one["expressions"] == ["5//+5 GC/top5 - 5//+5 NL/top5"]
    assert one["cells"] == {"5//+5 GC/top5": "92.25", "5//+5 NL/top5": "92.29"}
    assert one["published"] == {
        "arithmetic": "92.25 - 92.29 = -0.04%, with rounding -0.05 to -0.03",
        "value": -0.04, "low": -0.05, "high": -0.03, "verdict": "does not follow", "under_every_rounding": False,
    }  # fmt: skip
    assert one["ours"]["missing"] == ["5//+5 GC/top5", "5//+5 NL/top5"]


def test_the_command_for_one_claim(tmp_path):
    process = repro_claims("--claim", "intro-cost", "--json", "--results", tmp_path)
    assert [item["id"] for item in json.loads(process.stdout)] == ["intro-cost"]
    process = repro_claims("--claim", "intro-costs", "--results", tmp_path)
    assert process.returncode == 2
    assert "intro-cost" in process.stderr
    assert "Traceback" not in process.stderr


def test_a_damaged_store_is_named(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "broken.json").write_text("{")
    process = repro_claims("--results", tmp_path)
    assert process.returncode == 2
    assert "broken.json" in process.stderr
    assert "Traceback" not in process.stderr


# -- docs/claims.md ---------------------------------------------------------------------------------------------------


def listed(heading: str) -> list[str]:
    """The items of the list under a heading of the document, each as one line."""
    text = (ROOT / "docs" / "claims.md").read_text()
    body = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [" ".join(item.split()) for item in re.split(r"\n\n|\n(?=- )", body) if item.startswith("- ")]


def finding(audited, computed) -> str:
    claim = audited.claim
    printed = f", printed {claim.printed}" if claim.printed else ""
    note = f" {' '.join(claim.note.split())}" if claim.note else ""
    return f"- Section {claim.section}, `{claim.id}`{printed}: {computed.arithmetic}. {claim.claim}{note}".replace(
        "Section abstract", "Abstract"
    )


def test_the_document_lists_every_finding(published, tmp_path):
    by_verdict = {verdict: [] for verdict in audit.CLAIM_VERDICTS}
    for audited in published.values():
        by_verdict[audited.published.verdict].append(finding(audited, audited.published))
    assert listed("What does not follow from the tables") == by_verdict["does not follow"]
    assert listed("What holds only within rounding") == by_verdict["holds within rounding"]
    assert listed("What is true of the headline metrics only") == [
        f"- Section {audited.claim.section}, `{name}`: {'; '.join(f'{m}: not {text}' for m, text in audited.unlike)}."
        for name, audited in published.items()
        if audited.unlike
    ]
    counted = audit_store(tmp_path, counts=COUNTS)
    assert listed("What our counts say") == [
        f"- Section {audited.claim.section}, `{name}`, printed {audited.claim.printed}: {audited.ours[0].arithmetic}."
        for name, audited in counted.items()
        if audited.ours_verdict == "disagrees"
    ]


def test_the_document_has_the_numbers_of_claims():
    text = " ".join((ROOT / "docs" / "claims.md").read_text().split())
    assert f"{len(CLAIMS)} claims: 92 hold (68 of them under every rounding), 9 hold within rounding, 2 do not" in text


# -- nothing left out -------------------------------------------------------------------------------------------------

HEADINGS = {
    "Abstract": "abstract", "1. Introduction": "1", "2. Related Work": "2", "3. Analysis on Non-local Networks": "3",
    "3.1. Revisiting the Non-local Block": "3.1", "3.2. Analysis": "3.2", "4. Method": "4",
    "4.1. Simplifying the Non-local Block": "4.1", "4.2. Global Context Modeling Framework": "4.2",
    "4.3. Global Context Block": "4.3", "5. Experiments": "5", "5.1. Object Detection/Segmentation on COCO": "5.1",
    "5.1.1 Ablation Study": "5.1.1", "5.1.2 Experiments on Stronger Backbones": "5.1.2",
    "5.2. Image Classification on ImageNet": "5.2", "5.3. Action Recognition on Kinetics": "5.3", "6. Conclusion": "6",
}  # fmt: skip
#: Digits that are no claim: citations, references, names of stages, networks, operators and data, inline formulas.
NAMES = re.compile(
    r"\[\d+(, \d+)*\]|(Table|Figure|Eqn\.?) ?\d(\([a-f]\))?|c[1-5]\b|res_\d|ResNet-\d+|Res50|ResNeXt-\d+|1[×x]1"
    r"|AP[₅₇₀]+|3D|top-\d|COCO 2017|\$[^$]*\$|r16"
)
#: A digit, or a word that compares.
CLAIMING = re.compile(
    r"\d|outperform|better|worse|higher|lower|fewer|\bless\b|\beffective|important|more parameters|comparable|similar "
    r"(results|to)|consisten|significant|slight|margin|improve|boost|on par|small|large|superior|\bgain|maintain"
    r"|almost the same|decrease|increase|introduces|reduces|benefit|enhance|greater|strong",
    re.IGNORECASE,
)
#: Sentences that claim nothing which a cell could settle, by words of theirs, and why.
NOT_CLAIMS = {
    "almost the same for different query positions within an image": "maps; claimed with Table 1 in Sections 1 and 3.2",
    "is lightweight and can effectively model": "no comparison",
    "benefit a wide range of recognition tasks, such as": "of other papers",
    "such analysis was largely missing": "of another paper",
    "We bridge this regret": "of Figure 1, whose maps are no cells",
    "in a bid to achieve better accuracy": "of other papers",
    "to improve the functional formulations": "of other papers",
    "adopt group convolution to increase cardinality": "of other papers",
    "enhance geometric modeling ability": "of other papers",
    "Our global context network is a new backbone architecture": "does not say what it is superior to",
    "all these methods adopt rescaling": "of other papers; scaling against addition is claimed in Section 5.1.1",
    "The proposed GCNet can effectively model": "scaling against addition is claimed in Section 5.1.1",
    "here we only visualize the most widely-used version": "of another paper; claimed with Table 1 in Section 4.1",
    "We surprisingly find that": "of Figure 2, whose maps are no cells",
    "As the summation over each attention map": "a definition",
    "Based on the observation that the attention maps": "claimed with Table 1 in Section 3.2",
    "variants with and without W_z achieve comparable": "of another paper",
    "shown in Table 2(a), 4(a) and 5": "where to look",
    "Here we propose a new instantiation": "announces Section 4.3",
    "2048 \\cdot 2048": "no row has a simplified block in res_5 alone",
    "As the two-layer bottleneck transform increases": "of optimization, which no cell measures",
    "Taking ResNet-50 for ImageNet classification": "a definition",
    "Global context can benefit": "no comparison",
    "whose train set is comprised of 118k images": "size of the data",
    "shorter side is of 800 pixels": "a setting",
    "We trained on 8 GPUs": "a setting",
    "yielding better results": "no row was trained stage by stage",
    "All models are trained for 12 epochs": "a setting",
    "The learning rate is initialized to 0.02": "a setting",
    "Following [31], we insert 1 non-local block": "a definition",
    "by replacing ResNet-50 with ResNet-101": "what was run",
    "with bottleneck ratios of 4 and 16": "what was run",
    "containing 1.28M training images": "size of the data",
    "for 120 epochs": "a setting",
    "for other 40 epochs": "a setting",
    "240k training videos": "size of the data",
    "multi(30)-clip validation": "a setting",
}


@pytest.fixture(scope="module")
def sections() -> dict[str, list[str]]:
    """The sentences of each section. Tables, captions, displayed formulas and the list of references are left out."""
    if not TEXT.exists():
        pytest.skip("needs the text of the paper, ../shared/paper/gcnet.txt, beside the checkout")
    text = TEXT.read_text()
    paragraphs: dict[str, list[str]] = {}
    section = None
    for part in re.split(r"\n\s*\n", text[text.index("\nAbstract\n") : text.index("\nReferences\n")]):
        part = part.strip()
        if part in HEADINGS:
            section = HEADINGS[part]
        elif part and "\t" not in part and not part.startswith(("$$", "Figure ", "Table ", "*Equal")):
            paragraphs.setdefault(section, []).append(part)
    assert set(paragraphs) == set(HEADINGS.values()) - {"4"}
    return {
        name: re.split(r"(?<=[a-z0-9)\]}%$*])\. (?=[A-Z*])", " ".join(" ".join(parts).split()))
        for name, parts in paragraphs.items()
    }


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


def test_every_quote_is_the_papers_in_its_section(sections):
    for claim in CLAIMS:
        assert any(squeezed(claim.quote) in squeezed(sentence) for sentence in sections[claim.section]), claim.id
        if claim.printed and not claim.stands_for:
            assert squeezed(claim.printed.strip("~MG%")) in squeezed(claim.quote), claim.id


def test_every_sentence_that_claims_is_covered_or_says_why_not(sections):
    used, wrong = set(), []
    for section, sentences in sections.items():
        quotes = [squeezed(claim.quote) for claim in CLAIMS if claim.section == section]
        for sentence in sentences:
            if not CLAIMING.search(NAMES.sub(" ", sentence)):
                continue
            excuses = {words for words in NOT_CLAIMS if squeezed(words) in squeezed(sentence)}
            used |= excuses
            covered = any(quote in squeezed(sentence) for quote in quotes)
            if covered == bool(excuses):
                wrong.append(
                    f"{section}: {'claimed and excused' if covered else 'neither claim nor excused'}: {sentence}"
                )
    assert not wrong
    assert used == set(NOT_CLAIMS)


def test_every_number_in_percent_stands_in_a_claim(sections):
    """A printed "%" is a result everywhere in the paper."""
    claimed = {(claim.section, claim.printed.strip("~%")) for claim in CLAIMS if claim.printed and "%" in claim.printed}
    found = {
        (section, number)
        for section, sentences in sections.items()
        for sentence in sentences
        for number in re.findall(r"(\d+\.\d+)\\?%", sentence)
    }
    assert found == claimed

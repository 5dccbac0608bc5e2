"""Verdicts: right values pass, every planted mistake is found and named, and what was not measured is never a pass."""

from __future__ import annotations

import json
import math

import pytest
import scipy.stats
import yaml
from hypothesis import given
from hypothesis import strategies as st
from samples import PARAMS, count, published, record

from repro import cli, paper
from repro.errors import ReproError
from repro.experiments import get
from repro.paper import tolerances
from repro.paths import TABLES
from repro.records import Store
from repro.verification import agreement, judgement, ledger
from repro.verification.baselines import find_baseline
from repro.verification.coverage import Coverage

TABLE = paper.load(2)
RULES = tolerances.load()
BASELINE = published(TABLE, "coco-r50-baseline")
_PRIOR = {"deviation": 0.1, "freedom": 5}


@pytest.fixture(autouse=True)
def _empty_ledger(monkeypatch, tmp_path):
    monkeypatch.setattr(ledger, "load", lambda: ledger.Ledger(tmp_path / "ledger.yaml", ()))


def verify_records(records=(), counts=(), table=TABLE, rules=RULES):
    return judgement.verify(table, list(records), {c.spec_hash: c for c in counts}, rules)


def cell(verification, group="a", row="baseline", column="ap_box"):
    return next(
        v for v in verification.cells if (v.cell.group, v.cell.row, v.cell.column) == (group, row, column)
    )  # fmt: skip


def shifted(**deltas):
    return {**BASELINE, **{name: BASELINE[name] + delta for name, delta in deltas.items()}}


# -- one cell ---------------------------------------------------------------------------------------------------------


def test_the_papers_own_numbers_are_within_tolerance_everywhere():
    names = TABLE.experiments
    found = verify_records(record(name, published(TABLE, name)) for name in names)
    measured = [v for v in found.cells if v.cell.unit == "%"]
    assert {v.verdict for v in measured} == {"compatible", "indistinct"}
    assert len(measured) == 168
    widths = {"ap_box": 0.52, "ap_mask": 0.52}  # at one threshold: 0.84
    near = 0
    for group in TABLE.groups:
        for row in group.rows[1:]:
            for one in (c for c in row.cells if c.unit == "%"):
                near += abs(one.value - group.rows[0].require(one.column).value) < widths.get(one.column, 0.84)
    assert Coverage.count(found.cells).describe() == (
        f"108 of 108 distinct numbers measured: {168 - near} cells compatible with the print, {near} indistinct from "
        "no effect; 0 of 36 distinct counts made; 0 off; 56 cells not run: needs `repro complexity --table 2`"
    )


def test_nothing_measured_is_not_run_with_the_reason():
    found = verify_records()
    assert {v.verdict for v in found.cells} == {"not run"}
    assert cell(found).reason == "needs COCO 2017"
    words = "0 of 108 distinct numbers measured; 0 of 36 distinct counts made; 224 cells not run (168: needs "
    assert Coverage.count(found.cells).describe().startswith(words)


def test_a_wrong_value_is_off_and_named():
    found = verify_records([record("coco-r50-baseline", shifted(ap75_mask=-2.8))])
    assert {(v.cell.group, v.cell.row, v.cell.column) for v in found.off} == {
        (group, "baseline", "ap75_mask") for group in "abcdef"
    }
    p = 6 * 2 * scipy.stats.t.sf((2.8 - 0.05) / (0.25 * math.sqrt(2)), 10)  # the smallest of six
    assert str(found.off[0]) == (
        "Table 2(a), baseline, AP75 mask: off: published 35.9, ours 33.10 (-2.8): "
        f"differs by more than 0.84 %: trained here, one seed (p = {p:.2g} after Holm)"
    )


def expected_half_width(n, deviation, metric="ap_box"):
    """By scipy, from the formula in tables/tolerances.yaml."""
    prior = {"ap_box": 0.15, "ap75_mask": 0.25}[metric]
    variance = (10 * prior**2 + (n - 1) * deviation**2) / (9 + n)
    scale = min(math.sqrt(variance), prior)
    return scipy.stats.t.ppf(0.975, 9 + n) * scale * math.sqrt(1 + 1 / n)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("size", "verdict"), [(0.52, "compatible"), (0.53, "off")])
def test_one_seed_has_the_prior_and_the_rounding_of_the_print(sign, size, verdict):
    """The only number of its table: nothing to adjust for."""
    made = record("coco-r50-baseline", {"ap_box": BASELINE["ap_box"] + sign * size}, alone=True)
    found = cell(verify_records([made]))
    assert found.verdict == verdict
    assert found.tolerance == pytest.approx(expected_half_width(1, 0) + 0.05)
    assert "sigma_0" in found.rationale


@pytest.mark.parametrize(
    ("changes", "applied"),
    [
        ({"checkpoint": {}}, RULES.checkpoint),
        ({"checkpoint": {"conventions": "authors"}}, RULES.checkpoint),
        ({"checkpoint": {"conventions": "detectron2"}}, RULES.converted),
        ({}, RULES.retrained),
    ],
)
def test_each_source_has_its_own_tolerance(changes, applied):
    found = cell(verify_records([record("coco-r50-baseline", BASELINE, **changes)]))
    assert found.applied == applied.applies_to
    if applied is not RULES.retrained:
        assert found.tolerance == pytest.approx(applied.half_width["ap_box"] + 0.05)


def test_weights_near_a_row_decide_nothing_about_it():
    near = record("coco-r50-baseline", BASELINE, checkpoint={"match": "near", "id": "mmdet1_mask_rcnn_r50_fpn_1x"})
    found = cell(verify_records([near]))
    assert found.verdict == "inconclusive"
    assert found.reason == "not the paper's training but weights near it: mmdet1_mask_rcnn_r50_fpn_1x"


def test_every_way_of_measuring_has_a_verdict_of_its_own():
    near = record("coco-r50-baseline", BASELINE, checkpoint={"match": "near"})
    trained = record("coco-r50-baseline", BASELINE, deviations=["one", "two"])
    exact = record("coco-r50-baseline", BASELINE, checkpoint={})
    other = record("coco-r50-baseline", shifted(ap_box=0.1), engine="detectron2")
    found = cell(verify_records([near, trained, exact, other]))
    assert found.verdict == "inconclusive"
    assert {(one.way, one.verdict) for one in found.ways} == {
        ("authors' weights, torchvision", "compatible"),
        ("trained here, torchvision", "compatible"),
        ("trained here, detectron2", "compatible"),
        ("near weights, torchvision", "inconclusive"),
    }
    assert [one.ours for one in found.ways if "detectron2" in one.way] == [pytest.approx(37.3)]


NEAR = {"checkpoint": {"match": "near"}}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("ways", "verdict"),
    [
        ([(38.1, {}), (38.1, {"engine": "detectron2"})], "compatible"),
        ([(38.1, {}), (37.7, {"engine": "detectron2"})], "indistinct"),
        ([(38.1, {}), (38.1, NEAR)], "inconclusive"),
        ([(37.7, {}), (38.1, NEAR)], "inconclusive"),
        ([(35.0, {}), (38.1, NEAR)], "off"),
        ([(35.0, {}), (38.1, {"engine": "detectron2"})], "conflict"),
        ([(35.0, {}), (37.7, {"engine": "detectron2"})], "conflict"),
    ],
)
def test_the_verdict_of_a_cell_is_the_worst_of_its_ways(ways, verdict, order):
    """One GC block: 38.1 printed, 37.2 of the baseline."""
    made = [record("coco-r50-1gc", {"ap_box": value}, **how) for value, how in ways]
    found = cell(verify_records(made[::order]), row="+1 GC")
    assert (found.verdict, len(found.ways)) == (verdict, 2)
    assert verdict in ("compatible", "conflict") or any(found.reason.startswith(one.way) for one in found.ways)


def test_a_way_without_the_number_has_no_say():
    made = [
        record("coco-r50-1gc", {"ap_box": 38.1}),
        record("coco-r50-1gc", {"ap_mask": 34.9}, engine="detectron2", alone=True),
    ]
    found = cell(verify_records(made), row="+1 GC")
    assert (found.verdict, {one.verdict for one in found.ways}) == ("compatible", {"compatible", "not run"})


@pytest.mark.parametrize("order", [1, -1])
def test_a_conflict_between_two_ways_is_named_whichever_is_first(order):
    made = [record("coco-r50-baseline", {"ap_box": value}, **how)
            for value, how in ((37.2, {"checkpoint": {}}), (35.0, {}))][::order]  # fmt: skip
    found = cell(verify_records(made))
    assert found.verdict == "conflict"
    assert "authors' weights, torchvision: compatible, 37.20" in found.reason
    assert "trained here, torchvision: off, 35.00" in found.reason
    assert found in verify_records(made).off


def test_each_way_is_a_family_of_its_own():
    """Many numbers of another way do not make one less off."""
    other = [
        record(name, published(TABLE, name), checkpoint={}) for name in TABLE.experiments if name != "coco-r50-1gc"
    ]
    made = record("coco-r50-1gc", {"ap_box": 38.1 - 0.53}, alone=True)
    assert cell(verify_records([*other, made]), row="+1 GC").verdict == "off"


def test_delta_is_what_a_reader_gets_who_subtracts_the_printed_numbers():
    found = cell(verify_records([record("coco-r50-baseline", {**BASELINE, "ap_box": 37.149})]))
    assert found.delta == -0.1
    assert found.ours == 37.149
    same = cell(verify_records([record("coco-r50-baseline", {**BASELINE, "ap_box": 37.16})]))
    assert same.delta == 0.0
    assert math.copysign(1, same.delta) == 1


def seeds_of(name, values, **changes):
    return [record(name, {"ap_box": value}, seed=seed, **changes) for seed, value in enumerate(values)]


@pytest.mark.parametrize("values", [[37.0, 37.1], [37.0, 37.1, 37.2], [37.0, 37.02, 37.1, 37.3, 37.3]])
def test_the_spread_of_several_seeds_is_shrunk_to_the_prior(values):
    found = cell(verify_records(seeds_of("coco-r50-baseline", values)))
    deviation = scipy.stats.tstd(values)
    assert found.tolerance == pytest.approx(expected_half_width(len(values), deviation) + 0.05)
    assert (found.ours, found.spread, found.n) == (
        pytest.approx(sum(values) / len(values)),
        pytest.approx(deviation),
        len(values),
    )
    assert found.verdict == "compatible"


@given(
    n=st.integers(2, 8),
    deviation=st.floats(0, 3),
    wider=st.floats(0, 3),
)
def test_a_tolerance_is_narrower_with_more_seeds_and_never_wider_by_scatter(n, deviation, wider):
    prior = RULES.retrained.prior["ap_box"]
    width = agreement.compute_retrained_half_width(RULES.retrained, prior, n, deviation)
    alone = agreement.compute_retrained_half_width(RULES.retrained, prior, 1, None)
    assert agreement.compute_retrained_half_width(RULES.retrained, prior, n + 1, deviation) < width < alone
    no_scatter_beyond_the_prior = agreement.compute_retrained_half_width(RULES.retrained, prior, n, prior.deviation)
    assert agreement.compute_retrained_half_width(RULES.retrained, prior, n, prior.deviation + wider) == (
        pytest.approx(no_scatter_beyond_the_prior)
    )


def test_seeds_that_scatter_decide_nothing_even_around_the_print():
    found = cell(verify_records(seeds_of("coco-r50-baseline", [36.0, 38.4])))
    assert found.verdict == "inconclusive"
    p = scipy.stats.f.sf((1.2 * math.sqrt(2) / 0.15) ** 2, 1, 10)
    assert found.reason == (f"its 2 seeds scatter by 1.70 % (standard deviation), where 0.15 is usual: p = {p:.2g}")


def test_scatter_calls_nothing_off_either():
    """2.2 from the print: far outside by the prior alone, and yet no farther than its own seeds lie apart."""
    found = cell(verify_records(seeds_of("coco-r50-baseline", [36.6, 42.2])))
    assert found.verdict == "inconclusive"
    assert "is above 0.05" in found.reason


def test_a_number_is_off_among_all_that_were_tested():
    """By Holm, recomputed here: outside alone is not off among the other numbers of the table."""
    deltas = {"ap_box": 0.6, "ap50_box": 0.1, "ap75_box": 0.1, "ap_mask": 1.1}
    made = record("coco-r50-baseline", {name: BASELINE[name] + delta for name, delta in deltas.items()}, alone=True)
    found = verify_records([made])
    sigma = {"ap_box": 0.15, "ap50_box": 0.25, "ap75_box": 0.25, "ap_mask": 0.15}
    p = {
        name: 2 * scipy.stats.t.sf((delta - 0.05) / (sigma[name] * math.sqrt(2)), 10) for name, delta in deltas.items()
    }
    assert p["ap_box"] < 0.05 < 3 * p["ap_box"]
    assert 4 * p["ap_mask"] < 0.05
    assert cell(found, column="ap_mask").verdict == "off"
    outside = cell(found, column="ap_box")
    assert outside.verdict == "inconclusive"
    assert f"but p = {3 * p['ap_box']:.2g} after Holm's adjustment" in outside.reason
    assert cell(found, column="ap50_box").verdict == "compatible"


def test_a_number_that_the_table_prints_six_times_is_tested_once():
    found = cell(verify_records([record("coco-r50-baseline", {"ap_box": 37.2 - 0.53}, alone=True)]))
    assert found.verdict == "off"  # as the only number; of six, p would be 0.29


@pytest.mark.parametrize(
    ("value", "verdict"), [(37.73, "compatible"), (37.71, "indistinct"), (37.59, "indistinct"), (37.57, "off")]
)
def test_what_agrees_with_no_effect_as_well_is_not_compatible(value, verdict):
    """One GC block: 38.1 printed, 37.2 of the baseline, half-widths of 0.523."""
    found = cell(verify_records([record("coco-r50-1gc", {"ap_box": value}, alone=True)]), row="+1 GC")
    assert found.verdict == verdict
    if verdict == "indistinct":
        assert found.reason == "within the tolerance of the baseline's 37.2 as well: it shows no effect of the row"


def test_a_baseline_is_compared_with_no_other():
    assert cell(verify_records([record("coco-r50-baseline", BASELINE)])).verdict == "compatible"


@pytest.mark.parametrize(
    ("number", "group", "row", "printed"),
    [
        (1, "COCO", "Gaussian", "37.2"),  # Table 1 prints none: Tables 2 and 5 do
        (1, "COCO", "Concat", "37.2"),
        (1, "Kinetics", "Dot product", "74.94"),
        (2, "f", "att+add", "37.2"),
        (3, "a", "X101+DCN+Cascade +GC r4", "47.1"),
        (3, "b", "X101+Cascade +GC r16", "45.0"),
        (4, "b", "att+add", "76.88"),
        (5, "", "+all GC", "74.94"),
        (2, "a", "baseline", None),
        (3, "a", "X101+DCN+Cascade baseline", None),
    ],
)
def test_every_row_with_a_block_has_a_baseline(number, group, row, printed):
    of = next(one for one in paper.load(number).groups if one.name == group)
    found = find_baseline(of, next(one for one in of.rows if one.label == row))
    assert (found and (found.cell("ap_box") or found.cell("top1")).printed) == printed
    assert all(
        (find_baseline(group, row) is None) == row.is_baseline
        for table in paper.load_all()
        for group in table.groups
        for row in group.rows
    )


def test_a_row_of_a_table_without_baselines_can_be_indistinct_too():
    made = record("coco-r50-1nl", {"ap_box": 37.6})
    found = cell(verify_records([made], table=paper.load(1)), "COCO", "E-Gaussian", "ap_box")
    assert (found.verdict, found.cell.printed) == ("indistinct", "38.0")


def test_a_metric_without_a_declared_tolerance_gets_no_verdict():
    table = paper.load(1)
    found = verify_records([record("coco-r50-1nl", {"ap_box": 38.0, "ap_mask": 34.7})], table=table)
    assert cell(found, "COCO", "E-Gaussian", "ap_box").verdict == "compatible"
    missing = cell(found, "COCO", "E-Gaussian", "cos_input")
    assert (missing.verdict, missing.reason) == ("not run", "its records lack cos input")
    rules = RULES.model_copy(update={"retrained": RULES.retrained.model_copy(update={"prior": {}})})
    undeclared = cell(verify_records([record("coco-r50-baseline", BASELINE)], rules=rules))
    assert (undeclared.verdict, undeclared.reason) == ("inconclusive", "no tolerance is declared for AP box")


# -- planted mistakes -------------------------------------------------------------------------------------------------


def test_a_mini_record_never_meets_a_published_number():
    disguise = {"name": "coco-val2017", "required": 5000, "expected": 5000, "evaluated": 5000}
    made = [
        record(name, published(TABLE, name), profile="mini", spec_hash=get(name).spec_hash, **disguise)
        for name in TABLE.experiments
    ]
    found = verify_records(made)
    assert {v.verdict for v in found.cells} == {"not run"}


def test_80_of_5000_images_are_inconclusive_even_if_the_numbers_agree():
    made = record("coco-r50-baseline", BASELINE, evaluated=80, expected=80)
    found = verify_records([made])
    assert (cell(found).verdict, cell(found).reason) == ("inconclusive", "80 of 5000 images were evaluated")
    assert not found.off
    assert "36 cells inconclusive: 80 of 5000 images were evaluated" in Coverage.count(found.cells).describe()


def test_a_record_cannot_shrink_what_the_protocol_requires():
    made = record("coco-r50-baseline", BASELINE, evaluated=80, expected=80, required=80)
    assert cell(verify_records([made])).reason == "80 of 5000 images were evaluated"


def test_another_recipe_than_the_papers_gets_no_verdict_whatever_its_numbers():
    made = record("coco-r50-baseline", BASELINE, departures=["random initial weights instead of ImageNet's"])
    assert cell(verify_records([made])).verdict == "inconclusive"
    assert "random initial weights" in cell(verify_records([made])).reason
    short = record("coco-r50-baseline", BASELINE)
    training = short.training.model_copy(update={"iterations": 99})
    found = cell(verify_records([short.model_copy(update={"training": training})]))
    assert (found.verdict, found.reason) == ("inconclusive", "trained for 99 of the recipe's 87960 iterations")


def test_runs_from_different_initial_weights_are_not_averaged():
    first, second = (record("coco-r50-baseline", shifted(ap_box=gap), seed=seed) for seed, gap in ((0, 0), (1, 5)))
    assert cell(verify_records([first, second])).n == 2
    weights = second.weights.model_copy(update={"initial_sha256": "9" * 64})
    assert cell(verify_records([first, second.model_copy(update={"weights": weights})])).n == 1


def test_a_missing_image_is_inconclusive():
    assert cell(verify_records([record("coco-r50-baseline", BASELINE, evaluated=4999)])).verdict == "inconclusive"
    failed = cell(verify_records([record("coco-r50-baseline", BASELINE, failed=["000000000139"])]))
    assert (failed.verdict, failed.reason) == ("inconclusive", "1 of 5000 images failed")


def test_a_stale_record_is_not_used_and_named():
    made = record("coco-r50-baseline", BASELINE, spec_hash="0" * 64)
    found = verify_records([made])
    assert (cell(found).verdict, cell(found).ours) == ("not run", None)
    assert "stale" in cell(found).reason
    assert [(u.filename, u.stale) for u in found.unused] == [(made.filename, True)]


def test_validation_results_say_nothing_about_test_dev():
    table = paper.load(3)
    name = "coco-x101-cascade-baseline"
    found = verify_records([record(name, published(table, name))], table=table)
    assert cell(found, "a", "X101+Cascade baseline").verdict == "compatible"
    hidden = cell(found, "b", "X101+Cascade baseline")
    assert (hidden.verdict, hidden.reason) == ("not run", "needs the COCO test-dev server")


def test_a_metric_in_another_unit_is_refused():
    made = record("coco-r50-baseline", BASELINE)
    metrics = [made.metrics[0].model_copy(update={"value": 0.372, "unit": "1"}), *made.metrics[1:]]
    with pytest.raises(ReproError, match="ap_box is in '1'; the paper prints it in '%'"):
        verify_records([made.model_copy(update={"metrics": metrics})])


@pytest.mark.parametrize("years", [(2026, 2027), (2027, 2026)])
def test_of_a_seed_measured_again_by_another_recipe_one_is_shown_whatever_their_dates(years):
    """Those by the recipe are refused both, before anything is judged (`repro.verification.reruns`)."""
    first, second = (
        record("coco-r50-baseline", shifted(ap_box=by), created=f"{year}-01-01", departures=["d"], deviations=["d"])
        for by, year in zip((-1.0, 0.0), years, strict=True)
    )
    one, other = sorted((first, second), key=lambda made: made.key)
    found = verify_records([second, first])
    assert (cell(found).n, cell(found).records) == (1, (one.filename,))
    assert [unused.filename for unused in found.unused] == [other.filename]


def test_runs_under_different_conditions_are_not_averaged():
    whole = record("coco-r50-baseline", BASELINE, seed=0)
    part = record("coco-r50-baseline", shifted(ap_box=-9), seed=1, evaluated=80)
    deviating = record("coco-r50-baseline", shifted(ap_box=-5), seed=2, deviations=["trained for 10 iterations"])
    engine = record("coco-r50-baseline", shifted(ap_box=-7), seed=3, engine="detectron2", deviations=["x"])
    verification = verify_records([part, deviating, engine, whole])
    found = {one.ours: one for one in cell(verification).ways}
    assert {round(ours, 6): (one.n, one.records) for ours, one in found.items()} == {
        ours: (1, (one.filename,)) for ours, one in ((37.2, whole), (32.2, deviating), (30.2, engine))
    }
    assert cell(verification).verdict == "conflict"
    assert [(u.filename, u.reason) for u in verification.unused] == [
        (part.filename, "80 of 5000 images were evaluated; the same way has a measurement of all of them")
    ]


# -- counts -----------------------------------------------------------------------------------------------------------


def test_counts_verify_params_and_flops():
    counts = [count(name, params, 279.4) for name, params in PARAMS.items()]
    found = verify_records(counts=counts)
    assert cell(found, column="params").verdict == "match"
    assert cell(found, column="params").ours == 44.400693
    assert cell(found, row="+1 SNL", column="params").note == "45.4M is 45,451,318 truncated, not rounded"
    wrong = cell(found, row="+1 NL", column="flops")
    assert (wrong.verdict, wrong.delta) == ("off", -9.3)


def test_a_stale_count_is_not_used():
    found = verify_records(counts=[count("coco-r50-baseline", 44_400_693, 279.4, spec_hash="0" * 64)])
    stale = cell(found, column="params")
    assert (stale.verdict, stale.reason) == ("not run", "its count is stale: run `repro complexity --table 2`")


def test_a_cell_of_the_ledger_is_neither_match_nor_off(monkeypatch, tmp_path):
    entry = ledger.LedgerEntry(
        table=2, group="a", row="+1 NL", column="params", printed="46.5M", ours=47_000_000, reason="because",
        ruled_out=["another reading"],
    )  # fmt: skip
    monkeypatch.setattr(ledger, "load", lambda: ledger.Ledger(tmp_path / "ledger.yaml", (entry,)))
    found = verify_records(counts=[count("coco-r50-1nl", 47_000_000, 288.7)])
    explained = cell(found, row="+1 NL", column="params")
    assert (explained.verdict, explained.note) == ("ledger", "46.5M printed, 47,000,000 counted: because")
    assert "1 cell prints the same, 1 explained in the ledger; 0 off" in Coverage.count(found.cells).describe()


# -- tolerances -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda d: d.pop("retrained"), "retrained: Field required"),
        (lambda d: d["retrained"].pop("rationale"), r"retrained\.rationale: Field required"),
        (lambda d: d["converted"]["half_width"].update(ap_bix=1.0), r"converted\.half_width: .*'ap_bix'"),
        (lambda d: d["retrained"]["prior"].update(params=_PRIOR), r"retrained\.prior: .*'params'"),
        (
            lambda d: d["converted"]["half_width"].update(ap_box=-1.0),
            r"converted\.half_width\.ap_box: .*greater than 0",
        ),
        (
            lambda d: d["retrained"]["prior"]["ap_box"].update(deviation=math.inf),
            r"retrained\.prior\.ap_box\.deviation: ",
        ),
        (lambda d: d["retrained"]["prior"]["ap_box"].update(freedom=0), r"retrained\.prior\.ap_box\.freedom: "),
        (lambda d: d["retrained"].update(confidence=95), r"retrained\.confidence: "),
        (lambda d: d.update(lenient={}), "lenient: Extra inputs"),
    ],
)
def test_malformed_tolerances_name_the_key(tmp_path, change, where):
    content = yaml.safe_load((TABLES / "tolerances.yaml").read_text())
    change(content)
    path = tmp_path / "tolerances.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ReproError, match=rf"tolerances\.yaml: {where}"):
        tolerances.load(path)


def test_tolerances_that_are_absent_or_cut(tmp_path):
    path = tmp_path / "tolerances.yaml"
    with pytest.raises(ReproError, match="cannot be read"):
        tolerances.load(path)
    path.write_text("checkpoint: {applies_to: [")
    with pytest.raises(ReproError, match="not whole, valid YAML"):
        tolerances.load(path)


# -- the command ------------------------------------------------------------------------------------------------------


def call(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["repro", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return exit_.value.code


def test_verify_exits_1_and_names_the_cells_that_are_off(monkeypatch, tmp_path, capsys):
    store = Store(tmp_path / "records")
    store.add(record("coco-r50-1nl", {**published(TABLE, "coco-r50-1nl"), "ap_box": 36.1}))
    assert call(monkeypatch, "verify", "--table", 2, "--results", tmp_path) == 1
    out = capsys.readouterr().out
    assert "Table 2(a), +1 NL, AP box: off: published 38.0, ours 36.10 (-1.9)" in out
    headline, coverage, *_, last = out.splitlines()
    assert headline == "6 of 108 distinct numbers measured; 1 cell off"
    assert coverage.startswith(
        "Table 2: 6 of 108 distinct numbers measured: 3 cells compatible with the print, 2 indistinct from no effect"
    )
    assert last == "failed: 1 cell off"
    assert call(monkeypatch, "verify", "--table", 2, "--results", tmp_path, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert [c["row"] for c in found["tables"][0]["cells"] if c["verdict"] == "off"] == ["+1 NL"]
    assert (found["passed"], found["failures"], found["failed"]) == (False, ["1 cell off"], ["2/a/+1 NL/ap_box"])


def test_verify_exits_0_when_nothing_was_run_and_says_so(monkeypatch, tmp_path, capsys):
    assert call(monkeypatch, "verify", "--results", tmp_path) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 7
    assert out[0] == "0 of 282 distinct numbers measured"
    assert out[-1].startswith("no number was measured")
    assert out[2].startswith("Table 2: 0 of 108 distinct numbers measured; 0 of 36 distinct counts made; 224 cells")


def test_a_damaged_record_is_an_error_that_names_the_file(monkeypatch, tmp_path, capsys):
    path = Store(tmp_path / "records").add(record("coco-r50-baseline", BASELINE))
    path.write_bytes(path.read_bytes()[:200])
    assert call(monkeypatch, "verify", "--results", tmp_path) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: record ")
    assert path.name in err
    assert "Traceback" not in err


def test_two_files_for_one_row_are_not_two_runs_of_one():
    first, second = (
        record("coco-r50-baseline", BASELINE, checkpoint={"sha256": digit * 64}, created=f"2026-01-0{digit}")
        for digit in "12"
    )
    assert cell(verify_records([first, second])).n == 1
    assert verify_records([first, second]).unused == ()


def test_what_another_recipe_gave_does_not_hide_what_the_papers_gave():
    departed = record("coco-r50-baseline", BASELINE, checkpoint={}, departures=["precision bf16-mixed"])
    trained = record("coco-r50-baseline", BASELINE, deviations=["one", "two"])
    found = cell(verify_records([departed, trained]))
    assert [one.verdict for one in found.ways] == ["compatible", "inconclusive"]
    assert found.verdict == "inconclusive"
    assert found.reason.startswith("authors' weights, torchvision: another recipe than the paper's: precision bf16")

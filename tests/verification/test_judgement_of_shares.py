"""Verdicts of top-1 and top-5: by the whole interval where items are missing; and of what has no tolerance."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import yaml
from samples import published, record

from repro import paper
from repro.errors import ReproError
from repro.paper import COLUMNS, tolerances
from repro.paths import TABLES
from repro.records import Store
from repro.rendering import report, tables
from repro.statistics import seeds
from repro.verification import judgement
from repro.verification.judgement import verify_all

RULES = tolerances.load()
IMAGENET, KINETICS = paper.load(4), paper.load(5)


def classified(table, name, deltas=None, *, evaluated, required, dataset, **changes):
    values = {metric: value + (deltas or {}).get(metric, 0.0) for metric, value in published(table, name).items()}
    made = record(name, values, name=dataset, required=required, expected=required, evaluated=evaluated, **changes)
    metrics = [
        metric.model_copy(update={"standard_error": math.sqrt(m * (100 - m) / evaluated)})
        for metric in made.metrics
        for m in [metric.value]
    ]
    return made.model_copy(update={"metrics": metrics})


def imagenet(name, evaluated=50000, **changes):
    return classified(IMAGENET, name, evaluated=evaluated, required=50000, dataset="imagenet-val", **changes)


def kinetics(name, evaluated=19906, **changes):
    return classified(KINETICS, name, evaluated=evaluated, required=19906, dataset="kinetics-val", **changes)


def verdict(table, made, row="baseline", column="top1", group=None):
    found = judgement.verify(table, made, {}, RULES)
    return next(
        v
        for v in found.cells
        if (v.cell.row, v.cell.column) == (row, column) and group in (None, v.cell.group)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("delta", "expected"), [(0.32, "compatible"), (0.33, "inconclusive"), (-0.32, "compatible"), (-0.9, "off")]
)
def test_one_imagenet_run_has_the_prior_of_one_run_and_is_off_among_two_numbers(delta, expected):
    found = verdict(IMAGENET, [imagenet("imagenet-r50-baseline", deltas={"top1": delta})])
    assert (found.verdict, found.tolerance) == (
        expected,
        pytest.approx(scipy.stats.t.ppf(0.975, 10) * 0.1 * math.sqrt(2) + 0.005),
    )
    assert found.low is found.high is None


def test_the_standard_error_of_one_run_is_shown_and_not_granted():
    found = verdict(IMAGENET, [imagenet("imagenet-r50-baseline")])
    assert found.standard_error == pytest.approx(100 * math.sqrt(0.7688 * 0.2312 / 50000))
    assert found.shown == "76.880 ± 0.189 (standard error)"
    assert found.tolerance < 1.96 * found.standard_error


def test_kinetics_is_given_more_than_imagenet_because_its_copies_differ():
    for metric in ("top1", "top5"):
        for rule in (RULES.checkpoint, RULES.converted):
            assert rule.declared_on("kinetics-val")[metric] > rule.declared_on("imagenet-val")[metric]
        priors = [RULES.retrained.declared_on(dataset)[metric] for dataset in ("kinetics-val", "imagenet-val")]
        assert priors[0].deviation > priors[1].deviation


def test_every_measured_column_is_declared_in_every_mode_or_not_at_all():
    measured = {name for name, column in COLUMNS.items() if column.measured}
    for rule in tolerances.RULES:
        for dataset in paper.DATASETS:
            assert set(RULES.rule(rule).declared_on(dataset)) | set(RULES.undeclared.metrics) == measured


def share(value, evaluated, required):
    """(lowest, highest) percentage of `required` items when `value` percent of `evaluated` are right."""
    right = value / 100 * evaluated
    return 100 * right / required, 100 * (right + required - evaluated) / required


def test_missing_videos_that_cannot_matter_leave_a_match():
    made = kinetics("kinetics-r50-baseline", evaluated=19881)
    found = verdict(KINETICS, [made])
    low, high = share(74.94, 19881, 19906)
    assert (found.verdict, found.low, found.high) == ("compatible", pytest.approx(low), pytest.approx(high))
    assert "whatever the missing items are" in found.shown


ASSUMED = "as evaluated (of all items only if they are missing at random), from "


def test_every_output_says_what_the_number_as_evaluated_assumes(tmp_path):
    """The terminal, JSON, JUnit, the summary, `explain`, Markdown, LaTeX and HTML."""
    store = Store(tmp_path / "records")
    store.add(kinetics("kinetics-r50-baseline", evaluated=19881))
    verified = verify_all([KINETICS], store)
    (found,) = [one for one in verified.cells if (one.cell.row, one.cell.column) == ("baseline", "top1")]
    assert ASSUMED in str(found)
    assert found.as_dict()["assumption"].startswith(ASSUMED)
    for form in ("md", "tex"):
        assert ASSUMED in tables.render(KINETICS, store, form)
    assert ASSUMED in report.render(tmp_path)
    whole = Store(tmp_path / "whole")
    whole.add(kinetics("kinetics-r50-baseline", evaluated=19906))
    assert "missing at random" not in tables.render(KINETICS, whole, "md")


def test_bounds_that_reach_into_no_effect_are_indistinct():
    """75.95 printed, 74.94 of the baseline: the worst case of 100 missing videos is within the baseline's tolerance."""
    of = [row for row in KINETICS.rows if row.label == "+5 NL"]
    values = published(KINETICS, of[0].experiment)
    width = verdict(KINETICS, [kinetics(of[0].experiment)], "+5 NL").tolerance
    low, _ = share(75.95, 19_906 - 100, 19_906)
    assert low < 74.94 + width < 75.95
    found = verdict(KINETICS, [kinetics(of[0].experiment, evaluated=19_806)], "+5 NL")
    assert (values["top1"], found.verdict) == (75.95, "indistinct")
    assert verdict(KINETICS, [kinetics(of[0].experiment)], "+5 NL").verdict == "compatible"


def test_missing_videos_that_may_matter_are_inconclusive_and_the_interval_is_told():
    found = verdict(KINETICS, [kinetics("kinetics-r50-baseline", evaluated=18014)])
    low, high = share(74.94, 18014, 19906)
    assert found.verdict == "inconclusive"
    assert (
        f"between {low:.3f} and {high:.3f}, depending on whether the videos that were not evaluated are wrong"
        in found.reason
    )
    assert high - low == pytest.approx(100 * (19906 - 18014) / 19906)


def test_off_is_off_however_the_missing_videos_would_turn_out():
    low = verdict(KINETICS, [kinetics("kinetics-r50-baseline", evaluated=19881, deltas={"top1": -3.0})])
    high = verdict(KINETICS, [kinetics("kinetics-r50-baseline", evaluated=19881, deltas={"top1": 3.0})])
    assert (low.verdict, high.verdict) == ("off", "off")
    edge = verdict(KINETICS, [kinetics("kinetics-r50-baseline", evaluated=19881, deltas={"top1": -0.9})])
    assert edge.verdict == "inconclusive"  # with the missing ones right it is within the tolerance


def test_an_interval_that_spans_the_tolerance_on_both_sides_is_inconclusive():
    found = verdict(KINETICS, [kinetics("kinetics-r50-baseline", evaluated=15000)])
    assert found.low < found.cell.value - found.tolerance
    assert found.high > found.cell.value + found.tolerance
    assert found.verdict == "inconclusive"


def test_a_record_cannot_say_that_less_is_required_than_the_official_list_has():
    made = classified(
        KINETICS, "kinetics-r50-baseline", evaluated=15000, required=15000, dataset="kinetics-val"
    )  # fmt: skip
    assert verdict(KINETICS, [made]).verdict == "inconclusive"
    small = classified(IMAGENET, "imagenet-r50-baseline", evaluated=1000, required=1000, dataset="imagenet-val")
    assert verdict(IMAGENET, [small]).verdict == "inconclusive"


def test_images_that_failed_to_load_widen_too():
    made = imagenet("imagenet-r50-baseline", evaluated=49990, failed=[str(n) for n in range(10)])
    found = verdict(IMAGENET, [made])
    assert (found.verdict, found.low, found.high) == (
        "compatible", *map(pytest.approx, share(76.88, 49990, 50000)),
    )  # fmt: skip


def test_another_recipe_decides_nothing_even_with_missing_items():
    made = kinetics("kinetics-r50-baseline", evaluated=19881, departures=["trained for 10 iterations"])
    found = verdict(KINETICS, [made])
    assert (found.verdict, found.reason) == (
        "inconclusive",
        "another recipe than the paper's: trained for 10 iterations",
    )


def test_several_seeds_with_missing_videos():
    made = [
        kinetics("kinetics-r50-baseline", evaluated=19890, deltas={"top1": delta}, seed=seed)
        for seed, delta in enumerate((-0.1, 0.0, 0.1))
    ]
    found = verdict(KINETICS, made)
    values = [74.84, 74.94, 75.04]
    scale = math.sqrt((10 * 0.25**2 + 2 * 0.1**2) / 12)
    expected = scipy.stats.t.ppf(0.975, 12) * scale * math.sqrt(4 / 3)
    ends = [share(value, 19890, 19906) for value in values]
    assert (found.low, found.high) == (
        pytest.approx(sum(low for low, _ in ends) / 3), pytest.approx(sum(high for _, high in ends) / 3),
    )  # fmt: skip
    assert (found.verdict, found.tolerance) == ("compatible", pytest.approx(expected + 0.005))


def test_the_statistics_of_attention_have_no_tolerance_and_say_why():
    table = paper.load(1)
    row = next(row for row in table.rows if row.experiment == "coco-r50-1nl")
    made = record("coco-r50-1nl", {cell.column: cell.value for cell in row.cells})
    metrics = [
        metric if COLUMNS[metric.name].unit == "%" else metric.model_copy(update={"unit": "", "standard_error": 0.001})
        for metric in made.metrics
    ]
    found = judgement.verify(table, [made.model_copy(update={"metrics": metrics})], {}, RULES)
    cells = {v.cell.column: v for v in found.cells if v.experiment == "coco-r50-1nl"}
    assert cells["ap_box"].verdict == "compatible"
    for column in ("cos_input", "cos_output", "cos_att", "jsd_att"):
        assert cells[column].verdict == "inconclusive"
        assert cells[column].reason == f"no tolerance is declared for {COLUMNS[column].heading}"
        assert "two trainings" in cells[column].rationale
        assert cells[column].tolerance is None


@pytest.mark.parametrize("confidence", [0.6, 0.9, 0.95, 0.99])
def test_students_quantile_is_scipys(confidence):
    for n in (2, 3, 4, 5, 10, 41, 200):
        expected = scipy.stats.t.ppf(0.5 + confidence / 2, n - 1)
        assert seeds.compute_student_quantile(confidence, n - 1) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda d: d["converted"]["half_width"].pop("top5"), "top level: .*'top5' must stand either in converted or"),
        (
            lambda d: d["checkpoint"]["half_width"].update(cos_att=0.1),
            "top level: .*'cos_att' must stand either in check",
        ),
        (lambda d: d["undeclared"].update(metrics=[]), "top level: .*'cos_input' must stand either in checkpoint or"),
        (lambda d: d["retrained"]["elsewhere"].update(kinetics={}), r"retrained\.elsewhere: .*'kinetics' is not a"),
        (lambda d: d["converted"]["elsewhere"]["kinetics-val"].update(top1=0), r"converted\.elsewhere\..*than 0"),
        (lambda d: d["undeclared"].pop("rationale"), r"undeclared\.rationale: Field required"),
    ],
)
def test_tolerances_that_leave_a_column_open_are_refused(tmp_path, change, where):
    content = yaml.safe_load((TABLES / "tolerances.yaml").read_text())
    change(content)
    path = tmp_path / "tolerances.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ReproError, match=rf"tolerances\.yaml: {where}"):
        tolerances.load(path)

"""Whether ours agree with a claim: by hand, against scipy, and over simulated replications."""

from fractions import Fraction
from itertools import cycle

import numpy as np
import pytest
from samples import record
from scipy import stats

from repro.paper.expressions import Combination
from repro.records import Store
from repro.verification import integrity
from repro.verification.claims import audit
from repro.verification.claims.agreement import judge_number, judge_statement
from repro.verification.claims.uncertainty import Estimate, estimate_trained, shrink_scatter

CLAIMS = {claim.id: claim for claim in audit.load()}
BASELINE, ALL, ONE = "coco-r50-baseline", "coco-r50-gc-r16", "coco-r50-1gc"


def audit_records(tmp_path, *records):
    store = Store(tmp_path / "records")
    for made in records:
        store.add(made)
    return {audited.claim.id: audited for audited in audit.audit(tuple(CLAIMS.values()), store)}


def runs(name, *values, **changes):
    return [record(name, {"ap_box": v, "ap_mask": v - 3.5}, seed=seed, **changes) for seed, v in enumerate(values)]


@pytest.mark.parametrize(
    ("gain", "word"),
    [
        (1.3, "agrees"),
        (1.1, "agrees"),
        (0.6, "undecided"),  # 1.1 is within +-0.67 of it, and so is nothing at all
        (0.0, "disagrees"),
        (2.0, "disagrees"),
    ],
)
def test_a_printed_gain_is_compared_as_one_run_with_another(gain, word, tmp_path):
    """1.1 printed; of single runs with a standard deviation of 0.15, 2.23 * 0.15 * 2 = 0.67 is what they lie apart."""
    found = audit_records(tmp_path, *runs(ALL, 38.0 + gain), *runs(ONE, 38.0))["all-blocks-gain-box"]
    assert found.ours_verdict == word
    assert found.ours[0].half == pytest.approx(stats.t.ppf(0.975, 10) * 0.15 * 2)


def test_the_scatter_is_pooled_over_rows_and_shrunk_to_the_prior(tmp_path):
    ours, theirs = (39.3, 39.5, 39.2), (38.1, 38.0, 38.4)
    found = audit_records(tmp_path, *runs(ALL, *ours), *runs(ONE, *theirs))["all-blocks-gain-box"].ours[0]
    square = (10 * 0.15**2 + 2 * np.var(ours, ddof=1) + 2 * np.var(theirs, ddof=1)) / 14
    assert found.half == pytest.approx(stats.t.ppf(0.975, 14) * np.sqrt(square * 2 * (1 + 1 / 3)))


def test_wide_scatter_earns_no_agreement(tmp_path):
    """The mean gain is none; what the paper prints lies within the interval only because the runs lie far apart."""
    found = audit_records(tmp_path, *runs(ALL, 36.0, 38.0, 40.0), *runs(ONE, 36.4, 38.0, 39.6))["all-blocks-gain-box"]
    assert found.ours[0].half > 1.2
    assert found.ours_verdict == "undecided"


def test_a_gain_that_only_wide_scatter_reaches_is_undecided(tmp_path):
    """4.0 where 1.1 is printed: within what runs that scatter so lie apart, far beyond what the prior grants."""
    found = audit_records(tmp_path, *runs(ALL, 40.1, 42.0, 43.9), *runs(ONE, 37.0, 38.0, 39.0))["all-blocks-gain-box"]
    assert found.ours[0].value == pytest.approx(4.0)
    assert 4.0 - 1.1 - 0.2 < found.ours[0].half < 4.0
    assert found.ours_verdict == "undecided"


def test_a_comparison_is_decided_by_the_interval_of_our_means(tmp_path):
    """At 95 % for the two metrics of a sentence together, each at 97.5 %."""
    limit = stats.t.ppf(1 - 0.025 / 2, 10) * 0.15 * np.sqrt(2)
    for gain, word in ((limit + 0.01, "agrees"), (limit - 0.01, "undecided"), (-limit - 0.01, "disagrees")):
        results = tmp_path / word
        found = audit_records(results, *runs(ALL, 38.0 + gain), *runs(ONE, 38.0))["all-blocks-better"]
        assert found.ours_verdict == word


def test_the_authors_weights_are_the_run_that_was_printed(tmp_path, monkeypatch):
    """Evaluated here they may lie 0.02 off, each: 1.3 is not the 1.1 that the sentence says; 1.23 might be."""
    # They released no weights of one of the two rows, so that records of such would not be admitted.
    monkeypatch.setattr(integrity, "find_contradictions", lambda record: iter(()))
    for gain, word in ((1.3, "disagrees"), (1.23, "agrees")):
        made = [*runs(ALL, 38.1 + gain, checkpoint={}), *runs(ONE, 38.1, checkpoint={})]
        found = audit_records(tmp_path / word, *made)["all-blocks-gain-box"]
        assert found.ours_verdict == word
        assert found.ours[0].half == pytest.approx(0.04)


def test_where_no_prior_is_declared_few_trainings_decide_nothing():
    few = estimate_trained([0.4, 0.5], None)
    assert "is not known" in few.reason
    three = estimate_trained([0.4, 0.5, 0.45], None)
    assert (three.reason, three.freedom) == ("", 2)
    assert three.mean_variance == pytest.approx(np.var([0.4, 0.5, 0.45], ddof=1) / 3)
    claim = next(c for c in CLAIMS.values() if any(cell.column == "cos_att" for cell in c.cells))
    unknown = dict(zip(claim.cells, cycle([few]), strict=False))
    assert judge_statement(claim.expression, unknown) == "undecided"


def test_a_count_is_exact():
    claim = CLAIMS["resnet-50-parameters"]
    (cell,) = claim.cells
    assert judge_number(claim.expression, claim.number, {cell: Estimate(Fraction("25.557"))}) == ("agrees", None)
    assert judge_number(claim.expression, claim.number, {cell: Estimate(Fraction("25.566"))}) == ("disagrees", None)


def test_mostly_needs_more_than_half_that_agree():
    claim = CLAIMS["abstract-gcnet-generally-better"]
    assert isinstance(claim.expression, Combination)
    base = {cell: Fraction(30) for cell in claim.cells}
    scatter = shrink_scatter([], 0.15, 10)

    def judge(values):
        return judge_statement(claim.expression, {c: estimate_trained([float(v)], scatter) for c, v in values.items()})

    assert judge(base) == "undecided"
    printed = {cell: Fraction(str(cell.value)) for cell in claim.cells}
    assert judge({cell: 30 + 10 * (value - 30) for cell, value in printed.items()}) == "agrees"
    assert judge({cell: 30 - 10 * (value - 30) for cell, value in printed.items()}) == "disagrees"


def draw(claim, generator, scale):
    """Estimates from one seed of a replication whose expected numbers are the printed ones."""
    deviations = {"top1": 0.1, "top5": 0.07, "ap_box": 0.15, "ap_mask": 0.15}
    made = {}
    for cell in claim.cells:
        if cell.column not in deviations:
            made[cell] = Estimate(Fraction(str(cell.value)))
            continue
        deviation = 0.25 if cell.table == 5 and cell.column == "top1" else deviations[cell.column]
        value = cell.value + scale * generator.normal(0, deviation)
        made[cell] = estimate_trained([value], shrink_scatter([[value]], deviation, 10))
    return made


def test_a_perfect_replication_rarely_disagrees():
    """One seed. Numbers: both runs scatter around the same; comparisons: ours around what is printed.

    Of 22 numbers and 35 comparisons, 20 and 6 "did not hold" when uncertainty was not asked about.
    """
    generator, rounds = np.random.default_rng(0), 40
    measured = {"ap_box", "ap_mask", "top1", "top5"}
    claims = [c for c in CLAIMS.values() if any(cell.column in measured for cell in c.cells)]
    claims = [c for c in claims if all(cell.column in measured for cell in c.cells)]
    numbers = [c for c in claims if c.printed and audit.compute(c).verdict != "does not follow"]
    statements = [c for c in claims if c.printed is None]
    wrong = {}
    for kind, chosen in (("numbers", numbers), ("statements", statements)):
        found = []
        for _ in range(rounds):
            for claim in chosen:
                if claim.printed:
                    made = draw(claim, generator, 2**0.5)
                    found.append(judge_number(claim.expression, claim.number, made, effect=True)[0])
                else:
                    found.append(judge_statement(claim.expression, draw(claim, generator, 1)))
        wrong[kind] = found.count("disagrees") / len(found)
    assert len(numbers) >= 20
    assert len(statements) >= 30
    assert wrong["numbers"] <= 0.05
    assert wrong["statements"] <= 0.05

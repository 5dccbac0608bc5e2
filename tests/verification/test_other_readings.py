"""Records of another reading of the protocol: never in the default's cells, claims, orderings, effects or verdicts."""

from __future__ import annotations

import pytest
from samples import published, record

from repro import paper
from repro.experiments import get
from repro.paper import tolerances
from repro.records import Store
from repro.rendering.status import build_status
from repro.verification import judgement, measurements
from repro.verification.claims import audit
from repro.verification.effects import paired_effects
from repro.verification.hypotheses import collect_mini
from repro.verification.integrity import find_problems

TABLE = paper.load(2)
AFTER = {"single-block-relu": "after"}
NAME = "coco-r50-1nl"


def printed(**changes):
    return record(NAME, published(TABLE, NAME), **changes)


def test_a_reading_fills_no_cell_of_the_default():
    verification = judgement.verify(TABLE, [printed(readings=AFTER)], {}, tolerances.load())
    assert {cell.verdict for cell in verification.cells} == {"not run"}
    assert verification.unused == ()  # it is of another row, not stale
    verification = judgement.verify(TABLE, [printed(readings=AFTER, seed=1), printed()], {}, tolerances.load())
    assert [row.measurement.n for row in verification.rows if row.measurement] == [1]


def test_a_reading_is_a_measurement_of_its_own():
    from repro.experiments.readings import apply

    experiment = apply(get(NAME), AFTER.items())
    found, unused = measurements.collect(
        [printed(), printed(readings=AFTER), printed(readings=AFTER, seed=1)], {NAME: experiment}, "full"
    )
    assert [measurement.n for measurement in found[NAME]] == [2]
    assert unused == []


def test_a_reading_makes_no_claim_hold_and_no_effect(tmp_path):
    store = Store(tmp_path / "records")
    for name in TABLE.experiments:
        if name == NAME:
            store.add(printed(readings=AFTER))
        elif published(TABLE, name):
            store.add(record(name, published(TABLE, name)))
    audited = {a.claim.id: a for a in audit.audit(audit.load(), store)}
    concerned = [a for a in audited.values() if any(cell.address.startswith("2/a/+1 NL/ap") for cell in a.claim.cells)]
    assert concerned
    assert {a.ours_verdict for a in concerned} == {"not measured"}
    pairs = paired_effects.pair_rows(TABLE, store.all(), "full")
    assert {pair.runs for pair in pairs if pair.row.experiment == NAME} == {()}
    assert any(pair.runs for pair in pairs)


def test_the_mini_profile_keeps_readings_apart():
    small = [
        record(NAME, {"ap_box": 90.0}, profile="mini", readings=AFTER),
        record("coco-r50-baseline", {"ap_box": 80.0}, profile="mini"),
    ]
    assert set(collect_mini(TABLE, small)) == {"coco-r50-baseline"}


def test_a_record_of_a_reading_is_current_and_without_readings_the_field_is_left_out(tmp_path):
    made, default = printed(readings=AFTER), printed()
    assert '"readings"' not in default.model_dump_json()
    assert '"readings":{"single-block-relu":"after"}' in made.model_dump_json()
    store = Store(tmp_path / "records")
    store.add(made)
    (coco,) = [holding for holding in build_status(store).holdings if holding.task == "COCO"]
    assert (coco.full, coco.stale) == (1, 0)


@pytest.mark.parametrize("readings", [{}, AFTER])
def test_a_full_size_record_that_claims_the_mini_profile_is_found(readings):
    from repro.experiments.readings import get_experiment

    full = get_experiment(NAME, "full", readings.items()).spec_hash
    wrong = record(NAME, {"ap_box": 1.0}, profile="mini", readings=readings, spec_hash=full)
    texts = [problem.text for problem in find_problems({wrong.filename: wrong}, {})]
    assert any("the full-size network" in text for text in texts)

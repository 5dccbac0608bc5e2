"""Records of another reading of the protocol: never in the default's cells, claims, orderings, effects or verdicts."""

from __future__ import annotations

import csv
import io
import json

import pytest
from samples import published, record

from repro import cli, paper
from repro.evaluation import ATTENTION_EVALUATOR
from repro.experiments import get
from repro.paper import tolerances
from repro.records import Metric, Store
from repro.rendering import report, tables
from repro.rendering.status import build_status
from repro.verification import judgement, measurements, other_readings
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
    assert [m.n for row in verification.rows for _, m in row.measurements] == [1]


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


def test_a_reading_is_a_row_of_its_own_with_deltas_and_without_a_verdict():
    shifted = {column: value + 0.3 for column, value in published(TABLE, NAME).items()}
    made = [record(NAME, shifted, readings=AFTER, seed=seed) for seed in (0, 1)]
    (row,) = other_readings.list_reading_rows(TABLE, [printed(), *made])
    assert (row.group.name, row.row.label, row.name, row.measurement.n) == ("a", "+1 NL", "single-block-relu=after", 2)
    assert {value.delta for value in row.values} == {0.3}
    assert {value.cell.column for value in row.values} == set(published(TABLE, NAME))
    assert "verdict" not in json.dumps(row.as_dict()["cells"])


def test_each_way_of_measuring_has_a_row():
    made = [printed(readings=AFTER), printed(readings=AFTER, engine="detectron2")]
    rows = other_readings.list_reading_rows(TABLE, made)
    assert {row.way for row in rows} == {"trained here, torchvision", "trained here, detectron2"}


def test_a_part_of_the_images_has_no_difference():
    (row,) = other_readings.list_reading_rows(TABLE, [printed(readings=AFTER, evaluated=80)])
    assert {value.delta for value in row.values} == {None}
    assert row.values[0].shortfall == "80 of 5000 images were evaluated"


def test_the_text_says_why_there_is_no_difference():
    (row,) = other_readings.list_reading_rows(TABLE, [printed(readings=AFTER, evaluated=80)])
    assert str(row).endswith("; 80 of 5000 images were evaluated")


def test_each_way_of_measuring_a_reading_has_a_row():
    name, few = "coco-r50-gc-r16", {"proposals": "1000"}
    made = [record(name, {"ap_box": 39.0}, readings=few), record(name, {"ap_box": 39.4}, readings=few, checkpoint={})]
    rows = [row for row in other_readings.list_reading_rows(TABLE, made) if row.row.label == "+all GC"]
    assert {(row.way.split(",")[0], row.values[0].ours) for row in rows} == {
        ("trained here", 39.0),
        ("authors' weights", 39.4),
    }
    assert {row.as_dict()["way"] for row in rows} == {row.way for row in rows}


def test_six_images_are_all_that_a_reading_of_six_asks_for():
    table, reading = paper.load(1), {"attention-images": "six"}
    accuracy = record(NAME, {"ap_box": 38.0}, readings=reading)
    values = {"cos_input": 0.4, "cos_att": 0.001}
    statistics = record(
        NAME, {}, readings=reading, evaluator=ATTENTION_EVALUATOR, evaluated=6, training=accuracy.training,
        weights=accuracy.weights,
        metrics=[Metric(name=k, value=v, unit="", n=6, standard_error=0.01) for k, v in values.items()],
    )  # fmt: skip
    (row,) = other_readings.list_reading_rows(table, [accuracy, statistics])
    printed_cells = {cell.column: cell.value for cell in row.row.cells}
    deltas = {value.cell.column: value.delta for value in row.values}
    assert deltas["cos_att"] == pytest.approx(round(0.001, 4) - printed_cells["cos_att"], abs=1e-9)


def test_a_reading_that_this_version_does_not_have_is_named_as_unused():
    gone = printed(readings=AFTER, seed=1).model_copy(update={"readings": {"single-block-relu": "beside"}})
    old = printed(readings=AFTER, spec_hash="1" * 64)
    verification = judgement.verify(TABLE, [gone, old], {}, tolerances.load())
    reasons = {unused.filename: unused.reason for unused in verification.unused}
    assert "no such reading of coco-r50-1nl: single-block-relu=beside" in reasons[gone.filename]
    assert "the network or the recipe has changed" in reasons[old.filename]


def test_every_format_shows_the_row_below_the_defaults_and_says_that_it_has_no_verdict(tmp_path):
    store = Store(tmp_path / "records")
    shifted = {column: value + 0.3 for column, value in published(TABLE, NAME).items()}
    store.add(record(NAME, shifted, readings=AFTER))
    store.add(record("coco-r50-1gc", {"ap_box": 90.0}, profile="mini", readings=AFTER))
    markdown = tables.render(TABLE, store, "md")
    (line,) = [line for line in markdown.splitlines() if line.startswith("| reading single-block-relu=after")]
    ap = published(TABLE, NAME)["ap_box"] + 0.3
    assert f"{ap:.1f} (+0.3)" in line
    assert not any(mark in line for mark in tables.MARKS["md"].values())
    assert "no verdict, for who chooses a reading" in markdown
    default = tables.render(TABLE, Store(tmp_path / "nothing"), "md")
    assert markdown.splitlines()[4] == default.splitlines()[4]  # what is verified
    assert "224 cells not run" in default.splitlines()[4]
    assert "Mini profile, other readings" in markdown
    latex = tables.render(TABLE, store, "tex")
    assert "reading single-block-relu=after" in latex
    assert "Open points of the protocol" in latex
    lines = [line for line in csv.DictReader(io.StringIO(tables.render(TABLE, store, "csv"))) if line["reading"]]
    assert {line["verdict"] for line in lines} == {"not compared"}
    (small,) = [line for line in lines if (line["profile"], line["column"]) == ("mini", "ap_box")]
    assert (small["experiment"], small["ours"], small["reading"]) == ("coco-r50-1gc", "90.0", "single-block-relu=after")
    lines = [line for line in lines if line["profile"] != "mini"]
    assert {line["row"] for line in lines} == {"+1 NL"}
    assert {line["delta"] for line in lines} == {"0.3"}
    page = report.render(tmp_path)
    assert "reading single-block-relu=after" in page
    assert f"{ap:.1f} (+0.3)" in page


def test_verify_and_explain_tell_of_it(tmp_path, capsys, monkeypatch):
    Store(tmp_path / "records").add(printed(readings=AFTER))
    for arguments, expected in (
        (
            ["verify", "--table", "2"],
            "no verdict: Table 2(a), +1 NL, reading single-block-relu=after, trained here, torchvision: AP box 38.0",
        ),
        (["explain", "2/a/+1 NL/ap_box"], "another reading single-block-relu=after: trained, seed 0"),
        (["explain", "2/a/+1 NL/ap_box"], "open point   nl-scale: divided here, not none or multiplied"),
        (["status"], "1 of other readings"),
    ):
        monkeypatch.setattr("sys.argv", ["repro", *arguments, "--results", str(tmp_path)])
        with pytest.raises(SystemExit):
            cli.main()
        assert expected in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["repro", "verify", "--table", "2", "--json", "--results", str(tmp_path)])
    with pytest.raises(SystemExit):
        cli.main()
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    (row,) = table["readings"]
    assert (row["row"], row["readings"]) == ("+1 NL", AFTER)


def test_the_mini_profile_keeps_readings_apart():
    small = [
        record(NAME, {"ap_box": 90.0}, profile="mini", readings=AFTER),
        record("coco-r50-baseline", {"ap_box": 80.0}, profile="mini"),
    ]
    assert [set(of) for _, of in collect_mini(TABLE, small)] == [{"coco-r50-baseline"}]


def test_a_record_of_a_reading_is_current_and_without_readings_the_field_is_left_out(tmp_path):
    made, default = printed(readings=AFTER), printed()
    assert '"readings"' not in default.model_dump_json()
    assert '"readings":{"single-block-relu":"after"}' in made.model_dump_json()
    store = Store(tmp_path / "records")
    store.add(made)
    (coco,) = [holding for holding in build_status(store).holdings if holding.task == "COCO"]
    assert (coco.full, coco.readings, coco.stale) == (0, 1, 0)


@pytest.mark.parametrize("readings", [{}, AFTER])
def test_a_full_size_record_that_claims_the_mini_profile_is_found(readings):
    from repro.experiments.readings import get_experiment

    full = get_experiment(NAME, "full", readings.items()).spec_hash
    wrong = record(NAME, {"ap_box": 1.0}, profile="mini", readings=readings, spec_hash=full)
    texts = [problem.text for problem in find_problems({wrong.filename: wrong}, {})]
    assert any("the full-size network" in text for text in texts)

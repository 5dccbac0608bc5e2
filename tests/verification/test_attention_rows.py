"""Table 1's rows in verdicts, claims, differences and rendered tables."""

from __future__ import annotations

import csv
import io
import re

import pytest
from samples import record

from repro import paper
from repro.evaluation import ATTENTION_EVALUATOR, EVALUATORS
from repro.experiments import digest, get, mini
from repro.records import Metric, Store, cache_key
from repro.rendering.tables import render
from repro.verification.claims import audit
from repro.verification.differences import compare_stores
from repro.verification.integrity import find_problems
from repro.verification.judgement import verify_store
from repro.verification.measurements import collect

pytestmark = pytest.mark.rounding

NAME = "coco-r50-1nl"
COLUMNS = ["cos_input", "cos_output", "cos_att", "jsd_att"]


DATA = {"coco": "coco-val2017", "kinetics": "kinetics-val"}


def attended(ordinary, values, **changes):
    """The record of such statistics in the network of another record."""
    n = ordinary.dataset.evaluated
    metrics = [Metric(name=k, value=v, unit="", n=n, standard_error=v / 50) for k, v in values.items()]
    values_sha256 = digest([ordinary.key, values, repr(changes)])
    key = cache_key(predictions=values_sha256, evaluator=ATTENTION_EVALUATOR, training=ordinary.measured_by)
    fields = {"evaluator": ATTENTION_EVALUATOR, "metrics": metrics, "predictions_sha256": values_sha256, "key": key}
    return ordinary.model_copy(update=fields | changes)


def ordinary(row, seed=0, profile="full", shift=0.0):
    """A record of the accuracy that the paper prints for a row, plus `shift`."""
    dataset = get(row.experiment).dataset
    metrics = {cell.column: cell.value + shift for cell in row.cells if cell.unit == "%"}
    size = 5000 if dataset == "coco" else 19906
    whole = {"name": DATA[dataset], "required": size, "expected": size, "evaluated": size} if profile == "full" else {}
    made = record(row.experiment, metrics, seed=seed, profile=profile, evaluator=EVALUATORS[dataset], **whole)
    weights = made.weights.model_copy(update={"sha256": digest(["weights", row.experiment, seed, profile])})
    return made.model_copy(update={"weights": weights})


def whole_store(directory, profile="full", seeds=1):
    """Every row of Table 1 as printed, the statistics half as large again."""
    store = Store(directory)
    for row in paper.load(1).rows:
        for seed in range(seeds):
            of_accuracy = ordinary(row, seed, profile)
            store.add(of_accuracy)
            values = {cell.column: 1.5 * cell.value for cell in row.cells if cell.unit == ""}
            store.add(attended(of_accuracy, values))
    return store


def test_every_row_of_the_full_profile_has_numbers_and_differences(tmp_path):
    store = whole_store(tmp_path)
    assert find_problems(store.files(), {}) == ()
    verification = verify_store(paper.load(1), store)
    assert len(verification.cells) == 44
    assert verification.unused == ()
    for cell in verification.cells:
        if cell.cell.unit == "%":
            assert cell.verdict in ("compatible", "indistinct")  # the print itself: what one seed tells of its effect
            assert cell.ours == pytest.approx(cell.cell.value)
            continue
        assert cell.ours == pytest.approx(1.5 * cell.cell.value)
        assert cell.delta == round(round(1.5 * cell.cell.value, 3) - cell.cell.value, 3)
        assert cell.standard_error == pytest.approx(cell.ours / 50)
        (file,) = cell.records
        assert store.files()[file].evaluator == ATTENTION_EVALUATOR
        assert (cell.verdict, cell.reason) == ("inconclusive", f"no tolerance is declared for {heading(cell)}")
    text = render(paper.load(1), store, "md")
    lines = text.splitlines()
    line = lines[lines.index(next(line for line in lines if line.startswith("| **E-Gaussian**"))) + 1]
    # Printed 0.402, 0.012, 0.020 and 0.011.
    assert [word in line for word in ("0.603 (+0.201)", "0.018 (+0.006)", "0.030 (+0.010)")] == [True] * 3
    assert "Mini profile" not in text


def heading(cell):
    return paper.COLUMNS[cell.cell.column].heading


def test_statistics_of_a_part_of_the_images_have_no_difference(tmp_path):
    row = paper.load(1).rows[1]
    store, of_accuracy = Store(tmp_path), ordinary(row)
    store.add(of_accuracy)
    part = of_accuracy.dataset.model_copy(update={"evaluated": 100})
    store.add(attended(of_accuracy, {"cos_att": 0.5}, dataset=part))
    found = {cell.cell.column: cell for cell in verify_store(paper.load(1), store).rows[1].cells}
    assert found["ap_box"].verdict == "compatible"
    assert (found["cos_att"].verdict, found["cos_att"].reason) == ("inconclusive", "100 of 5000 images were evaluated")
    assert (found["jsd_att"].verdict, found["jsd_att"].reason) == ("not run", "its records lack JSD att")
    assert "+0.480" not in render(paper.load(1), store, "md")


@pytest.mark.parametrize(("evaluated", "shown"), [(19000, True), (10, False)])
def test_kinetics_has_a_difference_where_nearly_all_videos_are_there(tmp_path, evaluated, shown):
    row = next(row for row in paper.load(1).rows if row.experiment == "kinetics-r50-5nl")
    store, of_accuracy = Store(tmp_path), ordinary(row)
    store.add(of_accuracy)
    some = of_accuracy.dataset.model_copy(update={"expected": evaluated, "evaluated": evaluated})
    store.add(attended(of_accuracy, {"cos_att": 0.5}, dataset=some))
    (cell,) = [
        cell
        for cell in verify_store(paper.load(1), store).cells
        if (cell.experiment, cell.cell.column) == ("kinetics-r50-5nl", "cos_att")
    ]
    assert cell.verdict == "inconclusive"
    reason = "no tolerance is declared for cos att" if shown else "10 of 19906 videos were evaluated"
    assert cell.reason == reason
    assert ("+0.496" in render(paper.load(1), store, "md")) == shown


def test_seeds_without_statistics_do_not_count_for_them(tmp_path):
    row = paper.load(1).rows[1]
    store = Store(tmp_path)
    for seed in range(3):
        store.add(ordinary(row, seed, shift=0.1 * seed))
    store.add(attended(ordinary(row, 1, shift=0.1), {"cos_att": 0.03}))
    found = {cell.cell.column: cell for cell in verify_store(paper.load(1), store).rows[1].cells}
    assert (found["ap_box"].n, found["cos_att"].n) == (3, 1)
    assert found["cos_att"].ours == 0.03


def test_statistics_of_other_weights_are_not_the_rows(tmp_path):
    row = paper.load(1).rows[1]
    store, of_accuracy = Store(tmp_path), ordinary(row)
    store.add(of_accuracy)
    weights = of_accuracy.weights.model_copy(update={"sha256": "0" * 64})
    stray = attended(of_accuracy, {"cos_att": 0.03}, weights=weights)
    store.add(stray)
    verification = verify_store(paper.load(1), store)
    assert verification.rows[1].cells[4].verdict == "not run"
    (unused,) = verification.unused
    assert unused.filename == stray.filename
    assert "no record of the accuracy of these weights" in unused.reason
    assert not unused.stale


def test_statistics_change_nothing_of_other_tables_and_comparisons(tmp_path):
    """Whatever is read of a store with the statistics' records is what is read of one without them."""
    plain, more = Store(tmp_path / "plain"), Store(tmp_path / "more")
    for profile in ("full", "mini"):
        for row in paper.load(2).rows:
            for seed in range(3):
                made = ordinary(row, seed, profile, shift=0.1 * seed)
                plain.add(made)
                more.add(made)
                late = {"created": "2027-01-01T00:00:00+00:00"}
                more.add(attended(made, {"cos_att": 0.03}, **late))
    for number in (2, 5):
        assert render(paper.load(number), more, "md") == render(paper.load(number), plain, "md")
    table = paper.load(2)
    for profile in ("full", "mini"):
        (one, _), (other, _) = (
            collect(store.all(), {n: mini.get_at_profile(n, profile) for n in table.experiments}, profile)
            for store in (plain, more)
        )
        assert {n: [m.records for m in found] for n, found in one.items()} == {
            n: [m.records for m in found] for n, found in other.items()
        }
    assert claims_of(more) == claims_of(plain)


def claims_of(store):
    """What becomes of the claims that are not about attention."""
    audited = audit.audit(audit.load(), store)
    return [one.as_dict() for one in audited if not any(cell.column in COLUMNS for cell in one.claim.cells)]


def test_claims_about_attention_are_held_against_whole_statistics(tmp_path):
    def verdicts(store):
        audited = audit.audit(audit.load(), store)
        return {one.ours_verdict for one in audited if {cell.column for cell in one.claim.cells} <= {*COLUMNS}}

    store = whole_store(tmp_path)
    assert verdicts(store) <= {"agrees", "disagrees", "undecided"}
    (file, found) = next(
        (file, record)
        for file, record in store.files().items()
        if record.experiment == NAME and record.evaluator == ATTENTION_EVALUATOR
    )
    (tmp_path / file).unlink()
    assert verdicts(store) == {"not measured"}
    part = found.dataset.model_copy(update={"evaluated": 100})
    store.add(found.model_copy(update={"dataset": part}))
    assert verdicts(store) == {"not measured"}


def test_diff_holds_statistics_against_statistics(tmp_path):
    row = paper.load(1).rows[1]
    stores = []
    for number in (0, 1):
        store, made = Store(tmp_path / str(number)), ordinary(row)
        store.add(made)
        store.add(attended(made, {"cos_att": 0.03 + number}, created=f"203{number}-01-01T00:00:00+00:00"))
        stores.append(store)
    found = compare_stores(*stores)
    assert found.same == 1
    (changed,) = found.changed
    assert [(delta.metric, delta.a, delta.b) for delta in changed.deltas] == [("cos_att", 0.03, 1.03)]
    assert (found.only_a, found.only_b) == ((), ())


def test_the_mini_profile_is_shown_beside_the_paper_and_never_as_a_difference(tmp_path):
    store = whole_store(tmp_path, "mini", seeds=2)
    table = paper.load(1)
    assert {cell.verdict for cell in verify_store(table, store).cells} == {"not run"}
    about = render(table, store, "md")
    assert "COCO: trained for 382 iterations, 512 images evaluated; Kinetics: trained for 600 iterations" in about
    assert "480 videos evaluated. Mean" in about
    for format in ("md", "tex"):
        text = render(table, store, format)
        mini_section = text[text.index("Mini profile: NOT comparable") :]
        for row in table.rows:
            assert row.experiment in mini_section.replace("\\", "")
            for cell in row.cells:
                if cell.unit == "":
                    assert cell.printed in mini_section
                    assert f"{1.5 * cell.value:.4f}" in mini_section
        part = mini_section[mini_section.index("Mean distances") :].split("\n#")[0].split("Tolerances")[0]
        assert not re.search(r"[+−]\d|\(-?\d", part), part
    rows = list(csv.DictReader(io.StringIO(render(table, store, "csv"))))
    mini_rows = [row for row in rows if row["profile"] == "mini" and row["column"] in COLUMNS]
    assert len(mini_rows) == 28
    assert not any(row["delta"] for row in mini_rows)

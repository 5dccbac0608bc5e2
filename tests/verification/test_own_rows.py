"""Rows of the user's own: placed beside the paper's, compared with any, and no part of what is verified."""

from __future__ import annotations

import csv
import json
from statistics import fmean, stdev

import pytest
from forged_records import copy_committed, forge
from typer.testing import CliRunner

from repro import experiments, paper
from repro.cli import app
from repro.complexity import COUNTER
from repro.errors import ReproError
from repro.experiments import get, mini, own
from repro.records import Count, Store
from repro.rendering import tables, view
from repro.verification.effects import comparisons
from repro.verification.effects.paired_tests import PairedTests
from repro.verification.integrity import admit
from repro.verification.judgement import verify_all
from repro.verification.own_rows import find_place, list_own_rows

SEEDS = (0, 1, 2)
MINE = """
from dataclasses import replace
from repro.experiments import GC, exchange_block, get

gate = exchange_block(get("coco-r50-gc-r16"), "gate", replace(GC, ratio=2))
other = exchange_block(get("coco-r50-gc-r16-c4"), "other", replace(GC, ratio=2))
elsewhere = replace(other, name="elsewhere", stands_in="2/f")
"""


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(experiments, "_OWN", {})


@pytest.fixture
def results(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path / "results"


@pytest.fixture
def measured(results):
    """The committed records of GC and of its baseline, copied to `results`, by name and seed."""
    return copy_committed(results, ("coco-r50-gc-r16", "coco-r50-baseline"), SEEDS)


@pytest.fixture
def with_gate(results, measured):
    own.load(str(results.parent / "mine.py"))
    forge(results, mini.get_at_profile("gate", "mini"), [measured["coco-r50-gc-r16", seed] for seed in SEEDS])
    return results


def test_an_own_row_stands_in_the_group_of_what_it_was_derived_from_or_where_it_says(results):
    own.load(str(results.parent / "mine.py"))
    first = next(g.name for g in paper.load(2).groups if any(r.experiment == "coco-r50-gc-r16" for r in g.rows))
    places = {name: find_place(get(name)) for name in ("gate", "other", "elsewhere")}
    assert {name: (table.number, group.name) for name, (table, group) in places.items()} == {
        "gate": (2, first), "other": (2, "c"), "elsewhere": (2, "f"),
    }  # fmt: skip


def test_its_numbers_are_of_its_records_and_its_gains_over_the_baseline_by_seed(with_gate, measured):
    rows = list_own_rows(paper.load(2), admit(Store(with_gate / "records")).records, {}, "mini")
    gate = next(row for row in rows if row.experiment.name == "gate")
    ours = [measured["coco-r50-gc-r16", seed].require("ap_box").value for seed in SEEDS]
    theirs = [measured["coco-r50-baseline", seed].require("ap_box").value for seed in SEEDS]
    assert list(gate.measurement.values_by_seed("ap_box").values()) == ours
    assert gate.gains["ap_box"] == pytest.approx([a - b for a, b in zip(ours, theirs, strict=True)])
    assert [row.measurement for row in rows if row.experiment.name != "gate"] == [None, None]

    built = view.build(paper.load(2), Store(with_gate / "records"))
    line = next(line for line in built.mini_own.blocks[0] if line[0].text.endswith("gate"))
    gained = [a - b for a, b in zip(ours, theirs, strict=True)]
    assert line[1].text == "3"
    assert line[4].text == f"{fmean(ours):.1f} ± {stdev(ours):.1f}"
    heads = built.mini_own.header
    assert line[heads.index("AP box gained")].text == f"{fmean(gained):+.1f} ± {stdev(gained):.1f}"


def test_it_stands_below_the_papers_rows_with_its_counts_and_no_verdict(with_gate):
    store = Store(with_gate / "records")
    store.add_count(
        Count(experiment="gate", spec_hash=get("gate").spec_hash, params=45_123_456, macs=1, paper_flops=2**38,
              input_shape=[3, 8, 8], counter=COUNTER)
    )  # fmt: skip
    built = view.build(paper.load(2), store)
    group = next(s for s in built.groups if any("gate" in line[0].text for b in s.grid.blocks for line in b))
    *_, last = group.grid.blocks
    line = next(line for line in last if line[0].text.startswith("gate"))
    texts = dict(zip(group.grid.header, (text.text for text in line), strict=True))
    assert (texts["#param"], texts["FLOPs"], texts["AP box"]) == ("45.12M", "256.00G", "—")
    assert not any(text.mark or text.delta for text in line)
    assert "not published" in built.notes[line[0].notes[0] - 1]


def test_csv_has_its_numbers_in_full_precision_and_says_that_they_are_not_published(with_gate, measured):
    store = Store(with_gate / "records")
    before = tables.render(paper.load(2), store, "csv").splitlines()
    count = Count(experiment="gate", spec_hash=get("gate").spec_hash, params=45_123_456, macs=1, paper_flops=2**38,
                  input_shape=[3, 8, 8], counter=COUNTER)  # fmt: skip
    store.add_count(count)
    lines = tables.render(paper.load(2), store, "csv").splitlines()
    assert lines[: len(before) - 6] == before[:-6]  # all but those of its metrics
    rows = [row for row in csv.DictReader(lines) if row["experiment"] == "gate"]
    values = {row["column"]: row for row in rows}
    assert list(values) == ["params", "flops", "ap_box", "ap50_box", "ap75_box", "ap_mask", "ap50_mask", "ap75_mask"]
    assert (float(values["params"]["ours"]), float(values["flops"]["ours"])) == (45.123456, 256.0)
    ours = [measured["coco-r50-gc-r16", seed].require("ap75_mask").value for seed in SEEDS]
    last = values["ap75_mask"]
    assert (float(last["ours"]), float(last["spread"]), last["n"]) == (fmean(ours), pytest.approx(stdev(ours)), "3")
    assert {(row["profile"], row["published"], row["delta"], row["verdict"]) for row in rows} == {
        ("full", "", "", "not compared"), ("mini", "", "", "not compared"),
    }  # fmt: skip
    assert all(
        row["reason"].startswith("not published") and (row["row"], row["group"]) == ("gate", "a") for row in rows
    )
    assert len(last["records"].split()) == 3


def test_no_published_cell_and_no_verification_is_touched(results, with_gate):
    def state(store):
        verified = verify_all(paper.load_all(), store)
        return [verdict.as_dict() for verdict in verified.cells], verified.problems, verified.off

    after = state(Store(with_gate / "records"))
    own_files = [path for path in (with_gate / "records").iterdir() if path.name.startswith("gate.")]
    assert len(own_files) == 3
    experiments._OWN.clear()  # as a command without --with
    admitted = admit(Store(with_gate / "records"))
    assert sorted(one.file for one in admitted.foreign) == sorted(path.name for path in own_files)
    assert all("one of mine.py, which was not named with --with" in one.reason for one in admitted.foreign)
    foreign = state(Store(with_gate / "records"))
    for path in own_files:
        path.unlink()
    assert state(Store(results / "records")) == after == foreign


def test_a_wrong_own_record_fails_nothing_and_is_left_out(with_gate):
    store = Store(with_gate / "records")
    record = next(r for r in store.all() if r.experiment == "gate" and r.seed == 2)
    (store.directory / record.filename).unlink()
    store.add(record.model_copy(update={"seed": 3}))  # under another seed's name
    admitted = admit(store)
    assert [problem.record.seed for problem in admitted.own_problems if "training key" in problem.text] == [3]
    assert not verify_all((paper.load(2),), store).problems
    assert not any(r.experiment == "gate" and r.seed == 3 for r in admitted.records)


def test_it_is_compared_with_any_row_on_the_same_images_and_by_seed(with_gate):
    records = admit(Store(with_gate / "records")).records
    test = PairedTests(with_gate, None, 199, 0).test
    same = comparisons.compare_runs(comparisons.pair_experiments("gate", "coco-r50-gc-r16", records, None), test)
    assert same.runs.differs == ()
    assert {(one.median, one.low, one.high) for one in same.columns} == {(0.0, 0.0, 0.0)}
    to_baseline, theirs = (
        comparisons.compare_runs(comparisons.pair_experiments(name, "coco-r50-baseline", records, "mini"), test)
        for name in ("gate", "coco-r50-gc-r16")
    )
    assert [one.as_dict("coco-val2017") for one in to_baseline.columns] == [
        one.as_dict("coco-val2017") for one in theirs.columns
    ]
    assert [test.seed for test, _ in to_baseline.columns[0].tests] == list(SEEDS)


def test_two_records_are_compared_and_it_says_what_else_differs(with_gate, measured):
    a, b = measured["coco-r50-gc-r16", 0], measured["coco-r50-gc-r16", 1]
    runs = comparisons.pair_records(a, b)
    assert runs.differs == ("the seed",)
    found = comparisons.compare_runs(runs, PairedTests(with_gate, None, 199, 0).test)
    box = next(one for one in found.columns if one.column == "ap_box")
    assert box.median == pytest.approx(a.require("ap_box").value - b.require("ap_box").value, abs=1e-6)
    assert box.low is None  # of one pair there is no interval over seeds
    with pytest.raises(ReproError, match="is compared with itself"):
        comparisons.pair_records(a, a)


def test_verbs_take_the_file(with_gate, monkeypatch):
    monkeypatch.chdir(with_gate.parent)

    def call(*arguments):
        experiments._OWN.clear()
        return CliRunner().invoke(app, [*arguments], catch_exceptions=False).stdout

    assert "your own, in Table 2 (c) beside coco-r50-gc-r16-c4: other" in call(
        "list", "--table", "2", "--with", "mine.py"
    )
    assert "your own" not in call("list")
    table = call("table", "2", "--results", "results", "--with", "mine.py")
    assert "Rows of your own, mini profile" in table
    assert table.count("gate") == 2
    plan = call("plan", "--experiments", "mine.py:gate", "--profile", "mini", "--results", "results", "--seeds", "3")
    assert plan.count("measured  record gate.mini.trained") == 3
    effects = json.loads(
        call("effects", "--table", "2", "--with", "mine.py", "--results", "results", "--resamples", "99", "--json")
    )
    mine = next(row for row in effects if row["row"] == "gate" and row["profile"] == "mini")
    theirs = next(r for r in effects if r["experiment"] == "coco-r50-gc-r16" and r["profile"] == "mini")
    assert mine["own"]
    assert [c["median"] for c in mine["columns"]] == [c["median"] for c in theirs["columns"]]
    assert "a minus b" in call(
        "compare", "mine.py:gate", "coco-r50-baseline", "--results", "results", "--resamples", "99"
    )

"""`repro verify --require` and `--fail-on`: who asks for measurements does not pass without them."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from datetime import datetime

import pytest
from samples import count, published, record

from repro import cli, paper
from repro.errors import ReproError
from repro.records import Store
from repro.rendering.junit import write_report
from repro.verification.demands import Conclusion, choose_verdicts, count_required
from repro.verification.judgement import verify_all

TABLE = paper.load(2)


@pytest.fixture
def verify(tmp_path, monkeypatch, capsys):
    """Run `repro verify`; returns its exit code, stdout and stderr."""
    (tmp_path / "records").mkdir()

    def verify(*words):
        monkeypatch.setattr(sys, "argv", ["repro", "verify", "--results", str(tmp_path), *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    return verify


@pytest.fixture
def store(tmp_path):
    """Six numbers of the baseline, which Table 2 prints six times, as printed; two counts."""
    store = Store(tmp_path / "records")
    store.add(record("coco-r50-baseline", published(TABLE, "coco-r50-baseline")))
    store.add_count(count("coco-r50-baseline", 44_400_693, 279.44))
    return store


def test_nothing_measured_passes_only_where_nothing_is_asked(verify):
    code, out, _ = verify()
    assert code == 0
    assert out.splitlines()[0] == "0 of 282 distinct numbers measured"
    code, out, _ = verify("--require", 1)
    assert code == 1
    assert out.splitlines()[-1] == "failed: 0 distinct numbers measured where 1 are required"


def test_a_number_that_is_printed_six_times_counts_once_and_a_count_is_no_measurement(verify, store):
    assert verify("--table", 2, "--require", 6)[0] == 0
    code, out, _ = verify("--table", 2, "--require", 7)
    assert code == 1
    assert out.splitlines()[0] == (
        "6 of 108 distinct numbers measured, 2 of 36 distinct counts made; "
        "6 distinct numbers measured where 7 are required"
    )


@pytest.mark.parametrize(("share", "number"), [("5%", 6), ("5.5%", 6), ("5.6%", 7), ("100%", 108), ("0.001%", 1)])
def test_a_share_is_of_the_tables_that_were_chosen_and_rounded_up(share, number, verify, store):
    assert count_required(share, 108) == number
    code, out, _ = verify("--table", 2, "--require", share)
    assert code == (0 if number <= 6 else 1)
    if code:
        assert out.splitlines()[-1] == f"failed: 6 distinct numbers measured where {number} ({share}) are required"


@pytest.mark.parametrize("text", ["0", "0%", "109", "100.1%", "-1", "many", "1e3", "5 %", "%", "nan%", "9" * 5000, "١"])
def test_a_demand_that_cannot_be_met_is_bad_input(text, verify, store, tmp_path):
    xml = tmp_path / "report.xml"
    code, out, err = verify("--table", 2, f"--require={text}", "--junit", xml)
    assert (code, out) == (2, "")
    assert f"--require {text}: give how many distinct numbers" in err
    assert "1 to 108" in err
    assert not xml.exists()


def test_a_verdict_that_is_not_good_enough_fails_and_names_its_cells(verify, store):
    store.add(record("coco-r50-1gc", published(TABLE, "coco-r50-1gc"), evaluated=80))
    assert verify("--table", 2)[0] == 0
    code, out, _ = verify("--table", 2, "--fail-on", "inconclusive")
    # +1 GC is printed in (a) as such and elsewhere as the same network under other names
    printed = sum(cell.unit == "%" for row in TABLE.rows if row.experiment == "coco-r50-1gc" for cell in row.cells)
    assert code == 1
    assert out.splitlines()[-1] == f"failed: {printed} cells inconclusive"
    code, out, _ = verify("--table", 2, "--fail-on", "not-run", "--fail-on", "inconclusive")
    assert code == 1
    assert "  Table 2(a), +1 NL, AP box: not run: needs COCO 2017" in out.splitlines()
    assert out.splitlines()[-1].endswith(f" cells not run; {printed} cells inconclusive")


def test_a_cell_measured_in_two_ways_fails_by_either(verify, store):
    name = "coco-r50-gc-r16"
    row = next(row for row in TABLE.rows if row.experiment == name)
    near = {cell.column: cell.value for cell in row.cells if cell.unit == "%"}
    store.add(record(name, near))
    store.add(record(name, near, checkpoint={}, evaluated=80))
    code, out, _ = verify("--table", 2, "--json", "--fail-on", "inconclusive")
    found = json.loads(out)
    ways = [one["verdict"] for cell in found["tables"][0]["cells"] if cell["ways"] for one in cell["ways"]]
    assert code == 1
    assert "inconclusive" in ways
    assert set(found["failed"]) == {
        cell.address for row in TABLE.rows if row.experiment == name for cell in row.cells if cell.unit == "%"
    }


def test_json_says_what_was_asked_and_what_is_missing(verify, store):
    code, out, _ = verify("--table", 2, "--table", 4, "--json", "--require", "10%", "--fail-on", "not run")
    found = json.loads(out)
    assert code == 1
    assert found["passed"] is False
    assert found["measured"] == {"here": 6, "total": 124}
    assert found["counted"] == {"here": 2, "total": 52}
    assert (found["required"], found["fail_on"]) == (13, ["not run"])
    assert found["headline"].startswith("6 of 124 distinct numbers measured, 2 of 52 distinct counts made; ")
    assert found["failures"][-1] == "6 distinct numbers measured where 13 (10%) are required"
    assert [table["table"] for table in found["tables"]] == [2, 4]
    every = [cell for table in found["tables"] for cell in table["cells"]]
    assert len(found["failed"]) == sum(cell["verdict"] == "not run" for cell in every) == found["verdicts"]["not run"]


def test_junit_has_a_failure_for_each_thing_that_fails(verify, store, tmp_path):
    xml = tmp_path / "report.xml"
    assert verify("--table", 2, "--junit", xml)[0] == 0
    plain = ElementTree.parse(xml).getroot()
    assert not plain.findall("testsuite/testcase/failure")
    skipped = len(plain.findall("testsuite/testcase/skipped"))
    assert [suite.get("name") for suite in plain] == ["records", "Table 2"]
    assert verify("--table", 2, "--junit", xml, "--fail-on", "not-run", "--require", "7")[0] == 1
    strict = ElementTree.parse(xml).getroot()
    failures = strict.findall("testsuite/testcase/failure")
    assert skipped == len(failures) - 1  # the last is of what is required
    assert not strict.findall("testsuite/testcase/skipped")
    assert {failure.get("type") for failure in failures} == {"not run", "coverage"}
    assert failures[-1].get("message") == "6 distinct numbers measured where 7 are required"
    assert verify("--table", 2, "--junit", xml, "--require", "6")[0] == 0
    (case,) = ElementTree.parse(xml).getroot().findall("testsuite[@name='coverage']/testcase")
    assert (case.get("name"), len(case)) == ("6 distinct numbers measured", 0)


@pytest.fixture
def conclude(store):
    """Conclude from the store's verification, with other verdicts for the first cell of Table 2."""

    def conclude(fail_on=(), **changes):
        verified = verify_all((TABLE,), store)
        (verification,) = verified.verifications
        row, *rows = verification.rows
        cells = (replace(row.cells[0], **changes), *row.cells[1:])
        changed = replace(verification, rows=(replace(row, cells=cells), *rows))
        return Conclusion(replace(verified, verifications=(changed,)), fail_on=fail_on)

    return conclude


def count_failures(conclusion):
    root = ElementTree.fromstring(write_report(conclusion, datetime(2026, 1, 1)))
    return len(root.findall("testsuite/testcase/failure"))


def test_an_edited_tolerance_fails_in_junit_as_it_does_by_the_exit_code(conclude):
    conclusion = conclude(verdict="inconclusive", loosened=True)
    assert conclusion.describe_failures() == ["1 tolerance edited after the measurement"]
    assert count_failures(conclusion) == 1


def test_a_way_that_is_not_the_worst_fails_too(conclude):
    """The verdict of a cell is that of its worst way, by which another one would hide."""
    cell = conclude().verified.cells[0]
    ways = tuple(replace(cell, verdict=verdict, way=verdict) for verdict in ("indistinct", "inconclusive"))
    assert conclude(verdict="inconclusive", ways=ways).passed
    conclusion = conclude(("indistinct",), verdict="inconclusive", ways=ways)
    assert not conclusion.passed
    assert conclusion.describe_failures() == ["1 cell indistinct"]
    assert [failed.cell for failed in conclusion.failed] == [cell.cell]
    assert count_failures(conclusion) == 1


def test_the_summary_begins_with_the_coverage_and_what_fails(verify, store, tmp_path):
    path = tmp_path / "summary.md"
    assert verify("--summary", path)[0] == 0
    assert path.read_text().splitlines()[0] == (
        "## Verification against the paper: ✓ 6 of 282 distinct numbers measured, 2 of 74 distinct counts made; "
        "0 cells off"
    )
    path.unlink()
    assert verify("--summary", path, "--require", "50%")[0] == 1
    assert path.read_text().splitlines()[0].startswith("## Verification against the paper: ✗ 6 of 282 distinct")
    assert "; 6 distinct numbers measured where 141 (50%) are required" in path.read_text().splitlines()[0]


def test_counts_alone_are_no_pass_in_the_summary(verify, tmp_path):
    Store(tmp_path / "records").add_count(count("coco-r50-baseline", 44_400_693, 279.44))
    path = tmp_path / "summary.md"
    code, out, _ = verify("--summary", path)
    assert code == 0
    assert path.read_text().startswith("## Verification against the paper: – 0 of 282 distinct numbers measured, 2 of")
    assert out.splitlines()[-1].startswith("no number was measured")


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("off", "always fails"),
        ("conflict", "always fails"),
        ("compatible", "agrees with the print"),
        ("match", "agrees with the print"),
        ("not-runn", "did you mean not-run"),
        ("", "known: not-run"),
    ],
)
def test_what_is_no_choice_is_said(word, reason):
    with pytest.raises(ReproError, match=reason):
        choose_verdicts([word])


def test_a_verdict_is_named_in_its_own_words_or_with_a_hyphen():
    assert choose_verdicts(["not-run", "not run", "ledger"]) == ("not run", "ledger")

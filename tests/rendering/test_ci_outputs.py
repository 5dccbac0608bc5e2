"""What `repro verify` writes for machines: JUnit's XML and a job's summary."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from datetime import datetime

import pytest
from samples import published, record

from repro import cli, paper
from repro.records import Store
from repro.rendering import junit, summary
from repro.verification.demands import Conclusion
from repro.verification.judgement import verify_all

TABLES = paper.load_all()
TABLE = paper.load(2)

#: Ant's schema (windyroad's JUnit.xsd): attributes that each element must have, and the order of a suite's children.
REQUIRED = {
    "testsuites": set(),
    "testsuite": {"name", "timestamp", "hostname", "tests", "failures", "errors", "time", "package", "id"},
    "testcase": {"name", "classname", "time"},
    "failure": {"type"},
    "skipped": set(),
    "properties": set(),
    "system-out": set(),
    "system-err": set(),
}
ALLOWED = {**REQUIRED, "testsuite": REQUIRED["testsuite"] | {"skipped"}, "failure": {"type", "message"}}
ALLOWED["skipped"] = {"message"}


@pytest.fixture
def store(tmp_path):
    """+1 NL off in one cell, +1 GC on 80 images, a ratio that agrees, a seed whose key was edited."""
    store = Store(tmp_path / "records")
    store.add(record("coco-r50-1nl", {**published(TABLE, "coco-r50-1nl"), "ap_box": 36.1}))
    store.add(record("coco-r50-1gc", published(TABLE, "coco-r50-1gc"), evaluated=80))
    store.add(record("coco-r50-gc-r8", published(TABLE, "coco-r50-gc-r8")))
    store.add(record("coco-r50-gc-r4", published(TABLE, "coco-r50-gc-r4"), key="7" * 64))
    store.add(record("coco-r50-gc-r32", published(TABLE, "coco-r50-gc-r32"), spec_hash="0" * 64))
    return store


@pytest.fixture
def verified(store):
    return verify_all(TABLES, store)


@pytest.fixture
def root(verified):
    return ElementTree.fromstring(junit.write_report(Conclusion(verified), datetime(2026, 1, 2, 3, 4, 5)))


def test_junit_keeps_to_the_common_schema(root):
    assert root.tag == "testsuites"
    for element in root.iter():
        assert REQUIRED[element.tag] <= set(element.keys()) <= ALLOWED[element.tag]
    for number, suite in enumerate(root):
        tags = [child.tag for child in suite]
        assert tags[0] == "properties"
        assert tags[-2:] == ["system-out", "system-err"]
        assert set(tags[1:-2]) == {"testcase"}
        assert suite.get("id") == str(number)
        assert suite.get("timestamp") == "2026-01-02T03:04:05"
        assert int(suite.get("tests")) == len(suite.findall("testcase"))
        assert int(suite.get("failures")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("skipped")) == len(suite.findall("testcase/skipped"))
        for case in suite.findall("testcase"):
            assert len(case) <= 1


def test_junit_has_a_case_for_every_cell_and_each_once(root):
    suites = {suite.get("name"): suite for suite in root}
    assert [len(suites[f"Table {n}"].findall("testcase")) for n in range(1, 6)] == [44, 224, 147, 40, 20]
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(set(names)) == len(names)


def case(root, row, column="AP box", group="a"):
    found = (
        c
        for c in root.iter("testcase")
        if (c.get("classname"), c.get("name")) == (f"table2.{group}", f"{row}, {column}")
    )
    return next(found)


def test_junit_passes_only_what_agrees(root, verified):
    off = case(root, "+1 NL").find("failure")
    assert off.get("message").startswith("Table 2(a), +1 NL, AP box: off: published 38.0, ours 36.10")
    assert "record: coco-r50-1nl.full.trained.seed0" in off.text
    unclear = case(root, "+1 GC").find("skipped")
    assert "inconclusive" in unclear.get("message")
    assert "80 of 5000 images were evaluated" in unclear.get("message")
    assert "needs COCO 2017" in case(root, "baseline").find("skipped").get("message")
    assert len(case(root, "ratio 8", group="e")) == 0
    passed = sum(len(c) == 0 for c in root.iter("testcase"))
    assert passed == sum(cell.verdict in ("compatible", "match", "ledger") for cell in verified.cells)


def test_junit_fails_a_record_that_is_not_what_it_says(root):
    (suite,) = (suite for suite in root if suite.get("name") == "records")
    (found,) = suite.findall("testcase")
    assert found.get("name").startswith("coco-r50-gc-r4.full.trained.seed0.777777777777")
    assert "its key is not that of" in found.find("failure").get("message")


def test_junit_of_a_sound_store_has_a_case_that_passes(tmp_path):
    root = ElementTree.fromstring(junit.write_report(Conclusion(verify_all(TABLES, Store(tmp_path))), datetime.now()))
    (found,) = root[0].findall("testcase")
    assert len(found) == 0
    assert not root.findall("testsuite/testcase/failure")


def test_what_xml_cannot_hold_is_written_as_an_escape(tmp_path):
    store = Store(tmp_path / "records")
    made = record("coco-r50-1nl", published(TABLE, "coco-r50-1nl"), departures=["bell \x07 <&> \ud7ff ]]>"])
    store.add(made)
    root = ElementTree.fromstring(junit.write_report(Conclusion(verify_all((TABLE,), store)), datetime.now()))
    message = case(root, "+1 NL").find("skipped").get("message")
    assert r"bell \x07 <&>" in message


def test_the_summary_has_coverage_the_cells_that_need_a_look_and_why(verified):
    text = summary.write_summary(Conclusion(verified))
    lines = text.splitlines()
    assert lines[0] == (
        "## Verification against the paper: ✗ 18 of 282 distinct numbers measured; 2 cells off; 1 problem with records"
    )
    assert "| Table 2 | 224 | 9 | 2 | 0 | 0 | 1 | 0 | 12 | 200 |" in lines
    assert any(line.startswith("| Table 2 (a) +1 NL, AP box | 38.0 | 36.10 | -1.9 | 0.52 |") for line in lines)
    assert any("80 of 5000 images were evaluated" in line for line in lines)
    assert any(line.startswith("- `coco-r50-gc-r4.full.") and "its key is not" in line for line in lines)
    assert any(line.startswith("- `coco-r50-gc-r32.full.") and "stale" in line for line in lines)
    assert "repro explain '1/COCO/E-Gaussian/ap_box'" in lines[-1]
    grids = [line for line in lines if line.startswith("|")]
    assert all(line.count(" | ") >= 5 for line in grids)


def test_the_summary_of_nothing_is_not_a_pass(tmp_path):
    text = summary.write_summary(Conclusion(verify_all(TABLES, Store(tmp_path))))
    assert text.startswith("## Verification against the paper: – 0 of 282 distinct numbers measured\n")
    assert "✓" not in text
    assert "- Table 4, 20 cells: needs ImageNet" in text


def test_quoted_text_cannot_leave_its_cell(tmp_path):
    store = Store(tmp_path / "records")
    hostile = "a | b <img src=x> **c** [d](e)\nnew line `f`"
    store.add(record("coco-r50-1nl", published(TABLE, "coco-r50-1nl"), departures=[hostile]))
    text = summary.write_summary(Conclusion(verify_all((TABLE,), store)))
    line = next(line for line in text.splitlines() if "another recipe" in line)
    assert r"a \| b \<img src=x> \*\*c\*\* \[d\](e)\\nnew line `f`" in line


def call(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["repro", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return exit_.value.code


def test_the_files_are_written_and_the_summary_is_appended(monkeypatch, tmp_path, store, capsys):
    xml, text = tmp_path / "reports" / "verify.xml", tmp_path / "summary.md"
    text.write_text("of another step\n")
    arguments = ("verify", "--results", tmp_path, "--junit", xml, "--summary", text)
    assert call(monkeypatch, *arguments) == 1
    assert ElementTree.parse(xml).getroot().tag == "testsuites"
    assert text.read_text().startswith("of another step\n## Verification against the paper")
    assert "off" in capsys.readouterr().out
    call(monkeypatch, *arguments)
    assert text.read_text().count("## Verification") == 2


def test_a_summary_that_cannot_be_written_is_told(monkeypatch, tmp_path, capsys):
    assert call(monkeypatch, "verify", "--results", tmp_path, "--summary", tmp_path) == 2
    assert "error: cannot write" in capsys.readouterr().err

"""A number that is as near to no effect as to its print has one word in every output, and counts as no agreement."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from datetime import datetime, timezone

import pytest
from samples import record

from repro import cli, paper
from repro.records import Store
from repro.rendering import junit, report, summary, tables
from repro.verification.demands import Conclusion
from repro.verification.judgement import verify_all

WHY = "within the tolerance of the baseline's 37.2 as well: it shows no effect of the row"
HEADLINE = "6 of 108 distinct numbers measured: 5 cells compatible with the print, 1 indistinct from no effect; "


@pytest.fixture
def results(tmp_path):
    """One GC block: 38.1 printed, 37.2 of the baseline, 37.7 ours."""
    Store(tmp_path / "records").add(record("coco-r50-1gc", {"ap_box": 37.7}))
    return tmp_path


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["repro", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return exit_.value.code or 0, capsys.readouterr().out


def test_on_the_terminal_and_as_json(results, monkeypatch, capsys):
    code, out = call(monkeypatch, capsys, "verify", "--table", 2, "--results", results)
    assert code == 0
    headline, first, second = out.splitlines()
    assert headline == "6 of 108 distinct numbers measured; 0 cells off"
    assert first.startswith(f"Table 2: {HEADLINE}0 of 36 distinct counts made; 0 off; 218 cells not run (")
    assert second == f"  Table 2(a), +1 GC, AP box: indistinct: published 38.1, ours 37.70 (-0.4): {WHY}"
    code, out = call(monkeypatch, capsys, "verify", "--table", 2, "--results", results, "--json")
    (table,) = json.loads(out)["tables"]
    (found,) = [cell for cell in table["cells"] if cell["verdict"] == "indistinct"]
    assert (code, found["reason"]) == (0, WHY)
    _, out = call(monkeypatch, capsys, "status", "--results", results)
    head, table = (line.split() for line in (out.splitlines()[0], out.splitlines()[2]))
    assert table[2:][head[1:].index("indistinct")] == "1"
    _, out = call(monkeypatch, capsys, "explain", "2/a/+1 GC/ap_box", "--results", results)
    assert f"verdict      indistinct: {WHY}" in out


def test_in_continuous_integration_it_does_not_pass(results):
    verified = Conclusion(verify_all(paper.load_all(), Store(results / "records")))
    root = ElementTree.fromstring(junit.write_report(verified, datetime(2026, 1, 1, tzinfo=timezone.utc)))
    (case,) = [case for case in root.iter("testcase") if "+1 GC, AP box" in case.get("name")]
    assert "indistinct" in case.find("skipped").get("message")
    assert case.find("failure") is None
    text = summary.write_summary(verified)
    assert "### Indistinct: within tolerance of the print, and of no effect" in text
    assert "+1 GC, AP box | 38.1 | 37.70 | -0.4 | 0.52 |" in text


def test_in_tables_and_the_report(results):
    table, store = paper.load(2), Store(results / "records")
    text = tables.render(table, store, "md")
    assert "∼ indistinct (within tolerance of the print, and of no effect)" in text
    assert "37.7 (-0.4) ∼" in text
    assert f"indistinct: {WHY}" in text
    assert HEADLINE in text
    text = tables.render(table, store, "tex")
    assert r"$\sim$~indistinct" in text
    assert r"37.7" in text
    lines = list(csv.DictReader(io.StringIO(tables.render(table, store, "csv"))))
    assert [line["reason"] for line in lines if line["verdict"] == "indistinct"] == [WHY]
    page = report.render(results)
    assert '<span class="mark indistinct"><span aria-hidden="true">∼</span> indistinct</span>' in page
    assert '<path class="indistinct"' in page


def test_every_verdict_has_a_mark_and_a_word_everywhere():
    from repro.verification.verdicts import VERDICTS

    assert set(report.SYMBOLS) == set(report.WORDS) == set(VERDICTS)
    for marks in tables.MARKS.values():
        assert set(marks) == set(VERDICTS) - {"not run"}
        assert len(set(marks.values())) == len(marks)

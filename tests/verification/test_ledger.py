"""Verdicts on complexity cells, and the ledger of those that the count does not give."""

from __future__ import annotations

import pytest
import yaml

from repro import paper
from repro.errors import ReproError
from repro.records import Count
from repro.verification import ledger
from repro.verification.ledger import Ledger, judge_flops, judge_params


def cell(row: str, column: str, group: str = "a"):
    return next(c for c in paper.load(2).cells if (c.group, c.row, c.column) == (group, row, column))


def counted(params: int = 1, paper_flops: int = 1) -> Count:
    return Count(
        experiment="coco-r50-1snl", spec_hash="0" * 64, params=params, macs=1, paper_flops=paper_flops,
        input_shape=[3, 800, 1344], counter="test",
    )  # fmt: skip


ENTRY = {
    "table": 2, "group": "a", "row": "+1 SNL", "column": "params", "printed": "45.4M", "ours": 45_451_318,
    "reason": "It truncates.", "ruled_out": ["No bias."],
}  # fmt: skip


@pytest.fixture
def written(tmp_path):
    def write(*entries) -> Ledger:
        path = tmp_path / f"ledger{len(list(tmp_path.iterdir()))}.yaml"
        path.write_text(yaml.safe_dump(list(entries)))
        return ledger.load(path)

    return write


@pytest.fixture
def empty(written):
    return written()


@pytest.mark.parametrize(
    ("params", "verdict", "how"),
    [
        (45_350_000, "match", "rounded"),
        (45_400_000, "match", "rounded"),
        (45_449_999, "match", "rounded"),
        (45_450_000, "match", "truncated"),
        (45_499_999, "match", "truncated"),
        (45_500_000, "off", "45,500,000 is not 45.4M by any rule"),
        (45_349_999, "off", "45,349,999 is not 45.4M by any rule"),
    ],
)
def test_parameters_match_rounded_or_truncated(empty, params, verdict, how):
    found = judge_params(cell("+1 SNL", "params"), counted(params), empty)
    assert (found.verdict, found.how, found.entry) == (verdict, how, None)
    assert found.delta == pytest.approx(params / 1e6 - 45.4)


@pytest.mark.parametrize(
    ("flops", "verdict"),
    [
        (279.4, "match"),
        (279.4999, "match"),
        (279.3001, "match"),
        (279.501, "off"),
        (279.299, "off"),
    ],
)
def test_operations_match_within_one_printed_digit_of_two_to_the_thirty(empty, flops, verdict):
    found = judge_flops(cell("+1 SNL", "flops"), counted(paper_flops=round(flops * 2**30)), empty)
    assert found.verdict == verdict
    assert found.delta == pytest.approx(flops - 279.4, abs=1e-9)


def test_the_printed_g_is_not_ten_to_the_nine(empty):
    assert judge_flops(cell("baseline", "flops"), counted(paper_flops=279_400_000_000), empty).verdict == "off"


def test_an_entry_explains_a_cell_that_would_be_off(written):
    explained = written({**ENTRY, "ours": 45_600_000})
    found = judge_params(cell("+1 SNL", "params"), counted(45_600_000), explained)
    assert (found.verdict, found.how) == ("ledger", "It truncates.")
    assert found.entry.ruled_out == ["No bias."]


def test_a_truncated_match_stays_a_match_with_its_entry(written):
    found = judge_params(cell("+1 SNL", "params"), counted(45_451_318), written(ENTRY))
    assert (found.verdict, found.how, found.entry.reason) == ("match", "truncated", "It truncates.")


def test_an_entry_speaks_for_its_own_cell_only(written):
    other = judge_params(cell("+1 GC", "params"), counted(45_451_318), written(ENTRY))
    assert (other.verdict, other.entry) == ("off", None)


def test_a_stale_entry_is_an_error(written):
    with pytest.raises(ReproError, match=r"stale: Table 2\(a\), \+1 SNL.* says 45,451,318, the count is 45,451,319"):
        judge_params(cell("+1 SNL", "params"), counted(45_451_319), written(ENTRY))


def test_an_entry_that_no_cell_needs_is_an_error(written):
    with pytest.raises(ReproError, match=r"\+1 SNL.*needs no entry"):
        judge_params(cell("+1 SNL", "params"), counted(45_400_000), written({**ENTRY, "ours": 45_400_000}))
    flops = {**ENTRY, "column": "flops", "printed": "279.4G", "ours": 300_050_091_293}
    with pytest.raises(ReproError, match=r"\+1 SNL.*within 0.1 G.*needs no entry"):
        judge_flops(cell("+1 SNL", "flops"), counted(paper_flops=300_050_091_293), written(flops))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ours": 45.4}, "ours"),
        ({"ours": -1}, "ours"),
        ({"reason": ""}, "reason"),
        ({"ruled_out": []}, "ruled_out"),
        ({"column": "ap_box"}, "column"),
        ({"note": "x"}, "note"),
        ({"row": "+2 SNL"}, "no such cell"),
        ({"table": 7}, "table: "),
        ({"printed": "45.5M"}, "the paper prints '45.4M'"),
    ],
)
def test_a_malformed_entry_is_named(written, change, message):
    with pytest.raises(ReproError, match=message) as error:
        written(ENTRY | {"row": "c5", "group": "c", "printed": "45.9M", "ours": 45_987_000}, ENTRY | change)
    assert "entry 2" in str(error.value)


def test_a_missing_key_is_named(written):
    with pytest.raises(ReproError, match=r"entry 1 \(table 2, group 'a', row '\+1 SNL', column 'params'\): reason"):
        written({key: value for key, value in ENTRY.items() if key != "reason"})


def test_two_entries_for_one_cell_are_refused(written):
    with pytest.raises(ReproError, match=r"entry 2 .*has an entry already"):
        written(ENTRY, ENTRY)


@pytest.mark.parametrize(
    ("content", "message"),
    [("- {table: 2", "not whole, valid YAML"), ("table: 2", "must be a list"), ("- 3", "entry 1"), ("\x00", "YAML")],
)
def test_a_file_that_is_no_ledger_is_named(tmp_path, content, message):
    path = tmp_path / "ledger.yaml"
    path.write_text(content)
    with pytest.raises(ReproError, match=message) as error:
        ledger.load(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ReproError, match=r"nowhere\.yaml cannot be read: it does not exist"):
        ledger.load(tmp_path / "nowhere.yaml")


def test_the_shipped_ledger_stays_short():
    entries = ledger.load().entries
    assert sum(entry.column == "params" for entry in entries) <= 6
    assert sum(entry.column == "flops" for entry in entries) <= 7

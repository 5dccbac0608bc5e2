"""Coverage: every cell is counted once, and the line says why cells have no verdict."""

from __future__ import annotations

from repro import paper
from repro.paper import tolerances
from repro.verification.coverage import Coverage
from repro.verification.judgement import verify
from repro.verification.verdicts import VERDICTS, CellVerdict

CELLS = paper.load(5).cells


def judged(*verdicts: tuple[str, str]) -> Coverage:
    cells = zip(CELLS, verdicts, strict=False)
    return Coverage.count([CellVerdict(cell, "x", verdict, reason) for cell, (verdict, reason) in cells])


def test_every_verdict_is_counted_with_its_reasons():
    coverage = judged(("compatible", ""), ("off", "far"), ("ledger", "known"), ("not run", "a"), ("not run", "a"))
    assert [coverage[verdict] for verdict in VERDICTS] == [1, 0, 1, 1, 0, 2]
    assert coverage.total == 5
    assert coverage.reasons["not run"] == {"a": 2}
    assert coverage.describe() == (
        "1 of 3 measured numbers compatible with the print, 0 of 2 counts match, 1 off, 1 explained in the ledger, "
        "2 not run: a"
    )


def test_several_reasons_are_listed_the_most_common_first():
    coverage = judged(("not run", "a"), ("not run", "b"), ("not run", "b"), ("inconclusive", "c"))
    assert coverage.describe() == (
        "0 of 2 measured numbers compatible with the print, 0 of 2 counts match, 0 off, 1 inconclusive: c, "
        "3 not run (2: b; 1: a)"
    )


def test_without_records_nothing_is_verified():
    coverage = Coverage.count(verify(paper.load(5), [], {}, tolerances.load()).cells)
    assert coverage["not run"] == coverage.total == 20


def test_no_cells():
    assert Coverage.count([]).describe() == "0 off"

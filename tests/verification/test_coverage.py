"""Coverage: every cell is counted once, and the line says why cells have no verdict."""

from __future__ import annotations

from places import REFERENCE
from samples import PARAMS, count, published, record

from repro import paper
from repro.paper import tolerances
from repro.records import Store
from repro.verification.coverage import Coverage
from repro.verification.judgement import verify, verify_all
from repro.verification.verdicts import VERDICTS, CellVerdict

CELLS = paper.load(5).cells


def judged(*verdicts: tuple[str, str]) -> Coverage:
    cells = zip(CELLS, verdicts, strict=False)
    return Coverage.count([CellVerdict(cell, "x", verdict, reason) for cell, (verdict, reason) in cells])


def test_every_verdict_is_counted_with_its_reasons():
    coverage = judged(("compatible", ""), ("off", "far"), ("ledger", "known"), ("not run", "a"), ("not run", "a"))
    assert [coverage[verdict] for verdict in VERDICTS] == [1, 0, 0, 1, 1, 0, 0, 2]
    assert coverage.total == 5
    assert coverage.reasons["not run"] == {"a": 2}
    assert coverage.describe() == (
        "0 of 2 distinct numbers measured; 0 of 2 distinct counts made; 1 off; 2 cells not run: a"
    )


def test_several_reasons_are_listed_the_most_common_first():
    coverage = judged(("not run", "a"), ("not run", "b"), ("not run", "b"), ("inconclusive", "c"))
    assert coverage.describe() == (
        "0 of 2 distinct numbers measured; 0 of 2 distinct counts made; 1 cell inconclusive: c; "
        "3 cells not run (2: b; 1: a)"
    )


def test_a_number_that_stands_in_many_rows_is_one_and_what_is_counted_is_said_apart():
    """Table 2 prints the baseline six times: 18 networks, six metrics and two counts of each."""
    table = paper.load(2)
    made = [count(name, PARAMS.get(name, 1), 1.0) for name in ("coco-r50-baseline",)]
    made = [one.model_copy(update={"paper_flops": round(279.4 * 2**30)}) for one in made]
    measured = record("coco-r50-baseline", published(table, "coco-r50-baseline"))
    verdicts = verify(table, [measured], {one.spec_hash: one for one in made}, tolerances.load())
    coverage = Coverage.count(verdicts.cells)
    assert (coverage.measured.here, coverage.measured.total) == (6, 18 * 6)
    assert (coverage.counted.here, coverage.counted.total) == (2, 18 * 2)
    assert coverage.describe().startswith(
        "6 of 108 distinct numbers measured: 36 cells compatible with the print; 2 of 36 distinct counts made: "
        "12 cells print the same; 0 off; 176 cells not run ("
    )


def test_all_counts_of_the_paper_as_they_are_committed():
    """95 print the same, 9 within the rule (6 FLOPs one digit off, 3 parameters truncated), 3 in the ledger."""
    verdicts = verify_all(paper.load_all(), Store(REFERENCE / "records")).cells
    text = Coverage.count(verdicts).describe()
    assert text.startswith(
        "0 of 282 distinct numbers measured; 74 of 74 distinct counts made: 95 cells print the same, 9 within the rule "
        "for counts, 3 explained in the ledger; 0 off; 368 cells not run ("
    )


def test_without_records_nothing_is_verified():
    """That none of nothing is off is not said."""
    coverage = Coverage.count(verify(paper.load(5), [], {}, tolerances.load()).cells)
    assert coverage["not run"] == coverage.total == 20
    assert coverage.describe() == (
        "0 of 10 distinct numbers measured; 0 of 10 distinct counts made; 20 cells not run (10: needs Kinetics-400; "
        "10: needs `repro complexity --table 5`)"
    )


def test_no_cells():
    assert Coverage.count([]).describe() == "no cells"

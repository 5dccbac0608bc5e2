"""The page about the whole protocol has the numbers that the cost model and the timetable give."""

import runpy

from places import ROOT


def test_the_tables_of_the_page_are_what_the_code_gives():
    page = (ROOT / "docs" / "scale.md").read_text()
    for what, table in runpy.run_path(str(ROOT / "benchmarks" / "scale.py"))["write_all"]().items():
        assert table in page, f"docs/scale.md, {what}: `python benchmarks/scale.py` gives\n{table}"

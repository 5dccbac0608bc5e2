"""The page of the open points."""

from __future__ import annotations

import pytest
from places import ROOT

from repro import cli
from repro.paper import readings


def test_the_page_is_printed_from_the_file(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["repro", "readings", "--format", "md"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    page = (ROOT / "docs" / "readings.md").read_text()
    assert capsys.readouterr().out == page, "repro readings --format md > docs/readings.md"
    for point in readings.load():
        assert f"## {point.point}\n" in page
        assert all(f"**`{name}`**" in page for name in point.choices)


@pytest.mark.parametrize("option", [["--row", "2/a/+1 NL"], ["--json"]])
def test_the_page_is_of_all_points_and_refuses_what_it_would_not_heed(monkeypatch, capsys, option):
    monkeypatch.setattr("sys.argv", ["repro", "readings", "--format", "md", *option])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "--format md is the whole page: it goes with neither --row nor --json" in output.err

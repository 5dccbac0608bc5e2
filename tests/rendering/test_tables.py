"""Rendered tables: complete, aligned, deterministic, escaped; the LaTeX compiles."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from samples import PARAMS, count, published, record

from repro import cli, paper
from repro.experiments import get, mini
from repro.records import Store
from repro.rendering import tables
from repro.rendering.grid import Grid, Text, write_signed
from repro.verification import ledger

TABLE = paper.load(2)
DEVIATIONS = ["rate divided after epochs 8 and 11, not 9 and 11"]


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch, tmp_path):
    """An empty ledger, and a mini profile whose networks are the full ones by another name."""
    monkeypatch.setattr(ledger, "load", lambda: ledger.Ledger(tmp_path / "ledger.yaml", ()))
    monkeypatch.setattr(mini, "shrink", lambda experiment: replace(experiment, profile="mini"))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Baseline in two seeds, +1 NL off in one cell, +1 GC on 80 images, counts of five networks, a mini profile."""
    store = Store(tmp_path_factory.mktemp("results") / "records")
    for seed, delta in ((0, -0.03), (1, 0.03)):
        metrics = {name: value + delta for name, value in published(TABLE, "coco-r50-baseline").items()}
        store.add(record("coco-r50-baseline", metrics, seed=seed, deviations=DEVIATIONS))
    wrong = {**published(TABLE, "coco-r50-1nl"), "ap_box": 36.1}
    store.add(record("coco-r50-1nl", wrong, deviations=DEVIATIONS))
    store.add(record("coco-r50-1gc", published(TABLE, "coco-r50-1gc"), evaluated=80))
    store.add(record("coco-r50-1snl", published(TABLE, "coco-r50-1snl"), spec_hash="0" * 64))
    flops = {cell.row: cell.value for cell in TABLE.cells if cell.group == "a" and cell.column == "flops"}
    for (name, params), printed in zip(PARAMS.items(), flops.values(), strict=True):
        store.add_count(count(name, params, printed))
    for place, name in enumerate(TABLE.experiments):
        for seed in (0, 1, 2):
            metrics = dict.fromkeys(published(TABLE, name), 30 + place + seed + 0.1 * seed * place)
            spec_hash = replace(get(name), profile="mini").spec_hash
            store.add(record(name, metrics, seed=seed, profile="mini", spec_hash=spec_hash))
    return store


@pytest.fixture
def empty(tmp_path):
    return Store(tmp_path / "nothing")


def grids(markdown: str) -> list[list[list[str]]]:
    """Every table of a Markdown text as rows of cells; the rule below the header is left out."""
    found: list[list[list[str]]] = []
    inside = False
    for line in markdown.splitlines():
        if line.startswith("|"):
            if not inside:
                found.append([])
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not re.fullmatch(r"[|: -]+", line):
                found[-1].append(cells)
        inside = line.startswith("|")
    return found


# -- Markdown ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", paper.CELLS)
@pytest.mark.parametrize("which", ["store", "empty"])
def test_markdown_shows_every_published_number_in_order(number, which, request):
    table = paper.load(number)
    found = grids(tables.render(table, request.getfixturevalue(which), "md"))
    for group, grid in zip(table.groups, found, strict=False):
        printed = [
            [row.label, *(c.printed if (c := row.cell(k)) else "-" for k in group.columns)] for row in group.rows
        ]
        assert [[row[0].strip("*"), *row[1:]] for row in grid[1::2]] == printed


@pytest.mark.parametrize("number", paper.CELLS)
def test_no_cell_is_blank_and_all_columns_line_up(number, store, empty):
    for source in (store, empty):
        text = tables.render(paper.load(number), source, "md")
        for grid in grids(text):
            assert all(cell for row in grid for cell in row)
            assert len({len(row) for row in grid}) == 1
        for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
            assert len({len(line) for line in block.splitlines()}) == 1


def test_a_cell_that_was_not_run_points_to_a_note_that_says_why(empty):
    text = tables.render(TABLE, empty, "md")
    first = grids(text)[0][2]
    assert first[0] == "ours"
    assert first[1:] == ["—¹"] * 6 + ["—²"] * 2
    assert "\n1. not run: needs COCO 2017.\n2. not run: needs `repro complexity --table 2`.\n" in text


def test_measured_cells_show_value_spread_delta_verdict_and_source(store):
    text = tables.render(TABLE, store, "md")
    block = grids(text)[0]
    assert block[2][:2] == ["ours (trained, n = 2; D1)", "37.2±0.0 (0.0) ≈"]
    assert block[2][7:] == ["44.4M (0.0) ✓", "279.4G (0.0) ✓"]
    assert re.fullmatch(r"36\.1 \(-1\.9\) ✗\D+", block[4][1])
    assert block[4][0] == "ours (trained, n = 1; D1)"
    assert "- **D1** rate divided after epochs 8 and 11, not 9 and 11" in text
    assert re.fullmatch(r"38\.1 \?\D+", block[8][1])
    assert re.search(r"\d\. off: differs by more than 0\.52 %: trained here, one seed \(p", text)
    assert re.search(r"\d\. inconclusive: 80 of 5000 images were evaluated\.", text)
    assert re.search(r"\d\. not run: its record is stale", text)
    assert "unused record coco-r50-1snl.full.trained.seed0" in text


def test_the_coverage_line_stands_above_the_table_and_adds_up(store):
    text = tables.render(TABLE, store, "md")
    line = next(line for line in text.splitlines() if "distinct numbers measured" in line)
    words = "cells compatible|indistinct|cells print the same|within the rule|off|cells? inconclusive|cells? not run"
    counts = [int(n) for n in re.findall(rf"(\d+) (?:{words})", line)]
    assert sum(counts) == 224
    assert "; 1 off; " in line
    assert text.index(line) < text.index("| row")


def test_effects_are_published_and_ours(store):
    effects = next(grid for grid in grids(tables.render(TABLE, store, "md")) if grid[0][0] == "against the baseline")
    rows = {row[0]: row[1:] for row in effects[1:]}
    assert rows["(a) +1 NL"][0] == "+0.8 / -1.1"
    assert rows["(a) +all GC"][0] == "+2.2 / —"
    assert rows["(a) +1 GC"][0] == "+0.9 / —"  # 80 images say nothing


def test_mini_results_stand_in_a_table_of_their_own(store):
    text = tables.render(TABLE, store, "md")
    before, after = text.split("## Mini profile: NOT comparable with the paper")
    mini = grids(after)[0]
    assert len(mini) == 1 + 18
    assert mini[1][:3] == ["baseline (coco-r50-baseline)", "3", "31.0 ± 1.0"]
    assert "31.0" not in before
    assert mini[1][-1] == "64 s"
    answers, orderings = grids(after)[1:3]
    assert answers[0] == ["statement", "n", "effect", "p", "adjusted p", "answer"]
    assert answers[1][:2] == ["any block above the baseline", "3"]
    assert re.search(r"Of 10 statements of the paper, \d+ holds?, .* and \d+ are undecided \(n = 3 seeds\)", after)
    assert orderings[1][:5] == ["(a) +1 NL > baseline", "+0.8", "+1.1", "3", "0.3"]  # 6 of 20 deals are as far apart
    assert len(orderings) == 1 + 44
    assert "Exploratory, not asked before" in after


def test_a_table_that_shares_few_experiments_shows_their_mini_results_alone(store):
    after = tables.render(paper.load(1), store, "md").split("## Mini profile")[1]
    assert grids(after)[0][0] == ["row (experiment)", "n", "AP box", "AP mask", "time a run"]
    assert [row[0] for row in grids(after)[0][1:]] == ["E-Gaussian (coco-r50-1nl)"]
    assert "statements" not in after.split("## Tolerances")[0]
    assert "Exploratory" not in after


def test_without_mini_records_there_is_no_mini_section(empty):
    assert "Mini" not in tables.render(TABLE, empty, "md")


def test_exact_counts_in_both_conventions(store):
    grid = next(grid for grid in grids(tables.render(TABLE, store, "md")) if grid[0][0] == "experiment")
    assert grid[1] == ["coco-r50-baseline", "44,400,693", "268.900", "279.400", "3 x 800 x 1344"]


def test_provenance_names_inputs_and_records(store):
    text = tables.render(TABLE, store, "md").split("## Provenance")[1]
    assert "measured at commit: " + "f" * 40 in text
    assert re.search(r"table2\.yaml: sha256 [0-9a-f]{64}", text)
    assert re.search(r"tolerances\.yaml: sha256 [0-9a-f]{64}", text)
    assert "`nox -s reproduce -- --table 2`" in text


@pytest.mark.parametrize("form", ["md", "tex", "csv"])
def test_the_same_records_give_the_same_bytes(form, store, tmp_path):
    names = sorted(store.directory.glob("*.json"))
    shuffled = Store(tmp_path / "copy")
    (shuffled.directory / "complexity").mkdir(parents=True)
    for path in reversed(names):
        shutil.copy(path, shuffled.directory)
    for path in (store.directory / "complexity").iterdir():
        shutil.copy(path, shuffled.directory / "complexity")
    assert tables.render(TABLE, store, form) == tables.render(TABLE, shuffled, form)


# -- LaTeX ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", paper.CELLS)
def test_latex_is_well_formed(number, store):
    lines = tables.render(paper.load(number), store, "tex").splitlines()
    # A comment, or the sign at the end of a line that swallows the line break.
    text = "\n".join(re.sub(r"(?<!\\)%$", "", line) for line in lines if not line.startswith("%"))
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+\*?)\}", text):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert stack == []
    for spec, body in re.findall(r"\\begin\{tabular\}\{([^\n]+)\}\n(.*?)\\end\{tabular\}", text, flags=re.DOTALL):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert rows
        kinds = re.sub(r"\[[^\]]*\]", "", spec)
        assert re.fullmatch("l[rS]+", kinds)
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(kinds)}
    outside = re.sub(r"\$[^$]*\$", "", re.sub(r"\\begin\{tabular\}.*?\\end\{tabular\}", "", text, flags=re.DOTALL))
    assert not re.search(r"(?<!\\)[&%_#]", outside)
    assert not re.search(r"(?<!\\)[%_#]", text)
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def _has_siunitx() -> bool:
    found = shutil.which("kpsewhich") and subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True, text=True)
    return bool(found and found.stdout.strip())


def test_latex_numbers_are_aligned_and_deltas_optional(store):
    text = tables.render(TABLE, store, "tex")
    assert r"\textbf{$+$1 NL} & 38.0 & 59.8 &" in text
    assert re.search(
        r"ours \(trained, n = 1; D1\) & 36\.1 \{ \(\$-\$1\.9\) \$\\times\$\\textsuperscript\{\d\}\} &", text
    )
    without = tables.render(TABLE, store, "tex", deltas=False)
    assert re.search(r"ours \(trained, n = 1; D1\) & 36\.1 \{ \$\\times\$\\textsuperscript\{\d\}\} &", without)
    assert "(0.0)" not in without


@pytest.mark.parametrize("number", paper.CELLS)
def test_latex_floats_have_labels_of_their_own_and_no_number_in_the_caption(number, store):
    text = tables.render(paper.load(number), store, "tex")
    captions, labels = re.findall(r"^\\caption\{(.*)\}$", text, re.M), re.findall(r"^\\label\{(.*)\}$", text, re.M)
    assert len(captions) == len(labels) == len(set(labels)) == text.count("\\begin{tabular}")
    assert all(re.fullmatch(rf"tab:gcnet-{number}(-[a-z0-9]+)*", label) for label in labels)
    # LaTeX writes "Table 7:" before it.
    assert not any(caption.startswith("Table") for caption in captions)
    groups = [group.name for group in paper.load(number).groups if len(group.name) == 1]
    assert [label[-1] for label in labels][: len(groups)] == groups


def test_a_wide_table_of_latex_stands_on_its_side():
    line = tuple(Text("1234567890") for _ in range(12))
    for columns, wide in ((6, False), (12, True)):
        assert tables.is_wide(Grid(tuple(f"column {n}" for n in range(columns)), ((line[:columns],),))) is wide


def test_deltas_can_be_left_out_of_latex_alone(monkeypatch, empty, capsys):
    monkeypatch.setattr("sys.argv", ["repro", "table", "2", "--no-deltas", "--results", str(empty.directory.parent)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 2
    assert "--no-deltas is for --format tex" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed (texlive-latex-recommended)")
@pytest.mark.skipif(not _has_siunitx(), reason="siunitx is not installed (texlive-science)")
@pytest.mark.parametrize("number", paper.CELLS)
def test_latex_compiles(number, store, tmp_path):
    (tmp_path / "table.tex").write_text(tables.render(paper.load(number), store, "tex"))
    (tmp_path / "paper.tex").write_text(
        "\\documentclass[a4paper]{article}\n\\usepackage[utf8]{inputenc}\n\\usepackage[margin=15mm]{geometry}\n"
        "\\usepackage{booktabs,graphicx,rotating,siunitx}\n\\begin{document}\n\\input{table}\n\\end{document}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000
    assert "Overfull \\hbox" not in done.stdout


# -- CSV and files ----------------------------------------------------------------------------------------------------


def test_csv_has_a_line_for_every_cell_in_full_precision(store):
    rows = list(csv.DictReader(io.StringIO(tables.render(TABLE, store, "csv"))))
    full = [row for row in rows if row["profile"] == "full"]
    assert [row["published"] for row in full] == [cell.printed for cell in TABLE.cells]
    assert all(row["verdict"] and row["unit"] and row["experiment"] for row in full)
    assert all(row["reason"] for row in full if row["verdict"] not in ("match", "compatible"))
    assert float(full[6]["ours"]) == 44.400693
    mini = [row for row in rows if row["profile"] == "mini"]
    assert len(mini) == 18 * 6
    assert {(row["published"], row["delta"], row["verdict"]) for row in mini} == {("", "", "not compared")}


def test_write_renderings_writes_what_render_gives(store, tmp_path):
    paths = tables.write_renderings(TABLE, store, tmp_path / "generated")
    assert [path.name for path in paths] == ["table2.md", "table2.tex", "table2.csv"]
    for path in paths:
        assert path.read_text() == tables.render(TABLE, store, path.suffix[1:])


def test_the_command_prints_or_writes(monkeypatch, store, tmp_path, capsys):
    results = store.directory.parent
    monkeypatch.setattr("sys.argv", ["repro", "table", "2", "--results", str(results)])
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().out == tables.render(TABLE, store, "md")
    output = tmp_path / "out" / "t.csv"
    argv = ["repro", "table", "2", "--format", "csv", "--results", str(results), "--output", str(output)]
    monkeypatch.setattr("sys.argv", argv)
    with pytest.raises(SystemExit):
        cli.main()
    assert output.read_text() == tables.render(TABLE, store, "csv")
    monkeypatch.setattr("sys.argv", ["repro", "table", "2", "--format", "html"])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 2
    assert "unknown value of --format 'html'" in capsys.readouterr().err


def test_signed_has_no_negative_zero():
    assert [write_signed(value, 1) for value in (0.04, -0.04, 0.05001, -1.0)] == ["0.0", "0.0", "+0.1", "-1.0"]

"""The published numbers against the paper's own text, and what a malformed file is told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter

import pytest
from places import SHARED

from repro import experiments, paper
from repro.errors import ReproError
from repro.paths import PUBLISHED

TEXT = SHARED / "paper" / "gcnet.txt"


@pytest.fixture(scope="module")
def printed_rows() -> dict[int, list[tuple[str, str, list[str]]]]:
    """(group, label, printed cells) of every row, parsed from the text of the paper and from nothing else."""
    if not TEXT.exists():
        pytest.skip("needs the text of the paper, ../shared/paper/gcnet.txt, beside the checkout")
    found: dict[int, list[tuple[str, str, list[str]]]] = {}
    pending: list[tuple[str, str, list[str]]] = []
    group = backbone = ""
    for line in TEXT.read_text().splitlines():
        if caption := re.match(r"Table (\d): ", line):
            found[int(caption[1])] = pending
            pending, group, backbone = [], "", ""
        elif heading := re.match(r"(\([a-f]\) [^\t]+)\t*$", line):
            group = heading[1]
        elif re.search(r"\t(\d+\.\d+[MG]?|-)$", line):
            fields = line.split("\t")
            numbers = [field for field in fields if re.fullmatch(r"\d+\.\d+[MG]?|-", field)]
            labels = fields[: len(fields) - len(numbers)]
            if len(labels) == 2:  # a first column that stands once for several rows
                backbone = labels[0] or backbone
                labels = [backbone, labels[1]]
            pending.append((group, " ".join(labels), numbers))
        elif "\t" not in line and line:
            pending = []
    return found


@pytest.mark.parametrize("number", paper.CELLS)
def test_every_printed_number_is_the_papers(number, printed_rows):
    expected = printed_rows[number]
    ours = []
    for group in paper.load(number).groups:
        for row in group.rows:
            title = f"({group.name}) {group.title}" if len(group.name) == 1 else ""
            label = f"{group.name} {row.label}" if number == 1 else row.label
            cells = [row.cell(column) for column in group.columns]
            ours.append((title, label, [cell.printed if cell else "-" for cell in cells]))
    assert ours == expected


def test_titles_are_the_papers():
    if not TEXT.exists():
        pytest.skip("needs the text of the paper, ../shared/paper/gcnet.txt, beside the checkout")
    text = TEXT.read_text().replace("**", "")
    for table in paper.load_all():
        assert f"Table {table.number}: {table.title}." in text


def test_72_rows_and_475_cells():
    tables = paper.load_all()
    assert [len(table.cells) for table in tables] == [44, 224, 147, 40, 20]
    assert sum(len(table.rows) for table in tables) == 72


def test_49_distinct_experiments_cover_all_that_are_registered():
    named = {name for table in paper.load_all() for name in table.experiments}
    assert Counter(experiments.get(name).dataset for name in named) == {"coco": 33, "imagenet": 8, "kinetics": 8}
    assert named | {"imagenet-r50-stage1"} == set(experiments.EXPERIMENTS)  # the first of two stages: no row


@pytest.mark.parametrize(
    ("number", "group", "row", "experiment"),
    [
        (1, "COCO", "E-Gaussian", "coco-r50-1nl"),
        (1, "Kinetics", "E-Gaussian", "kinetics-r50-5nl"),
        (2, "a", "+1 NL", "coco-r50-1nl"),
        (2, "d", "w/o ratio", "coco-r50-snl"),
        (2, "d", "r16 (ratio 16)", "coco-r50-gc-r16-plain"),
        (2, "d", "r16+ReLU", "coco-r50-gc-r16-relu"),
        (2, "f", "avg+scale (SE)", "coco-r50-avg-scale"),
        (3, "b", "X101+DCN+Cascade +GC r4", "coco-x101-dcn-cascade-gc-r4"),
        (5, "", "+all GC", "kinetics-r50-gc-r4"),
    ],
)
def test_rows_name_their_experiment(number, group, row, experiment):
    found = next(g for g in paper.load(number).groups if g.name == group)
    assert next(r for r in found.rows if r.label == row).experiment == experiment


def test_rows_of_one_experiment_print_the_same_numbers_on_the_same_data():
    seen: dict[tuple[str, str, str], str] = {}
    for table in paper.load_all()[1:]:  # Table 1 prints Kinetics with one decimal, Table 5 with two
        for group in table.groups:
            for row in group.rows:
                for cell in row.cells:
                    key = (row.experiment, group.dataset, cell.column)
                    assert seen.setdefault(key, cell.printed) == cell.printed, cell


def test_a_cell_keeps_its_printed_precision_and_unit():
    row = paper.load(2).groups[0].rows[1]
    ap, params, flops = row.cell("ap_box"), row.cell("params"), row.cell("flops")
    assert (ap.printed, ap.value, ap.decimals, ap.unit) == ("38.0", 38.0, 1, "%")
    assert (params.printed, params.value, params.unit) == ("46.5M", 46.5, "M")
    assert (flops.printed, flops.value, flops.unit) == ("288.7G", 288.7, "G")
    params = paper.load(4).groups[0].rows[0].cell("params")
    assert (params.printed, params.value, params.decimals, params.unit) == ("25.56", 25.56, 2, "M")


def test_the_baseline_of_a_row_is_the_nearest_above_it():
    group = paper.load(3).groups[0]
    r101 = next(row for row in group.rows if row.label == "R101 +GC r4")
    assert group.baseline(r101).label == "R101 baseline"
    assert group.baseline(group.rows[0]) is None
    coco = paper.load(1).groups[0]
    assert coco.baseline(coco.rows[1]) is None


FIRST = 'printed: {ap_box: "37.2", ap50_box: "59.0", ap75_box: "40.1",'


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('ap50_box: "59.0", ', "", "group 'a', row 'baseline', column 'ap50_box': the cell is missing"),
        (FIRST, FIRST + ' top1: "76.0",', "group 'a', row 'baseline', column 'top1': the group has no such column"),
        ('"37.2"', '"37,2"', "group 'a', row 'baseline', column 'ap_box': '37,2' is not a number"),
        ('"37.2"', '"nan"', "group 'a', row 'baseline', column 'ap_box': 'nan' is not a number"),
        ('"37.2"', "37.2", "group 'a', row 'baseline', column 'ap_box': 37.2 is not quoted"),
        ('"44.4M"', '"44.4G"', "group 'a', row 'baseline', column 'params': '44.4G' is in 'G', the column in 'M'"),
        ("coco-r50-1nl\n", "coco-r50-1n\n", "group 'a', row '+1 NL': unknown experiment 'coco-r50-1n': did you mean"),
        ('row: "+1 NL"', 'row: "baseline"', "group 'a': row 'baseline' stands twice"),
        ('"37.2"', '"-"', "has 223 cells; Table 2 of the paper has 224"),
        ('ap50_box: "59.0"', 'ap_box: "59.0"', "'ap_box' stands twice"),
        ("dataset: coco-val2017", "dataset: coco", "group 'a': unknown dataset 'coco'"),
        ("columns: [ap_box,", "columns: [ap_bix,", "group 'a': unknown column 'ap_bix'"),
        ("columns: [ap_box,", "columns: [ap_box, ap_box,", "group 'a': column 'ap_box' stands twice"),
        ("columns: [ap_box,", "columns: [[ap_box],", "group 'a': unknown column ['ap_box']"),
        ('group: "b"', 'group: "a"', "names a group twice"),
        ("table: 2", "table: 3", "says that it is table 3"),
        (
            "        experiment: coco-r50-1nl\n",
            "",
            "a row of group 'a' has the keys row, printed; expected: row, experiment",
        ),
        ("table: 2", "table: two", "the file: table is 'two', not of type int"),
    ],
)
def test_a_malformed_file_names_file_row_and_column(tmp_path, old, new, expected):
    text = (PUBLISHED / "table2.yaml").read_text()
    assert old in text
    (tmp_path / "table2.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(ReproError) as raised:
        paper.load(2, tmp_path)
    assert expected in str(raised.value)
    assert str(tmp_path / "table2.yaml") in str(raised.value)


@pytest.mark.parametrize("keep", [0, 100, 1500, 4001])
def test_a_truncated_file_is_refused(tmp_path, keep):
    (tmp_path / "table2.yaml").write_bytes((PUBLISHED / "table2.yaml").read_bytes()[:keep])
    with pytest.raises(ReproError, match=r"table2\.yaml"):
        paper.load(2, tmp_path)


def test_a_missing_file_and_a_table_that_does_not_exist(tmp_path):
    with pytest.raises(ReproError, match=r"table2\.yaml cannot be read: it does not exist"):
        paper.load(2, tmp_path)
    with pytest.raises(ReproError, match="no Table 6"):
        paper.load(6)


def _repro(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "repro", *arguments], capture_output=True, text=True)


def test_cells_prints_every_number_as_json():
    done = _repro("cells", "--json")
    assert done.returncode == 0, done.stderr
    cells = json.loads(done.stdout)
    assert len(cells) == 475
    assert cells[44] == {
        "table": 2, "group": "a", "row": "baseline", "column": "ap_box", "printed": "37.2", "value": 37.2, "unit": "%"
    }  # fmt: skip


def test_list_prints_rows_and_experiments():
    done = _repro("list", "--table", "2", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert len(rows) == 28
    assert len({row["experiment"] for row in rows}) == 18
    text = _repro("list").stdout
    assert text.splitlines()[-1] == "72 rows, 49 experiments: 33 COCO, 8 ImageNet, 8 Kinetics"


@pytest.mark.parametrize("module", ["paper", "verification.verdicts", "rendering.tables", "planning.plan"])
def test_torch_is_never_imported(module):
    code = f"import sys, repro.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

"""CSV rows: as Python's csv reads well-formed files; a row that is not well-formed is named and swallows no other."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

import pytest

from repro.errors import ReproError
from repro.files.csv_files import iterate_rows

COLUMNS = {"label": ("label", "label-name"), "id": ("id",)}
HEADER = "label,id,note\n"


def read(path: Path, content: str) -> list[tuple[int, dict[str, str]]]:
    path.write_text(content, newline="")
    return list(iterate_rows(path, 1 << 20, COLUMNS))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_well_formed_files_are_read_as_by_csv(tmp_path, end, quoting):
    draw = random.Random(0)
    rows = [["".join(draw.choices('ab"",\' éß\u2028-', k=5)).strip() for _ in COLUMNS] + ["x"] for _ in range(200)]
    content = io.StringIO()
    csv.writer(content, quoting=quoting, lineterminator=end).writerows([["label", "id", "note"], *rows])
    expected = [
        {name: row[name] for name in COLUMNS} for row in csv.DictReader(io.StringIO(content.getvalue(), newline=""))
    ]
    assert [row for _, row in read(tmp_path / "list.csv", content.getvalue())] == expected
    assert [row["label"] for row in expected] == [row[0] for row in rows]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('a,1,x\n"b,2,x\nc,3,x\nd",4,x\ne,5,x\n', r"line 3: a quote is not closed.*'\"b,2,x'"),
        ('a,1,x\nb,2,"x\nc,3,x\nd,4,x"\n', "line 3: a quote is not closed"),
        ('a,1,x\n"b,2",x\n', "line 3: it has 2 fields, the header 3"),
        ('"a" b,1,x\n', "line 2: .*expected after"),
        ("a,1\n", "line 2: it has 2 fields, the header 3"),
        ("a,1,x,\n", "line 2: it has 4 fields, the header 3"),
        ('a,"1\n2",x\n', "line 2: a quote is not closed"),
        ("a,1,x\n" + "b" * 200_000 + ",2,x\n", "line 3: field larger than field limit"),
        ("a,1,x\0\n", "line 2: a null character"),
    ],
)
def test_a_row_that_is_not_well_formed_is_named(tmp_path, content, message):
    with pytest.raises(ReproError, match=rf"list\.csv, {message}") as raised:
        read(tmp_path / "list.csv", HEADER + content)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no column label, id"),
        ("a;1;x\n", "has no column label, id; its first line has 'a;1;x'"),
        ("label,label-name,id\na,b,1\n", "has a column label twice: label, label-name"),
        ("label,id,id\na,1,2\n", "has a column id twice"),
        ('label,"id\na,1\n', "line 1: a quote is not closed"),
    ],
)
def test_a_header_that_is_not_well_formed_is_named(tmp_path, content, message):
    with pytest.raises(ReproError, match=message):
        read(tmp_path / "list.csv", content)


def test_other_names_blank_lines_and_spaces(tmp_path):
    content = "\n id , label-name\n1 , a \n\n  \n2,b"
    assert read(tmp_path / "list.csv", content) == [(3, {"label": "a", "id": "1"}), (6, {"label": "b", "id": "2"})]

"""Texts of records are texts in every format: no command, link, image or formula comes of them."""

from __future__ import annotations

import csv
import html.parser
import io
import re
import shlex
import shutil
import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from samples import published, record

from repro import paper
from repro.records import Store
from repro.records.store import StoreContents
from repro.rendering import ending, report, tables
from repro.rendering.escaping import code_md, escape_csv, escape_md, escape_tex, flatten_lines, write_rows

#: What each format would obey, after what could end a comment, a cell or a paragraph.
HOSTILE = (
    "x\n\\input{/etc/passwd}\n\\immediate\\write18{id}\r\\relax\u2028\\end{document}\x85"
    " ![i](http://evil/i.png) [l](http://evil) [r]: http://evil <img src=http://evil> <script>alert(1)</script>"
    "\n\n# heading\n\n=HYPERLINK(1)\x1b[2J\u202e `\\def\\x{` end"
)


def test_markup_is_escaped():
    assert escape_md("a|b *c* <d> [e](f) \\[g] &lt;") == r"a\|b \*c\* \<d> \[e\](f) \\\[g\] \&lt;"
    assert escape_md("# no `heading[0]|` & such") == r"\# no `heading[0]\|` & such"
    assert escape_md("`` ` [a](b)") == r"\`\` \` \[a\](b)"
    assert escape_md("one\n\n# two\x1b[0m") == r"one # two\\u001b\[0m"
    assert code_md("name|x") == r"`name\|x`"
    assert code_md("` [a](b)") == r"\` \[a\](b)"
    assert escape_tex("50% & a_b #1 {x} ~ ^ \\ `code_x`") == (
        r"50\% \& a\_b \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \texttt{code\_x}"
    )
    assert escape_tex("a\n\nb\rc\u2028d\x0ce") == "a b c d e"


@given(st.text(alphabet=st.sampled_from("[]()!`\\ a<>|\n&;*#:/~\t-1.")))
@example("\\`<b>`")
@example("[a]: b\n\n[a]")
@example(" #")
@example("    a")
@example("1. #")
@example("12) # a")
@example("- # a")
@example("+ 1. # a")
def test_no_link_image_or_element_comes_of_any_text(text):
    """By a parser of CommonMark and of GitHub's tables: text, code and emphasis are all that there is."""
    for source, width in ((f"- {escape_md(text)}", 0), (f"| a | b |\n|---|---|\n| {escape_md(text)} | c |", 2)):
        tokens = list(_walk(MarkdownIt("commonmark").enable("table").parse(source)))
        kinds = {token.type for token in tokens}
        assert not kinds & {"link_open", "image", "html_inline", "html_block", "heading_open", "fence", "code_block"}, (
            source
        )
        assert sum(token.type == "td_open" for token in tokens) == width


def _walk(tokens):
    for token in tokens:
        yield token
        yield from _walk(token.children or ())


@given(st.text())
def test_no_command_of_latex_comes_of_any_text(text):
    allowed = (
        r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar)\{\}|\\[&%$#_{}]|\\texttt\{"
    )
    powers = re.sub(r"\$\d+\^\{\d+\}\$", "", escape_tex(text))
    rest = re.sub(allowed, "", powers.replace("$\\pm$", ""))
    assert "\\" not in rest
    assert not set("&%$#_^~") & set(rest)
    assert len(escape_tex(text).splitlines()) <= 1


def test_powers_are_mathematics_in_latex():
    assert escape_tex("units of 2^30 (10^9)") == "units of $2^{30}$ ($10^{9}$)"
    assert "$" not in escape_tex("a^2 ^30 2^b")


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "＝1", "+A1", "-cmd|' /C calc'!A0"]
)
def test_no_spreadsheet_computes_a_text(text):
    assert escape_csv(text) == f"'{flatten_lines(text)}"


@pytest.mark.parametrize("value", ["+1 GC", "+5 SNL", "-0.5", "+1.2", "37.2", "a=b", "", "1e-5", -0.5, None, 3])
def test_numbers_and_labels_stay_what_they_are(value):
    assert escape_csv(value) == value


def test_every_label_and_print_of_the_paper_stays_what_it_is():
    for table in paper.load_all():
        for cell in table.cells:
            for text in (cell.row, cell.group, cell.printed, cell.column, cell.unit):
                assert escape_csv(text) == text


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_no_cell_is_a_formula_wherever_a_spreadsheet_divides(delimiter):
    """Where decimals have commas it divides at semicolons."""
    row = {"a": "x;=1+1", "b": "y;-cmd|' /C calc'!A0,;+2;@SUM(A1);＝1", "c": "a\t=1"}
    content = write_rows(list(row), [row])
    cells = [cell for line in csv.reader(io.StringIO(content), delimiter=delimiter) for cell in line]
    assert [cell for cell in cells if cell.startswith(tuple("=+-@＝"))] == []


def test_a_cell_is_one_line():
    (row,) = csv.DictReader(io.StringIO(write_rows(["a", "b"], [{"a": "x\n=1", "b": "=1\n,2"}])))
    assert row == {"a": "x =1", "b": "'=1 ,2"}


@pytest.fixture
def store(tmp_path):
    """Records whose every free text is hostile."""
    store = Store(tmp_path / "records")
    environment = {"commit": HOSTILE, "device": HOSTILE, "torch": HOSTILE}
    shown = {"deviations": [HOSTILE], "command": HOSTILE, "environment": environment}
    for name, texts in {"coco-r50-baseline": shown, "coco-r50-1gc": {**shown, "evaluator": HOSTILE}}.items():
        _put(store, record(name, published(paper.load(2), name), **texts))
    return store


def _put(store, own):
    """Have the store answer with the record, as if its schema let every text pass."""
    files = {**getattr(store, "hostile", {}), own.filename: own}
    store.hostile = files
    store.files = lambda: files
    store.all = lambda: list(files.values())
    store.read = lambda: StoreContents(files, {}, ())


def test_latex_of_hostile_records_has_no_command_of_theirs(store):
    lines = tables.render(paper.load(2), store, "tex").splitlines()
    assert any(line.startswith("% ") and "\\input" in line for line in lines)  # a comment, which ends with its line
    body = "\n".join(line for line in lines if not line.startswith("%"))
    assert "textbackslash{}input" in body
    for command in ("\\input", "\\immediate", "\\write", "\\relax", "\\def", "\\end{document}"):
        assert command not in body
    assert all(c.isprintable() for line in lines for c in line)


def test_markdown_of_hostile_records_has_no_link_or_image(store):
    text = tables.render(paper.load(2), store, "md")
    assert "evil" in text  # it is there, as text
    assert not re.search(r"(?<!\\)\]\(http", text)
    assert not re.search(r"(?<!\\)<(img|script)", text)
    assert not re.search(r"^# heading", text, re.MULTILINE)


def test_html_of_hostile_records_has_no_element_of_theirs(store, monkeypatch):
    monkeypatch.setattr(report.CountedStore, "read", lambda _: store.read())
    text = report.render(store.directory.parent)
    found = []

    class Parser(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.append(tag)

    Parser().feed(text)
    assert "script" not in found
    assert "img" not in found
    assert "evil" in text
    assert not set("\u202e\x1b") & set(text)


def test_csv_of_hostile_records_has_no_formula(store):
    rows = list(csv.reader(io.StringIO(tables.render(paper.load(2), store, "csv"))))
    assert {len(row) for row in rows} == {len(rows[0])}
    for row in rows[1:]:
        for cell in row:
            assert not re.match(r"[=@]", cell)
            assert not set(cell) & set("\n\r\x1b")


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs LaTeX")
def test_latex_compiles_what_is_hostile_as_text(tmp_path):
    printable = "".join(c for c in flatten_lines(HOSTILE) if c in string.printable)
    body = f"{escape_tex(printable)}\n% {flatten_lines(HOSTILE)}\n"
    source = rf"\documentclass{{article}}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "a.tex").write_text(source)
    done = subprocess.run(
        ["pdflatex", "-interaction=batchmode", "a.tex"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0


def test_a_command_to_copy_takes_a_name_as_one_word(tmp_path):
    """Copied to a shell, a directory of this name would otherwise be a command."""
    place = Path("my results; touch x")
    for command, _ in ending._list_next_steps(place, 1, True)[:2]:
        assert str(place) in shlex.split(command)

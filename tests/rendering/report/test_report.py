"""The report: whole, the same twice, escaped, and in need of nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from samples import published, record

from repro import cli, paper
from repro.records import Store
from repro.rendering import report

TABLE = paper.load(2)
HOSTILE = "<script>alert(1)</script>\"'&`<b>"
VOID = {"meta", "link", "br"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One row as published, one off, one hostile in every free word."""
    results = tmp_path_factory.mktemp("report")
    store = Store(results / "records")
    store.add(record("coco-r50-baseline", published(TABLE, "coco-r50-baseline")))
    store.add(record("coco-r50-1nl", {**published(TABLE, "coco-r50-1nl"), "ap_box": 36.1}))
    free = {"deviations": [HOSTILE], "command": HOSTILE, "environment": {"commit": HOSTILE}}
    store.add(record("coco-r50-1gc", published(TABLE, "coco-r50-1gc"), evaluator=HOSTILE, **free))
    return results


@pytest.fixture(scope="module")
def page(results):
    return report.render(results)


class _Tree(HTMLParser):
    """Refuses what is not well nested; collects ids, links, headings and tags."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.headings, self.tags = [], [], [], [], set()

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.add(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_needs_nothing_else(page):
    tree = _Tree()
    tree.feed(page)
    assert tree.open == []
    assert len(tree.ids) == len(set(tree.ids))
    assert not tree.tags & {"script", "iframe", "img", "b"}
    inner = [link for link in tree.links if link.startswith("#")]
    assert set(tree.links) - set(inner) == {"data:,"}
    assert {link[1:] for link in inner} <= set(tree.ids)
    assert tree.headings[0] == 1
    assert tree.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(tree.headings, tree.headings[1:], strict=False))
    assert not re.search(r"https?:|url\(|@import", page)


def test_words_of_a_record_are_text(page):
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_verdicts_stand_in_symbol_and_word_and_off_cells_are_named(page):
    assert "Table 2(a), +1 NL, AP box: off: published 38.0, ours 36.10 (-1.9)" in page
    cell = re.search(r'<td class="off">.*?</td>', page, flags=re.DOTALL)[0]
    assert "✗" in cell
    assert "36.1 (-1.9)" in cell
    assert "Tolerance" in cell
    assert "trained here, one seed" in cell


def test_every_published_number_is_in_its_table(page):
    for table in paper.load_all():
        section = page.split(f'<section id="table-{table.number}"')[1].split("</section>")[0]
        shown = re.findall(r"<td>([^<]*)</td>", section)
        assert [text for text in shown if text != "-"][: len(table.cells)] == [cell.printed for cell in table.cells]


def test_the_same_records_give_the_same_page(results, page):
    assert report.render(results) == page


def test_the_command_writes_the_page(monkeypatch, results, page, tmp_path):
    output = tmp_path / "page.html"
    monkeypatch.setattr("sys.argv", ["repro", "report", "--results", str(results), "--output", str(output)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert not exit_.value.code
    assert output.read_text(encoding="utf-8") == page

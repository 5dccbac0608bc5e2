"""The report: whole, the same twice, escaped, and in need of nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from samples import PARAMS, count, published, record

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
        # Beside a count, or alone; what is below a printed row is a button or not run.
        shown = re.findall(r'<td(?: class="[^"]*")?>(?:<span class="printed">)?([^<]*)<', section)
        printed = [text for text in shown if text not in ("-", "—", "")]
        assert printed[: len(table.cells)] == [cell.printed for cell in table.cells]


def read_facts(page):
    found = re.findall(
        r'<li class="[^"]*"><a href="#([^"]*)"><strong>([^<]*)</strong> ([^<]*)</a><span>(.*?)</span>', page
    )
    return {about.split()[0]: (figure, outcome) for _, figure, about, outcome in found}


def test_it_opens_with_what_is_measured_counted_and_asked(page):
    facts = read_facts(page.split('<section id="coverage"')[0])
    assert facts["accuracies"][0] == "12 of 282"  # of the third record's evaluator nothing is known
    assert ", 2 cells off, " in facts["accuracies"][1]  # it is printed in Table 1, too
    assert facts["parameters"] == ("74 of 74", "95 cells print the same, 9 within the rule for counts, "
                                   "3 explained in the ledger, 0 off.")  # fmt: skip
    assert facts["claims"][0] == "101 of 103"
    assert facts["statements"][0].startswith("0 of ")


def test_counts_that_were_not_made_are_the_committed_ones(tmp_path):
    (tmp_path / "records").mkdir()
    page = report.render(tmp_path)
    needs = page.split("No cell is confirmed or refuted: ")[1].split("<")[0]
    for data in ("COCO 2017", "the COCO test-dev server", "ImageNet", "Kinetics-400"):
        assert f"needs {data}" in needs
    assert "Counts of 43 networks are the committed ones" in page
    for number, printed in ((4, "25.56"), (5, "32.45")):
        section = page.split(f'<section id="table-{number}"')[1].split("</section>")[0]
        assert re.search(rf'<td class="match"><span class="printed">{printed}</span> <button', section)


def test_a_count_of_ones_own_is_not_replaced(results, page, tmp_path):
    store = Store(tmp_path / "records")
    store.add_count(count("coco-r50-baseline", 2 * PARAMS["coco-r50-baseline"], 279.4))
    assert report.CountedStore(store.directory).counts() != report.CountedStore(results / "records").counts()
    assert len(report.CountedStore(store.directory).counts()) == 43
    assert "Table 2(a), baseline, #param: off" in report.render(tmp_path)


def test_a_row_of_which_nothing_was_measured_takes_one_line(page):
    table = page.split('<section id="table-2"')[1].split("</section>")[0].split("</table>")[0]
    lines = re.findall(r"<tr.*?</tr>", table, flags=re.DOTALL)[1:]
    rows = [re.search(r'<th scope="row"[^>]*>([^<]*)', line)[1].strip() for line in lines]
    assert [row for row in rows if not row.startswith("ours")] == [row.label for row in TABLE.groups[0].rows]
    assert len(rows) == 5 + 2  # ours of the two that were measured
    empty = next(line for line in lines if "+1 SNL" in line)
    assert re.search(r"<small>not run<sup><a href=\"#t2-note-\d+\"", empty)
    assert "—" not in re.sub(r'<div class="about".*?</div>', "", empty, flags=re.DOTALL)


def test_pictures_join_published_and_ours(tmp_path):
    table, store = paper.load(3), Store(tmp_path / "records")
    for name in ("coco-r50-baseline", "coco-r50-gc-r16", "coco-r50-gc-r4"):
        store.add(record(name, published(TABLE, name)))
    page = report.render(tmp_path)
    opening = page.split('<section id="coverage"')[0]
    assert opening.count('<polyline class="trace published"') == 5  # a line for each backbone
    (ours,) = re.findall(r'<polyline class="trace ours" points="([^"]*)"', opening)
    assert len(ours.split()) == 3
    assert opening.count('<path class="tail"') == 3
    assert table.groups[0].rows[0].experiment == "coco-r50-baseline"


def test_the_same_records_give_the_same_page(results, page):
    assert report.render(results) == page


def test_the_command_writes_the_page(monkeypatch, results, page, tmp_path):
    output = tmp_path / "page.html"
    monkeypatch.setattr("sys.argv", ["repro", "report", "--results", str(results), "--output", str(output)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert not exit_.value.code
    assert output.read_text(encoding="utf-8") == page


def test_curves_of_what_is_trained_there_and_none_in_a_bundle(tmp_path):
    (tmp_path / "records").mkdir()
    for name, seed in (("coco-r50-1gc", 0), ("coco-r50-1gc", 1), ("imagenet-r50-1gc", 0)):
        run = tmp_path / "runs" / f"{name}.mini.seed{seed}.0123456789ab"
        run.mkdir(parents=True)
        lines = [f'{{"iteration": {n}, "lr": 0.1, "losses": {{"loss_mask": {1 / n}}}}}\n' for n in range(1, 30)]
        (run / "log.jsonl").write_text("".join(lines))
    page = report.render(tmp_path)
    assert re.findall(r"<figcaption>([^<]*\(mini\))</figcaption>", page) == [
        "coco-r50-1gc (mini)",
        "imagenet-r50-1gc (mini)",
    ]
    assert '<a href="#curves">' in page
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert "mean of 2 seeds" in page
    without = report.render(tmp_path, with_curves=False)
    assert "#curves" not in without
    assert "<figure class=" not in without

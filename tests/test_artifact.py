"""The page for reviewers: what it expects is what the commands answer; `tests/test_docs.py` checks links and verbs."""

from __future__ import annotations

import re

from places import REFERENCE, ROOT

from repro import paper
from repro.records import Store
from repro.verification.claims import audit

TEXT = (ROOT / "ARTIFACT.md").read_text(encoding="utf-8")
NOXFILE = (ROOT / "noxfile.py").read_text(encoding="utf-8")


def test_each_claim_is_judged_as_the_page_says():
    judged = {one.claim.id: one for one in audit.audit(audit.load(), Store(REFERENCE / "records"))}
    rows = re.findall(r"^\| [^|]+ \| `([a-z0-9-]+)` \| ([^|]+) \| ([^|]+) \|$", TEXT, re.MULTILINE)
    assert len(rows) == 12
    assert {name: (published, ours) for name, published, ours in rows} == {
        name: (judged[name].published.shown, judged[name].ours_verdict) for name, *_ in rows
    }
    assert f"all {len(judged)}." in TEXT
    words = [one.published.verdict for one in judged.values()]
    holds, rounding, not_so = (words.count(word) for word in ("holds", "holds within rounding", "does not follow"))
    assert f"the {len(judged)} claims of the paper's text, {holds} follow from its cells, {rounding} within" in TEXT
    assert f"{not_so} do not |" in TEXT


def test_the_cells_that_are_not_run_are_all_that_must_be_measured():
    measured = [sum(paper.COLUMNS[cell.column].measured for cell in paper.load(n).cells) for n in paper.CELLS]
    assert f"{', '.join(map(str, measured[:-1]))} and {measured[-1]} cells are not run: {sum(measured)} |" in TEXT


def test_its_sessions_of_nox_exist():
    tables = [f"reproduce-table{number}" for number in paper.CELLS]
    known = {*re.findall(r"^@nox\.session\ndef (\w+)", NOXFILE, re.MULTILINE), *tables}
    named = set(re.findall(r"nox -s ([\w-]+)", TEXT))
    assert "smoke" in named
    assert named <= known


def test_the_smoke_test_does_what_the_page_says():
    smoke = NOXFILE.split("def smoke(")[1].split("@nox.session")[0]
    steps = re.findall(r'session\.run(?:\(|, )"repro", "(\w+)"', smoke)
    assert steps == ["complexity", "run", "diff", "claims", "figure", "report"]
    name = re.search(r'^REPEATED = "(.+)"$', NOXFILE, re.MULTILINE)[1]
    records = [r for r in Store(REFERENCE / "records").all() if (r.experiment, r.seed) == (name, 0)]
    record = next(r for r in records if r.metric("ap_box"))
    assert f"box AP {record.require('ap_box').value:.2f} |" in TEXT
    claim = re.search(r'"--claim", "([\w-]+)"', smoke)[1]
    (one,) = (one for one in audit.audit(audit.load(), Store(REFERENCE / "records")) if one.claim.id == claim)
    assert f'"{one.published.shown}", and ours {one.ours_verdict}' in TEXT


def test_each_command_has_a_time_and_what_is_expected():
    commands = [line for line in TEXT.splitlines() if re.search(r"\| `(repro|nox|python) ", line)]
    assert len(commands) == 13
    for line in commands:
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        assert len(cells) == 4, line
        assert re.search(r"\d|not (measured|reported)", cells[2])
        assert cells[3]

"""`tables/hypotheses.yaml`: the paper's own sentences, and what a wrong file is told."""

import re

import pytest
import yaml
from places import SHARED

from repro import paper
from repro.errors import ReproError
from repro.paper import hypotheses as module
from repro.paper.hypotheses import HYPOTHESES, hash_hypotheses, load_hypotheses

TEXT = SHARED / "paper" / "gcnet.txt"


def squeeze(text):
    """Without spaces and markup: the text of the paper has its arrows as LaTeX."""
    return re.sub(r"\s", "", text).replace("\\%", "%").replace("\\uparrow", "↑").replace("*", "")


def test_every_sentence_is_the_papers():
    if not TEXT.exists():
        pytest.skip("needs the text of the paper, ../shared/paper/gcnet.txt, beside the checkout")
    text = squeeze(TEXT.read_text())
    for statement in load_hypotheses().statements:
        assert squeeze(statement.sentence) in text, statement.id


def test_what_is_predicted_is_what_the_paper_prints():
    """In every stratum the mean of the printed numbers increases from group to group, or lies within the margin."""
    for statement in load_hypotheses().statements:
        table = paper.load(statement.table)
        printed = {row.experiment: row.cell(statement.metric) for row in table.rows}
        for groups in statement.strata:
            means = [sum(printed[name].value for name in group) / len(group) for group in groups]
            if statement.test == "order":
                assert means == sorted(set(means)), statement.id
            else:
                assert max(means) - min(means) < statement.margin, statement.id


def test_the_sha256_is_of_the_statements_about_one_data_set(monkeypatch):
    """A change of a statement about ImageNet leaves what was declared for COCO as it was, and the reverse."""
    before = {name: hash_hypotheses(name) for name in ("coco", "imagenet", "kinetics")}
    assert len({*before.values()}) == 3
    rules = load_hypotheses()
    for table, changed in ((2, "coco"), (3, "coco"), (4, "imagenet"), (5, "kinetics")):
        altered = tuple(s.model_copy(update={"margin": 9.0}) if s.table == table else s for s in rules.statements)
        monkeypatch.setattr(
            module, "load_hypotheses", lambda altered=altered: rules.model_copy(update={"statements": altered})
        )
        assert [name for name in before if hash_hypotheses(name) != before[name]] == [changed]
    monkeypatch.setattr(module, "load_hypotheses", lambda: rules.model_copy(update={"level": 0.01}))
    assert not {hash_hypotheses(name) for name in before} & {*before.values()}


def change_first(**changes):
    def change(content):
        content["statements"][0].update(changes)

    return change


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda d: d.pop("rationale"), "rationale: Field required"),
        (lambda d: d.update(exploratory_seeds=2), "exploratory_seeds: "),
        (lambda d: d["statements"].append(d["statements"][0]), "block-above-baseline stands twice"),
        (change_first(metric="params"), r"statements\.0: metric 'params' is no accuracy"),
        (change_first(margin=0.0), r"statements\.0\.margin: "),
        (change_first(test="equivalence"), r"statements\.0: equivalence needs a margin"),
        (change_first(strata=[[["coco-r50-baseline"]]]), r"statements\.0: a stratum needs two groups"),
        (change_first(strata=[[["coco-r50-baseline"], ["coco-r50-baseline"]]]), "an experiment stands twice"),
        (change_first(strata=[[["coco-r50-baseline"], ["coco-r9-gc"]]]), "Table 2 has no coco-r9-gc"),
    ],
)
def test_a_malformed_file_is_told_where(tmp_path, change, where):
    content = yaml.safe_load(HYPOTHESES.read_text())
    change(content)
    path = tmp_path / "hypotheses.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ReproError, match=where):
        load_hypotheses(path)

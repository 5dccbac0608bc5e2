"""Forest plots: what is drawn where, and the intervals of the mini profile's answers."""

from __future__ import annotations

import pytest
from places import REFERENCE
from scipy import stats

from repro import paper
from repro.paper.hypotheses import load_hypotheses
from repro.records import Store
from repro.rendering.report import forest
from repro.rendering.report.forest import ForestLine, Interval
from repro.verification.hypotheses import answer_table
from repro.verification.verdicts import RowVerdict


@pytest.fixture(scope="module")
def answers():
    ((_, found),) = answer_table(paper.load(2), Store(REFERENCE / "records").all())
    return {answer.hypothesis.id: answer for answer in found}


def test_the_interval_of_two_networks_is_students_paired_one(answers):
    answer = answers["positions-on-par"]  # one network on either side
    first, second = (answer.values[name] for name in answer.hypothesis.experiments)
    theirs = stats.ttest_rel(first, second).confidence_interval()
    assert forest.compute_effect_interval(answer) == pytest.approx((theirs.low, theirs.high))


def test_each_interval_is_around_its_effect(answers):
    for answer in answers.values():
        low, high = forest.compute_effect_interval(answer)
        assert low < answer.effect < high
        assert (low + high) / 2 == pytest.approx(answer.effect)


def test_a_line_for_each_statement_with_its_word_and_margin(answers):
    plot = forest.plot_answers(2, list(answers.values()))
    asked = load_hypotheses().of_table(2)
    assert [line.label for line in plot.lines] == [statement.says for statement in asked]
    assert [line.margin for line in plot.lines] == [statement.margin for statement in asked]
    assert [line.word for line in plot.lines] == [answer.shown for answer in answers.values()]


def test_nothing_run_is_no_plot():
    ((way, found),) = answer_table(paper.load(2), [])
    assert forest.plot_answers(2, found, way) is None


def draw(*values, margin=None):
    lines = [ForestLine(str(v), "match", ours=Interval(v, v - 0.5, v + 0.5), margin=margin) for v in values]
    return forest._build("", lines)


def test_the_axis_has_zero_and_every_end_in_sight():
    plot = draw(1.0, 3.0, 2.0, margin=4.0)
    for value in (0.0, -4.0, 4.0, 0.5, 3.5):
        assert 0 <= plot.at(value) <= 100
    assert plot.at(-1) < plot.at(0) < plot.at(1)
    assert {plot.find_side(line) for line in plot.lines} == {""}


def test_one_far_out_is_an_arrow_and_the_others_stay_legible():
    plot = draw(1.0, 38.0, -1.0, 0.5)
    assert [plot.find_side(line) for line in plot.lines] == ["", "right", "", ""]
    assert plot.at(1.5) - plot.at(0) > 30
    assert [draw(1.0, -38.0, -1.0, 0.5).find_side(line) for line in draw(1.0, -38.0, -1.0, 0.5).lines][1] == "left"
    assert {draw(1.0, 38.0).find_side(line) for line in draw(1.0, 38.0).lines} == {""}  # of two, neither is the rule


def test_without_measurements_effects_are_the_papers():
    from repro.verification.orderings import effects_over_baseline

    table = paper.load(4)
    rows = [RowVerdict(group, row, (), None, ()) for group in table.groups for row in group.rows]
    plot = forest.plot_effects(4, effects_over_baseline(rows), [])
    shown = {line.label: line.published for line in plot.lines}
    assert shown["(a) +all GC"] == pytest.approx(77.70 - 76.88)
    assert not any(line.ours for line in plot.lines)
    assert len(plot.lines) == 7  # `att+add` of (b) is `+all GC` of (a)

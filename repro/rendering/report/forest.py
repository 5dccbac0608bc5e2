"""Forest plots: an effect on a line each, with its interval, at places in percent of the width of the plot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from repro.paper import COLUMNS, Group
from repro.rendering.grid import write_signed
from repro.rendering.report.plots import Axis
from repro.statistics.contrasts import compute_difference, compute_difference_interval
from repro.statistics.seeds import compute_student_quantile
from repro.verification.effects.paired_effects import ColumnEffect, RowEffects
from repro.verification.hypotheses import Answer, group_networks
from repro.verification.orderings import Effect

#: How answers are marked: as verdicts with the same colour and symbol.
ANSWER_KINDS = {
    "holds": "match", "equivalent": "compatible", "contrary": "off", "undecided": "inconclusive", "not run": "not run",
}  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its interval; both None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None

    def list_seen(self) -> list[float]:
        return [end for end in (self.value, self.low, self.high) if end is not None]


@dataclass(frozen=True)
class ForestLine:
    """One effect: ours, what the paper prints, and the half-width of what counts as none, each if there is one."""

    label: str
    kind: str  #: of the mark, as of a verdict
    word: str = ""  #: beside the mark
    numbers: str = ""  #: what is drawn, in words
    ours: Interval | None = None
    published: float | None = None
    margin: float | None = None


@dataclass(frozen=True)
class Forest:
    """Lines on one axis: `at` gives the place of a number in percent of the width."""

    title: str
    lines: tuple[ForestLine, ...]
    at: Axis

    def find_side(self, line: ForestLine) -> str:
        """Find where a line lies that is beyond the axis: "right", "left", or "" where it is in sight."""
        value = line.ours.value if line.ours else 0.0
        return "right" if value > self.at.high else "left" if value < self.at.low else ""


def _build(title: str, lines: Sequence[ForestLine]) -> Forest | None:
    seen = [ends for line in lines if (ends := _list_ends(line))]
    if not seen:
        return None
    *others, farthest = sorted(seen, key=lambda ends: max(map(abs, ends)))
    reach = max((abs(end) for ends in others for end in ends), default=0.0)
    # One that is this far out would press all others together: an arrow points to it.
    if len(others) >= _FEWEST and max(map(abs, farthest)) > _FAR * reach:
        seen = others
    return Forest(title, tuple(lines), Axis([0.0, *(end for ends in seen for end in ends)], 0, 100))


#: How many lines have to lie within a part of the axis, and how far out the one beyond it is at least.
_FEWEST, _FAR = 3, 3.0


def _list_ends(line: ForestLine) -> list[float]:
    """List what of a line has to be in sight."""
    ends = line.ours.list_seen() if line.ours else []
    ends += [line.published] if line.published is not None else []
    return ends + ([-line.margin, line.margin] if line.margin is not None else [])


# -- what the mini profile answers ------------------------------------------------------------------------------------


def plot_answers(number: int, answers: Sequence[Answer], way: str = "") -> Forest | None:
    """Plot what the mini profile answers to the statements of one table; None where nothing was run."""
    if not any(answer.seeds for answer in answers):
        return None
    heading = COLUMNS[answers[0].hypothesis.metric].heading
    title = f"Table {number}{', ' + way if way else ''}: {heading}, in points"
    return _build(title, [_write_answer(answer) for answer in answers])


def _write_answer(answer: Answer) -> ForestLine:
    line = ForestLine(answer.hypothesis.says, ANSWER_KINDS[answer.word], answer.shown, answer.reason)
    if answer.effect is None:
        return line
    ends = compute_effect_interval(answer)
    low, high = ends or (None, None)
    shown = write_signed(answer.effect, 1)
    if ends:
        shown += f" ({write_signed(ends[0], 1)} to {write_signed(ends[1], 1)})"
    return replace(line, numbers=shown, ours=Interval(answer.effect, low, high), margin=answer.hypothesis.margin)


def compute_effect_interval(answer: Answer) -> tuple[float, float] | None:
    """Compute the 95 % interval of an answer's effect over seeds; None of one seed, or where nothing was run.

    Of a statement of equivalence, it is of the two groups whose means differ most.
    """
    if answer.values is None:
        return None
    strata = group_networks(answer.hypothesis, answer.values)
    if answer.hypothesis.test == "order":
        return compute_difference_interval(strata)
    (groups,) = strata
    pairs = combinations(range(len(groups)), 2)
    first, second = max(pairs, key=lambda pair: abs(compute_difference(groups[pair[0]], groups[pair[1]])))
    return compute_difference_interval(strata, second, first)


# -- what rows gain over their baselines ------------------------------------------------------------------------------


def plot_effects(number: int, effects: Sequence[Effect], tested: Iterable[RowEffects]) -> Forest | None:
    """Plot what each row of a table gains over its baseline in the headline metric: published, and ours if measured.

    Args:
        tested: paired tests of the same table; of one seed, the interval is theirs, over images or videos.
    """
    column = next((c for c in ("ap_box", "top1") if any(effect.column == c for effect in effects)), None)
    if column is None:
        return None
    tests = {
        (row.pair.group.name, row.pair.row.label, row.pair.way): one
        for row in tested for one in row.columns if one.column == column
    }  # fmt: skip
    lines: dict[tuple[str, float, float | None], ForestLine] = {}
    for effect in (effect for effect in effects if effect.column == column):
        test = tests.get((effect.row.group.name, effect.row.row.label, effect.way))
        lines.setdefault(
            (effect.row.row.experiment + effect.way, effect.published, effect.ours), _write_effect(effect, test)
        )
    title = f"{COLUMNS[column].heading} gained over the baseline, in points"
    return _build(title, list(lines.values()))


def _write_effect(effect: Effect, test: ColumnEffect | None) -> ForestLine:
    decimals = effect.row.row.require(effect.column).decimals
    label = f"{_name_group(effect.row.group)}{effect.row.row.label}" + (f", {effect.way}" if effect.way else "")
    shown = f"published {write_signed(effect.published, decimals)}"
    if effect.ours is None:
        return ForestLine(label, "published", "", shown, published=effect.published)
    ours, over = Interval(effect.ours), ""
    if effect.spread is not None:
        half = compute_student_quantile(0.95, effect.n - 1) * effect.spread / effect.n**0.5
        ours, over = Interval(effect.ours, effect.ours - half, effect.ours + half), f"over {effect.n} seeds"
    elif test and len(test.tests) == 1:
        difference = test.tests[0][1]
        ours, over = Interval(effect.ours, difference.low, difference.high), "over images or videos, of one seed"
    shown += f", ours {write_signed(effect.ours, decimals + 1)}"
    if ours.low is not None and ours.high is not None:
        shown += f" ({write_signed(ours.low, decimals + 1)} to {write_signed(ours.high, decimals + 1)} {over})"
    return ForestLine(label, "compatible", "", shown, ours, effect.published)


def _name_group(group: Group) -> str:
    return f"({group.name}) " if len(group.name) == 1 else f"{group.name} " if group.name else ""

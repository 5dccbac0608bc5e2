"""What the mini profile answers to the paper's statements: holds, contrary, equivalent or undecided.

The statements and their tests stand in `tables/hypotheses.yaml`; one family for each table. Imports neither numpy nor
scipy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean
from typing import Literal, get_args

from repro.experiments import get
from repro.paper import Table
from repro.paper.hypotheses import Hypotheses, Hypothesis, hash_hypotheses, load_hypotheses
from repro.records import Record
from repro.statistics.contrasts import compute_difference
from repro.statistics.equivalence import compute_equivalence_p
from repro.statistics.exact_ranks import compute_difference_p, compute_order_p_values, count_deals
from repro.statistics.multiplicity import adjust_holm
from repro.verification.measurements import Measurement, collect
from repro.verification.orderings import were_measured_alike
from repro.verification.ways import group_alike

Word = Literal["holds", "contrary", "equivalent", "undecided", "not run"]
WORDS: tuple[Word, ...] = get_args(Word)


@dataclass(frozen=True)
class Answer:
    """What the runs say to one statement.

    `p` is of the hypothesis that the statement is not so, `p_contrary` that its contrary is not so, `p_close` that
    some two groups of a statement of order differ by its margin or more; `adjusted` are they over the family. `effect`
    is in points: the mean of the group predicted highest minus that of the one predicted lowest, averaged over strata;
    of equivalence, the largest difference of two groups' means.
    """

    hypothesis: Hypothesis
    word: Word
    reason: str = ""
    seeds: tuple[int, ...] = ()
    values: Mapping[str, tuple[float, ...]] | None = None  #: by experiment, in the order of the seeds
    effect: float | None = None
    undeclared: int = 0  #: runs that were made before this version of the statements was written down
    p: float = 1.0
    p_contrary: float = 1.0
    p_close: float = 1.0
    adjusted: float = 1.0
    adjusted_contrary: float = 1.0
    adjusted_close: float = 1.0

    @property
    def shown(self) -> str:
        """The word, with the margin where that belongs to it."""
        return f"equivalent within {self.hypothesis.margin:g}" if self.word == "equivalent" else self.word

    @property
    def p_values(self) -> tuple[float, float]:
        """(p, adjusted p) of what the answer says: of the statement where nothing is decided."""
        if self.word == "contrary":
            return self.p_contrary, self.adjusted_contrary
        if self.word == "equivalent" and self.hypothesis.test == "order":
            return self.p_close, self.adjusted_close
        return self.p, self.adjusted

    def as_dict(self) -> dict[str, object]:
        """The fields for JSON: the statement's own, then the answer's."""
        return {
            **self.hypothesis.model_dump(mode="json"),
            "test_name": self.hypothesis.test_name,
            "answer": self.shown,
            "reason": self.reason,
            "seeds": list(self.seeds),
            "runs_before_the_statements": self.undeclared,
            "values": {name: list(values) for name, values in (self.values or {}).items()},
            "effect": self.effect,
            "p": self.p,
            "p_contrary": self.p_contrary,
            "p_close": self.p_close,
            "adjusted_p": self.adjusted,
            "adjusted_p_contrary": self.adjusted_contrary,
            "adjusted_p_close": self.adjusted_close,
        }


def collect_mini(table: Table, records: Sequence[Record]) -> list[tuple[str, dict[str, Measurement]]]:
    """Collect the mini-profile measurements of the table's experiments: (way, by experiment) for each way."""
    run = {record.experiment for record in records if record.profile == "mini"}
    names = [name for name in table.experiments if name in run]
    if not names:
        return []
    from repro.experiments.mini import shrink

    measured, _ = collect(records, {name: shrink(get(name)) for name in names}, "mini")
    return group_alike({name: measured[name] for name in names if measured[name]})


def answer_table(table: Table, records: Sequence[Record]) -> list[tuple[str, tuple[Answer, ...]]]:
    """Answer the statements in force of one table, (way, answers) for each way in which these records were measured.

    No way is preferred. Without a record there is one that has no name, in which nothing was run; a table of which
    nothing is asked has no answers.

    Raises:
        ReproError: the file of the statements is missing or malformed.
    """
    rules = load_hypotheses()
    family = rules.of_table(table.number)
    ways = collect_mini(table, records) or [("", {})]
    return [(way, answer_family(family, measured, rules)) for way, measured in ways]


def answer_family(
    family: Sequence[Hypothesis], measured: Mapping[str, Measurement], rules: Hypotheses
) -> tuple[Answer, ...]:
    """Answer the statements of one table, adjusted for all of them.

    Args:
        measured: mini-profile measurements by experiment, in one way, as `collect_mini` gives them.
        rules: has the level.
    """
    answers = [answer(hypothesis, measured) for hypothesis in family]
    adjusted = adjust_holm([a.p for a in answers])
    contrary = adjust_holm([a.p_contrary for a in answers])
    asked = [a.hypothesis.test == "order" and a.hypothesis.margin is not None for a in answers]
    close = iter(adjust_holm([a.p_close for a, is_asked in zip(answers, asked, strict=True) if is_asked]))
    return tuple(
        _decide(
            replace(a, adjusted=p, adjusted_contrary=q, adjusted_close=next(close) if is_asked else 1.0), rules.level
        )
        for a, p, q, is_asked in zip(answers, adjusted, contrary, asked, strict=True)
    )


def answer(hypothesis: Hypothesis, measured: Mapping[str, Measurement]) -> Answer:
    """Test one statement, alone: its p-values, and not yet a word but "undecided" or "not run"."""
    missing = [name for name in hypothesis.experiments if name not in measured]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return Answer(hypothesis, "not run", f"no mini-profile record of {missing[0]}{more}")
    first = measured[hypothesis.experiments[0]]
    for name in hypothesis.experiments:
        if not were_measured_alike(measured[name], first):
            return Answer(hypothesis, "not run", f"{name} and {first.experiment} were not measured alike")
    if first.first.departures:
        return Answer(hypothesis, "not run", f"of another recipe: {first.first.departures[0]}")
    runs = {name: measured[name].values_by_seed(hypothesis.metric) for name in hypothesis.experiments}
    seeds = tuple(sorted(set.intersection(*map(set, runs.values()))))
    if not seeds:
        return Answer(hypothesis, "not run", "no seed was run with all of its experiments")
    values = {name: tuple(run[seed] for seed in seeds) for name, run in runs.items()}
    strata = group_networks(hypothesis, values)
    p, p_contrary, p_close = compute_p_values(hypothesis, values)
    if hypothesis.test == "equivalence":
        effect = max((compute_difference(b, a) for a, b in combinations(strata[0], 2)), key=abs)
    else:
        effect = fmean(compute_difference(groups[0], groups[-1]) for groups in strata)
    used = [r for name in hypothesis.experiments for r in measured[name].records if r.seed in seeds]
    declared = hash_hypotheses(get(first.experiment).dataset)
    undeclared = sum(record.hypotheses != declared for record in used)
    return Answer(hypothesis, "undecided", "", seeds, values, effect, undeclared, p, p_contrary, p_close)


def compute_p_values(hypothesis: Hypothesis, values: Mapping[str, Sequence[float]]) -> tuple[float, float, float]:
    """Compute the p-values (`Answer.p`, `p_contrary`, `p_close`) of a statement from values by experiment.

    The runs of a seed begin from one shared training: the seeds of a stratum are strata of the tests.

    Args:
        values: of the same seeds, in the same order, for all experiments.
    """
    strata, p_close = group_networks(hypothesis, values), 1.0
    by_seed = [
        [[network[seed] for network in group] for group in groups]
        for groups in strata
        for seed in range(len(groups[0][0]))
    ]
    if hypothesis.margin is not None:
        p_close = compute_equivalence_p(strata, hypothesis.margin)
        if hypothesis.test == "equivalence":
            return p_close, compute_difference_p(by_seed, hypothesis.margin), 1.0
    tested = compute_order_p_values(by_seed)
    return tested.p, tested.p_contrary, p_close


def group_networks(hypothesis: Hypothesis, values: Mapping[str, Sequence[float]]) -> list[list[list[Sequence[float]]]]:
    """By stratum and group, the runs of each of its experiments, in the order of the seeds."""
    return [[[values[name] for name in group] for group in groups] for groups in hypothesis.strata]


def _decide(answered: Answer, level: float) -> Answer:
    if answered.word == "not run":
        return answered
    if answered.adjusted <= level:
        return replace(answered, word="equivalent" if answered.hypothesis.test == "equivalence" else "holds")
    if answered.adjusted_contrary <= level:
        return replace(answered, word="contrary")
    if answered.adjusted_close <= level:
        return replace(answered, word="equivalent")
    least = find_least_p(answered.hypothesis, len(answered.seeds))
    reason = f"{_count_seeds(answered)} cannot give a p-value below {least:.2g}" if least > level else ""
    return replace(answered, reason=reason)


def find_least_p(hypothesis: Hypothesis, seeds: int) -> float:
    """The least p-value that so many seeds can give: of the one deal in which every run lies as predicted.

    Where a margin is given, equivalence has none from two seeds on; one seed shows no scatter.
    """
    if hypothesis.margin is not None and seeds > 1:
        return 0.0
    if hypothesis.test == "equivalence":
        return 1.0
    least = 1.0
    for groups in hypothesis.strata:
        least /= count_deals([len(group) for group in groups]) ** seeds
    return least


def _count_seeds(answered: Answer) -> str:
    return f"{len(answered.seeds)} seed{'' if len(answered.seeds) == 1 else 's'}"


#: Of the mini profile, in Tables 2 to 5 alike (`repro.experiments.mini`).
_SHARED_START = (
    "A seed is a whole training: its runs begin from one training without blocks, and are compared within it."
)


def count_answers(answers: Sequence[Answer]) -> str:
    """Say in one sentence how many statements have which answer."""
    number = Counter(a.word for a in answers)
    seeds = sorted({len(a.seeds) for a in answers if a.seeds})
    n = f"n = {seeds[0]}" if len(seeds) == 1 else f"n = {seeds[0]} to {seeds[-1]}" if seeds else "n = 0"
    words = [f"{number['holds']} hold{'s' if number['holds'] == 1 else ''}"]
    words += [f"{number['equivalent']} {'is' if number['equivalent'] == 1 else 'are'} equivalent within the margin"]
    words += [f"{number['contrary']} {'is' if number['contrary'] == 1 else 'are'} contrary"]
    words += [f"{number['undecided']} {'is' if number['undecided'] == 1 else 'are'} undecided"]
    words += [f"{number['not run']} not run"] if number["not run"] else []
    unit = "seed" if seeds == [1] else "seeds"
    return f"Of {len(answers)} statements of the paper, {', '.join(words[:-1])} and {words[-1]} ({n} {unit})."


def describe_conditions(answers: Sequence[Answer]) -> list[str]:
    """Say whether the statements were written down before the runs, and what these share; nothing without a run."""
    if not any(a.seeds for a in answers):
        return []
    if any(a.undeclared for a in answers):
        said = (
            "Runs were made before these statements were written down, or under another version of them: what holds is "
            "suggested by these runs, not confirmed."
        )
    else:
        said = "The statements were written down before the runs: their sha256 stands in every record."
    return [said, _SHARED_START]

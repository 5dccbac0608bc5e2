"""Measurements that were made again: what counts is nobody's choice, so that none of them does.

Who is not content with a number can measure the same seed again, on another device or with another number of processes,
and keep what pleases. Times decide nothing here: they can be edited.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import TypeVar

from repro.evaluation import is_attention
from repro.records import Record
from repro.records.submission import link_answers
from repro.verification.contradictions import find_specification
from repro.verification.measurements import describe_seeds

#: (file, record, what is wrong with it)
Finding = tuple[str, Record, str]
_Files = Mapping[str, Record]
_Which = TypeVar("_Which")


def find_reruns(files: Mapping[str, Record]) -> Iterator[Finding]:
    """Find runs of one seed that are several, seeds of one way that were not measured alike, and answers of that kind.

    Records by another recipe and of weights near the authors' give no verdict and may be several.

    Args:
        files: records with which nothing else is wrong, by the names of their files.
    """
    current = {file: r for file, r in files.items() if not r.departures and find_specification(r)}
    accuracies = {
        file: record
        for file, record in current.items()
        if not is_attention(record.evaluator)
        and not (record.weights.checkpoint and record.weights.checkpoint.match == "near")
    }
    for way in _group(accuracies, _name_way).values():
        yield from _find_runs_of_one_seed(way)
    statistics = {file: record for file, record in files.items() if is_attention(record.evaluator)}
    for same in _group(statistics, lambda record: (record.network, record.evaluator, record.spec_hash)).values():
        yield from _name_all(same, "statistics of the attention in one network")
    yield from _find_answers(files)


def _name_way(record: Record) -> tuple:
    """What the seeds share that may be averaged, as `ways.name_way` has it, and a file of weights."""
    checkpoint = record.weights.checkpoint
    return (
        record.experiment, record.profile, record.source, record.engine, record.dataset.name,
        tuple(sorted(record.readings.items())), record.submitted is not None,
        checkpoint and (checkpoint.sha256, checkpoint.conventions, record.weights.converter),
    )  # fmt: skip


def _find_runs_of_one_seed(way: _Files) -> Iterator[Finding]:
    """Find seeds with several runs; else, seeds that were measured under several conditions.

    The same weights may have been evaluated on more items later, of which the most count, and the same predictions by
    two versions of an evaluator.
    """
    one_of_each: dict[str, Record] = {}
    several = False
    for seed, same in _group(way, lambda record: record.seed).items():
        weights = _group(same, lambda record: record.weights.sha256)
        again = [
            part for part in _group(same, lambda record: record.dataset.ids_sha256).values() if not _predict_alike(part)
        ]
        for runs in [same] if len(weights) > 1 else again:
            several = True
            yield from _name_all(runs, f"the measurements of seed {seed} in one way")
        file = max(same, key=lambda file: (same[file].dataset.evaluated, file))
        one_of_each[file] = same[file]
    conditions = list(_group(one_of_each, lambda record: describe_seeds(record, evaluator=False)).values())
    if len(conditions) < 2 or several:
        return
    first, second = next(iter(conditions[0])), next(iter(conditions[1]))
    text = (
        f"is of seeds of one way that were not all measured alike ({first} and {second}; `repro diff` says what "
        "differs). Which of them count is nobody's choice: measure all in a results directory of their own"
    )
    for file, record in way.items():
        yield file, record, text


def _predict_alike(runs: _Files) -> bool:
    return all(first.predicts_as(second) for first, second in combinations(runs.values(), 2))


def _find_answers(files: _Files) -> Iterator[Finding]:
    """Find answers to one submission of which several are the last."""
    answers = {file: record for file, record in files.items() if record.submitted}
    for same in _group(answers, lambda record: record.submitted and record.submitted.key).values():
        links = link_answers(same.values())
        replaced = set(links.values())
        last = {file: record for file, record in same.items() if record.key in links and record.key not in replaced}
        yield from _name_all(last, "answers to one submission, neither of which replaces the other")


def _name_all(files: _Files, what: str) -> Iterator[Finding]:
    if len(files) < 2:
        return
    for file, record in files.items():
        other = next(name for name in files if name != file)
        yield (
            file,
            record,
            f"is one of {what}; another is {other}. Which of them counts is nobody's choice: keep each in a results "
            "directory of its own",
        )


def _group(files: _Files, key: Callable[[Record], _Which]) -> dict[_Which, dict[str, Record]]:
    groups: dict[_Which, dict[str, Record]] = defaultdict(dict)
    for file, record in files.items():
        groups[key(record)][file] = record
    return groups

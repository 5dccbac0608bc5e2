"""Whether the records of a store are what they say: each by itself, and compared with the others.

Whoever uses records for a number, a claim, an ordering or an effect takes those that `admit` lets in. Imports no torch.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from repro.experiments import is_defined, is_published, readings
from repro.paper import COLUMNS, DATASETS
from repro.records import ForeignFile, Record, Store, TrainedAlike, cache_key
from repro.records.submission import link_answers
from repro.verification.contradictions import find_contradictions
from repro.verification.reruns import find_reruns
from repro.verification.trainings import compare_trainings, find_gaps, find_refused_seeds, find_strange_starts


@dataclass(frozen=True)
class Problem:
    """What is wrong with one record."""

    file: str
    record: Record
    text: str

    def __str__(self) -> str:
        return f"record {self.file}: {self.text}"


@dataclass(frozen=True)
class Admitted:
    """The records of a store that are what they say, all that this version knows, and what is wrong with the others.

    `foreign`: files of which this version can say nothing, which take part in nothing.
    """

    records: tuple[Record, ...]
    problems: tuple[Problem, ...]
    files: Mapping[str, Record]
    foreign: tuple[ForeignFile, ...] = ()
    own_problems: tuple[Problem, ...] = ()  #: with records of experiments that are not the paper's: no verdict's


def admit(store: Store) -> Admitted:
    """Admit the records of a store with which nothing is wrong; no number may come from another one.

    Raises:
        ReproError: a file is damaged; it is named.
    """
    contents = store.read()
    unknown = {file: reason for file, record in contents.records.items() if (reason := _say_unknown(record))}
    files = {file: record for file, record in contents.records.items() if file not in unknown}
    published = {file: record for file, record in files.items() if is_published(record.experiment)}
    problems = find_problems(published, contents.declared)
    own_problems = _inspect_own({f: record for f, record in files.items() if f not in published}, contents.declared)
    wrong = {problem.file for problem in (*problems, *own_problems)}
    return Admitted(
        records=tuple(record for file, record in files.items() if file not in wrong),
        problems=problems,
        files=files,
        foreign=(*contents.foreign, *(ForeignFile(file, reason) for file, reason in unknown.items())),
        own_problems=own_problems,
    )


def _say_unknown(record: Record) -> str:
    """Say what a record is of that this version does not have; or nothing."""
    if not is_defined(record.experiment):
        source = record.own and record.own.source
        where = f"; it is one of {source.name}, which was not named with --with" if source else ""
        return f"this version has no experiment {record.experiment}{where}"
    for point, choice in record.readings.items():
        if choice not in readings.POINTS.get(point, ()):
            return f"this version has no reading {point}={choice}"
    return ""


def _inspect_own(files: Mapping[str, Record], declared: Mapping[TrainedAlike, int]) -> tuple[Problem, ...]:
    """Find what is wrong with records of experiments that are not the paper's, which bear on nothing that is."""
    alone = (Problem(file, record, text) for file, record in files.items() for text in _inspect_alone(file, record, []))
    gaps = (Problem(*finding) for finding in find_gaps(files, declared))
    return tuple(sorted([*alone, *gaps], key=lambda problem: problem.file))


def find_problems(files: Mapping[str, Record], declared: Mapping[TrainedAlike, int]) -> tuple[Problem, ...]:
    """Find everything that is wrong with the records of a store, ordered by file.

    Args:
        files: records of experiments of this version, by the names of their files.
        declared: how many seeds were going to be run (`StoreContents.declared`).
    """
    submissions: dict[str, list[Record]] = defaultdict(list)
    for record in files.values():
        if record.submitted:
            submissions[record.submitted.key].append(record)
    alone = (
        Problem(file, record, text)
        for file, record in files.items()
        for text in _inspect_alone(file, record, submissions[record.submitted.key] if record.submitted else [])
    )
    compared = (Problem(*finding) for finding in compare_trainings(files, declared))
    found = [*alone, *_compare_datasets(files), *compared]
    # What comes from a record with which something is wrong is wrong as well, and the seeds beside it are a choice;
    # such a one is no rerun of another.
    before = -1
    while len(found) > before:
        before = len(found)
        for find in (find_strange_starts, find_reruns, partial(find_refused_seeds, files=files, declared=declared)):
            wrong = {problem.file for problem in found}
            right = {file: record for file, record in files.items() if file not in wrong}
            found += [Problem(*finding) for finding in find(right)]
    return tuple(sorted(found, key=lambda problem: problem.file))


def _inspect_alone(file: str, record: Record, submission: list[Record]) -> Iterator[str]:
    """Say what is wrong with a record by itself; `submission`: all answers to the same one."""
    if file != record.filename:
        yield f"the file's name is not that of its content, {record.filename}: it was copied, renamed or edited"
    if not _key_fits(record, submission):
        yield "its key is not that of its predictions, evaluator and weights: it was edited"
    if is_published(record.experiment) != (record.own is None):
        yield "it does not say as it has to whether its experiment is the paper's or another one"
    full = record.dataset.name in DATASETS
    if record.profile == "mini" and (full or _is_full(record)):
        what = record.dataset.name if full else "the full-size network"
        yield f"claims the mini profile, but was measured with {what}"
    if record.profile == "full" and record.dataset.name.startswith("mini-"):
        yield f"claims the full profile, but was measured with {record.dataset.name}"
    if record.profile == "mini" and record.source == "checkpoint":
        yield "claims the mini profile and weights that others trained, which it has none of"
    if record.source == "trained" and record.training is None:
        yield "claims that it was trained here, and says nothing of the training"
    if record.source == "checkpoint" and record.training is not None:
        yield "claims weights that others trained, and a training here"
    if record.source == "checkpoint" and record.seed != 0:
        yield f"is of seed {record.seed}, but weights that others trained have none: they are evaluated with seed 0"
    data = record.dataset
    if data.evaluated + len(data.failed) > data.expected:
        yield f"{data.evaluated} items evaluated and {len(data.failed)} failed, but there are only {data.expected}"
    for metric in record.metrics:
        if metric.unit == "%" and not 0 <= metric.value <= 100:
            yield f"{_get_heading(metric.name)} is {metric.value:g} %"
        if metric.name in COLUMNS and metric.unit == "%" and metric.n != data.evaluated:
            yield f"{_get_heading(metric.name)} is of {metric.n} items, but {data.evaluated} were evaluated"
    names = Counter(metric.name for metric in record.metrics)
    for name in (name for name, times in names.items() if times > 1):
        yield f"{_get_heading(name)} stands in it twice"
    if len(set(data.failed)) < len(data.failed):
        yield "an item failed twice"
    yield from find_contradictions(record)


def _get_heading(metric: str) -> str:
    return COLUMNS[metric].heading if metric in COLUMNS else metric


def _key_fits(record: Record, submission: list[Record]) -> bool:
    if not record.submitted:
        return record.key == cache_key(
            predictions=record.predictions_sha256, evaluator=record.evaluator, training=record.measured_by
        )
    return record.key in link_answers(submission)


def _is_full(record: Record) -> bool:
    experiment = readings.find_experiment(record.experiment, "full", record.readings.items())
    return experiment is not None and record.spec_hash == experiment.spec_hash


def _compare_datasets(files: Mapping[str, Record]) -> Iterator[Problem]:
    """Find records of a data set that is not the one of the other records of that name and size.

    Annotations belong to the whole data set, whatever part of it was evaluated; the items are compared for equal parts.
    """
    annotations: dict[tuple, Counter[str]] = defaultdict(Counter)
    items: dict[tuple, Counter[str]] = defaultdict(Counter)
    for record in files.values():
        annotations[_get_name(record)][record.dataset.annotations_sha256] += 1
        items[_get_name(record), record.dataset.evaluated][record.dataset.ids_sha256] += 1
    for file, record in files.items():
        data = record.dataset
        for what, own, known in (
            ("annotations", data.annotations_sha256, annotations[_get_name(record)]),
            ("items", data.ids_sha256, items[_get_name(record), data.evaluated]),
        ):
            (usual, times), *others = known.most_common()
            if others and own != usual:
                others_of = f"{times} other records" if times > 1 else "another record"
                text = f"its {what} of {data.name} are not those of {others_of}: the data set was changed"
                yield Problem(file, record, text)
                break


def _get_name(record: Record) -> tuple:
    return record.profile, record.dataset.name, record.dataset.expected

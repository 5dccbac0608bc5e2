"""Whether the records of a store are what they say: found by what they hold, and by holding them against each other.

A number from a record with a finding gets no verdict. Imports no torch.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from repro.experiments import EXPERIMENTS
from repro.paper import COLUMNS, DATASETS
from repro.records import Record, cache_key
from repro.records.submission import EVALUATION_SERVER


@dataclass(frozen=True)
class Finding:
    """What is wrong with one record."""

    file: str
    record: Record
    text: str
    alone: bool = False  #: whether the record by itself shows it; if not, it does not go with others

    def __str__(self) -> str:
        return f"record {self.file}: {self.text}"


def findings(files: Mapping[str, Record]) -> tuple[Finding, ...]:
    """Everything that is wrong with the records of a store, ordered by file.

    Args:
        files: the records by the names of their files (`Store.files`).
    """
    submissions = defaultdict(list)
    for record in files.values():
        if record.submitted:
            submissions[record.submitted.key].append(record)
    alone = (
        Finding(file, record, text, alone=True)
        for file, record in files.items()
        for text in _alone(file, record, submissions[record.submitted.key] if record.submitted else [])
    )
    return tuple(sorted(chain(alone, _datasets(files), _twice(files)), key=lambda finding: finding.file))


def _alone(file: str, record: Record, submission: list[Record]) -> Iterator[str]:
    """What is wrong with a record by itself; `submission`: all answers to the same one."""
    if file != record.filename:
        yield f"the file's name is not that of its content, {record.filename}: it was copied, renamed or edited"
    if not _key_fits(record, submission):
        yield "its key is not that of its predictions, evaluator and weights: it was edited"
    if record.experiment not in EXPERIMENTS:
        yield f"this version has no experiment {record.experiment}"
    full = record.dataset.name in DATASETS
    if record.profile == "mini" and (full or _is_full(record)):
        what = record.dataset.name if full else "the full-size network"
        yield f"says that it is of the mini profile, and is of {what}"
    if record.profile == "full" and record.dataset.name.startswith("mini-"):
        yield f"says that it is of the full profile, and is of {record.dataset.name}"
    data = record.dataset
    if data.evaluated + len(data.failed) > data.expected:
        yield f"{data.evaluated} items evaluated and {len(data.failed)} failed, of {data.expected} that there are"
    for metric in record.metrics:
        if metric.unit == "%" and not 0 <= metric.value <= 100:
            yield f"{_heading(metric.name)} is {metric.value:g} %"
        if metric.name in COLUMNS and metric.unit == "%" and metric.n != data.evaluated:
            yield f"{_heading(metric.name)} is of {metric.n} items, and {data.evaluated} were evaluated"
    names = Counter(metric.name for metric in record.metrics)
    for name in (name for name, times in names.items() if times > 1):
        yield f"{_heading(name)} stands in it twice"
    if len(set(data.failed)) < len(data.failed):
        yield "an item failed twice"


def _heading(metric: str) -> str:
    return COLUMNS[metric].heading if metric in COLUMNS else metric


def _key_fits(record: Record, submission: list[Record]) -> bool:
    if not record.submitted:
        parts = {"predictions": record.predictions_sha256, "evaluator": record.evaluator}
        return record.key == cache_key(**parts, training=record.measured_by)
    # An answer's key goes on from that of the answer before it.
    metrics = {metric.name: metric.value for metric in record.metrics}
    parts = {"submission": record.submitted.key, "evaluator": EVALUATION_SERVER, "metrics": metrics}
    return any(record.key == cache_key(**parts, after=before) for before in (None, *(r.key for r in submission)))


def _is_full(record: Record) -> bool:
    experiment = EXPERIMENTS.get(record.experiment)
    return experiment is not None and record.spec_hash == experiment.spec_hash


def _datasets(files: Mapping[str, Record]) -> Iterator[Finding]:
    """Records of a data set that is not the one of the other records of that name and number of items."""
    known: dict[tuple, Counter] = defaultdict(Counter)
    for record in files.values():
        known[_named(record)][_content(record)] += 1
    for file, record in files.items():
        (usual, times), *others = known[_named(record)].most_common()
        if others and _content(record) != usual:
            what = "annotations" if _content(record)[0] != usual[0] else "items"
            of = f"{times} other records" if times > 1 else "another record"
            text = f"its {what} of {record.dataset.name} are not those of {of}: the data set was changed"
            yield Finding(file, record, text)


def _named(record: Record) -> tuple:
    return record.profile, record.dataset.name, record.dataset.expected, record.dataset.evaluated


def _content(record: Record) -> tuple[str, str]:
    return record.dataset.annotations_sha256, record.dataset.ids_sha256


def _twice(files: Mapping[str, Record]) -> Iterator[Finding]:
    """Trainings with the predictions of another: one stands for the other. Detectors that find nothing are alike."""
    of: dict[str, tuple[str, Record]] = {}
    for file, record in sorted(files.items(), key=lambda item: (item[1].created, item[0])):
        if record.training is None or record.submitted or not any(metric.value for metric in record.metrics):
            continue
        other, first = of.setdefault(record.predictions_sha256, (file, record))
        if first is record:
            continue
        if first.key == record.key:
            yield Finding(file, record, f"is the same measurement as {other}")
        elif (first.experiment, first.seed) != (record.experiment, record.seed):
            differs = "seed" if first.experiment == record.experiment else "experiment"
            yield Finding(file, record, f"has the predictions of {other}, which is of another {differs}")

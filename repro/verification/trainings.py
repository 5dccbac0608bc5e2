"""The trainings of a store compared with one another: copies, seeds that are missing, and what they start from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from repro.evaluation import is_attention
from repro.experiments import EXPERIMENTS, readings
from repro.records import Record, TrainedAlike

#: (file, record, what is wrong with it)
Finding = tuple[str, Record, str]


def compare_trainings(files: Mapping[str, Record], declared: Mapping[TrainedAlike, int]) -> Iterator[Finding]:
    """Find trainings that are copies of others, lack seeds, or start from weights that nobody trained.

    Args:
        files: all records, by the names of their files.
        declared: how many seeds were going to be run.
    """
    trained = {file: record for file, record in files.items() if record.training}
    here = {file: record for file, record in trained.items() if not record.submitted}
    yield from _find_copies(trained)
    yield from _find_weights_of_others(trained, files.values())
    yield from _find_gaps(here, declared)
    # Which seeds are submitted is a choice as well; how many was declared of trainings alone.
    yield from _find_gaps({file: record for file, record in trained.items() if record.submitted}, {})
    yield from _find_strange_starts(here)


def _find_copies(trained: Mapping[str, Record]) -> Iterator[Finding]:
    """Find trainings with weights, a key or predictions of another. Detectors that find nothing predict the same."""
    by_what: dict[tuple[str, str], tuple[str, Record]] = {}
    for file, record in sorted(trained.items(), key=lambda item: (item[1].created, item[0])):
        assert record.training is not None, "they are trainings"
        shared = [("weights", record.weights.sha256), ("training key", record.training.key)]
        if any(metric.value for metric in record.metrics):
            shared.append(("predictions", record.predictions_sha256))
        for what, value in reversed(shared):
            other, first = by_what.setdefault((what, value), (file, record))
            if first is record:
                continue
            if first.key == record.key:
                yield file, record, f"is the same measurement as {other}"
                break
            if (first.experiment, first.seed) != (record.experiment, record.seed):
                differs = "seed" if first.experiment == record.experiment else "experiment"
                yield file, record, f"has the {what} of {other}, which is of another {differs}"
                break


def _find_weights_of_others(trained: Mapping[str, Record], records: Iterable[Record]) -> Iterator[Finding]:
    """Find trainings whose final weights are those of the authors."""
    theirs = [(r.weights.sha256, r.weights.checkpoint) for r in records if r.weights.checkpoint]
    # A file of no row's authors may be one's own training, evaluated again.
    checkpoints = {sha256: checkpoint.id for sha256, checkpoint in theirs if checkpoint.match == "exact"}
    for file, record in trained.items():
        if record.weights.sha256 in checkpoints:
            yield (
                file,
                record,
                f"claims that it was trained here, but has the weights of {checkpoints[record.weights.sha256]}",
            )


def _find_gaps(trained: Mapping[str, Record], declared: Mapping[TrainedAlike, int]) -> Iterator[Finding]:
    """Find experiments whose seeds are not 0..n-1, or not all that were declared before they were run."""
    runs: dict[TrainedAlike, dict[str, Record]] = defaultdict(dict)
    for file, record in trained.items():
        if not record.departures and not is_attention(record.evaluator) and _is_current(record):
            followed = tuple(sorted(record.readings.items()))
            runs[record.experiment, record.profile, record.engine, followed][file] = record
    for of, own in runs.items():
        seeds = {record.seed for record in own.values()}
        planned = declared.get(of, 0)
        missing = sorted(set(range(max(planned, max(seeds) + 1))) - seeds)
        which = f"seed {missing[0]} is" if len(missing) == 1 else f"seeds {', '.join(map(str, missing))} are"
        why = f"{planned} seeds were declared" if planned else f"seeds are run from 0 on, and {max(seeds)} is here"
        for file, record in own.items():
            if missing:
                yield file, record, f"{which} missing ({why}): a choice among seeds is no measurement"
            elif planned and record.seed >= planned:
                yield file, record, f"is of seed {record.seed}, but {planned} seeds were declared before they were run"


def _is_current(record: Record) -> bool:
    current = readings.find_experiment(record.experiment, record.profile, record.readings.items())
    return current is not None and current.spec_hash == record.spec_hash


def _find_strange_starts(trained: Mapping[str, Record]) -> Iterator[Finding]:
    """Find trainings by the recipe that start from weights that no record has of a training by its recipe.

    The record of the other experiment follows the same readings, of those that touch it.
    """
    weights = {
        (record.experiment, record.profile, tuple(sorted(record.readings.items())), record.weights.sha256)
        for record in trained.values()
        if not record.departures
    }
    for file, record in trained.items():
        experiment = EXPERIMENTS.get(record.experiment)
        wanted = experiment.recipe.initial_weights if experiment else ""
        if wanted not in EXPERIMENTS or record.departures:
            continue
        initial = record.weights.initial_sha256
        current = readings.find_experiment(record.experiment, record.profile, record.readings.items())
        followed = readings.get_experiment(wanted, record.profile, current.readings).readings if current else ()
        if initial is None or (wanted, record.profile, followed, initial) not in weights:
            begin = f"weights with sha256 {initial[:12]}..." if initial else "random weights"
            yield file, record, f"it starts from {begin}, which are not those of a record of {wanted}"

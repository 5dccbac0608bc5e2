"""The trainings of a store compared with one another: copies, seeds that are missing, and what they start from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice

from repro.checkpoints.choice import OWN_FILE
from repro.evaluation import is_attention
from repro.experiments import get, is_defined, mini, readings
from repro.records import Record, TrainedAlike
from repro.verification.contradictions import find_specification

_NAMED = 10  #: missing seeds, in a message
#: (file, record, what is wrong with it)
Finding = tuple[str, Record, str]


def compare_trainings(files: Mapping[str, Record], declared: Mapping[TrainedAlike, int]) -> Iterator[Finding]:
    """Find trainings that are copies of others or of published weights, lack seeds, or began otherwise than others.

    Args:
        files: all records, by the names of their files.
        declared: how many seeds were going to be run.
    """
    trained = {file: record for file, record in files.items() if record.training}
    here = {file: record for file, record in trained.items() if not record.submitted}
    yield from _find_copies(files)
    yield from _find_weights_of_others(files)
    yield from find_gaps(here, declared)
    # Which seeds are submitted is a choice as well; how many was declared of trainings alone.
    yield from find_gaps({file: record for file, record in trained.items() if record.submitted}, {})
    yield from _find_other_pretraining(here)


def _find_copies(files: Mapping[str, Record]) -> Iterator[Finding]:
    """Find records with weights, a training key or predictions of another training or of another file of weights.

    Which of them was there first is not asked: times can be edited. Detectors that find nothing predict the same.
    """
    sharing: dict[tuple[str, str], dict[str, Record]] = defaultdict(dict)
    for file, record in files.items():
        if any(metric.value for metric in record.metrics) and not _is_own_file(record):
            # Records of earlier versions have the file's hash in the place of the content's.
            for hashed in filter(None, (record.predictions_sha256, record.predictions_file_sha256)):
                sharing["predictions", hashed][file] = record
        if record.training:
            sharing["weights", record.weights.sha256][file] = record
            sharing["training key", record.training.key][file] = record
    named = set()
    for (what, _), mine in sharing.items():
        for file, record in mine.items():
            other = next((name for name in mine if _name_origin(mine[name]) != _name_origin(record)), None)
            if other and file not in named:
                named.add(file)
                differs = _say_what_differs(record, mine[other])
                yield file, record, f"has the {what} of {other}, which is of another {differs}"


def _is_own_file(record: Record) -> bool:
    """Whether it is of a file of no known publisher, which may hold what was trained here."""
    return record.weights.checkpoint is not None and record.weights.checkpoint.id == OWN_FILE


def _name_origin(record: Record) -> tuple:
    """Name what predictions and weights come from: a training, or a file of weights."""
    if record.weights.checkpoint:
        return (record.weights.checkpoint.sha256,)
    followed = [one for one in sorted(record.readings.items()) if one[0] not in readings.OF_EVALUATION]
    return (record.experiment, record.profile, record.seed, record.engine, *followed)


def _say_what_differs(first: Record, second: Record) -> str:
    if first.weights.checkpoint or second.weights.checkpoint:
        return "origin"
    if (first.experiment, first.profile) != (second.experiment, second.profile):
        return "experiment"
    return "seed" if first.seed != second.seed else "engine or reading"


def _find_weights_of_others(files: Mapping[str, Record]) -> Iterator[Finding]:
    """Find trainings whose final weights are published ones."""
    theirs = {
        record.weights.sha256: record.weights.checkpoint.id
        for record in files.values()
        if record.weights.checkpoint and not _is_own_file(record)
    }
    for file, record in files.items():
        if record.training and record.weights.sha256 in theirs:
            whose = theirs[record.weights.sha256]
            yield file, record, f"claims that it was trained here, but has the weights of {whose}"


def _find_other_pretraining(here: Mapping[str, Record]) -> Iterator[Finding]:
    """Find trainings of the mini profile that begin from other weights than the others of the same pre-training.

    Or from the same as those of another seed, where each seed has a pre-training of its own.
    """
    pretrained: dict[tuple[str, int], dict[str, Record]] = defaultdict(dict)
    for file, record in here.items():
        experiment = find_specification(record)
        if experiment and experiment.recipe.initial_weights in mini.PRETRAINED and not record.departures:
            pretrainings = mini.list_pretrainings(experiment)
            seed = record.seed if mini.is_repeated_with_each_seed(pretrainings) else 0
            pretrained[pretrainings[-1].spec_hash, seed][file] = record
    for mine in pretrained.values():
        begun = Counter(record.weights.initial_sha256 for record in mine.values())
        (usual, times), *others = begun.most_common()
        for file, record in mine.items():
            if others and record.weights.initial_sha256 != usual:
                others_of = f"{times} other records" if times > 1 else "another record"
                yield file, record, f"begins from other weights than {others_of} of the same pre-training"
    for (spec, seed), mine in pretrained.items():
        elsewhere = {
            record.weights.initial_sha256: name
            for (other, its_seed), theirs in pretrained.items()
            if other == spec and its_seed != seed
            for name, record in theirs.items()
        }
        for file, record in mine.items():
            if same := elsewhere.get(record.weights.initial_sha256):
                yield file, record, f"begins from the weights of another seed, as {same} does"


def find_gaps(trained: Mapping[str, Record], declared: Mapping[TrainedAlike, int]) -> Iterator[Finding]:
    """Find experiments whose seeds are not 0..n-1, or not all that were declared before they were run."""
    for of, own in _group_seeds(trained).items():
        seeds = {record.seed for record in own.values()}
        planned = declared.get(of, 0)
        expected = max(planned, max(seeds) + 1)
        number = expected - len(seeds)  # a seed can be anything: never a list of all that are missing
        missing = list(islice((seed for seed in range(expected) if seed not in seeds), _NAMED))
        more = f" and {number - _NAMED} more" if number > _NAMED else ""
        which = f"seed {missing[0]} is" if number == 1 else f"seeds {', '.join(map(str, missing))}{more} are"
        why = f"{planned} seeds were declared" if planned else f"seeds are run from 0 on, and {max(seeds)} is here"
        for file, record in own.items():
            if missing:
                yield file, record, f"{which} missing ({why}): a choice among seeds is no measurement"
            elif planned and record.seed >= planned:
                yield file, record, f"is of seed {record.seed}, but {planned} seeds were declared before they were run"


def find_refused_seeds(
    right: Mapping[str, Record], files: Mapping[str, Record], declared: Mapping[TrainedAlike, int]
) -> Iterator[Finding]:
    """Find trainings beside which another seed is refused: what is left is a choice among seeds.

    Args:
        right: records with which nothing else is wrong, by the names of their files.
        files: all of them.
        declared: how many seeds were going to be run; one that is beyond them is not missed.
    """
    for submitted in (False, True):  # which seeds are submitted is a choice as well
        here = {file: record for file, record in files.items() if (record.submitted is not None) == submitted}
        for of, own in _group_seeds(here).items():
            left = {record.seed for file, record in own.items() if file in right}
            lost = {
                record.seed: file
                for file, record in reversed(own.items())
                if record.seed not in left and (submitted or not declared.get(of) or record.seed < declared[of])
            }
            if not lost:
                continue
            seed, other = min(lost.items())
            for file, record in own.items():
                if file in right:
                    yield file, record, f"seed {seed} is refused ({other}): what is left is a choice among seeds"


def _group_seeds(files: Mapping[str, Record]) -> dict[TrainedAlike, dict[str, Record]]:
    """Group the trainings whose seeds are counted together: by the recipe, of this version's specification."""
    runs: dict[TrainedAlike, dict[str, Record]] = defaultdict(dict)
    for file, record in files.items():
        by_recipe = record.training and not record.departures and not is_attention(record.evaluator)
        if by_recipe and find_specification(record):
            followed = tuple(sorted(record.readings.items()))
            runs[record.experiment, record.profile, record.engine, followed][file] = record
    return runs


def find_strange_starts(files: Mapping[str, Record]) -> Iterator[Finding]:
    """Find trainings by the recipe that start from weights that no record has of a training by its recipe.

    The record of the other experiment is of seed 0, in the mini profile of the same seed, and of this version's
    specification, and it follows the same readings, of those that touch it.

    Args:
        files: records with which nothing else is wrong, by the names of their files.
    """
    trained = {file: record for file, record in files.items() if record.training and not record.submitted}
    weights = {
        (record.experiment, record.profile, record.seed, tuple(sorted(record.readings.items())), record.weights.sha256)
        for record in trained.values()
        if not record.departures and find_specification(record)
    }
    for file, record in trained.items():
        wanted = get(record.experiment).recipe.initial_weights if is_defined(record.experiment) else ""
        if not is_defined(wanted) or record.departures:
            continue
        initial = record.weights.initial_sha256
        current = readings.find_experiment(record.experiment, record.profile, record.readings.items())
        followed = readings.get_experiment(wanted, record.profile, current.readings).readings if current else ()
        seed = record.seed if record.profile == "mini" else 0
        if initial is None or (wanted, record.profile, seed, followed, initial) not in weights:
            begin = f"weights with sha256 {initial[:12]}..." if initial else "random weights"
            yield file, record, f"it starts from {begin}, which are not those of a record of {wanted}"

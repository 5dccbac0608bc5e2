"""Weights that were trained here and are still in a directory of results, found by their records. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from repro.engine.fitted import WEIGHTS
from repro.errors import ReproError
from repro.evaluation import is_attention
from repro.experiments import Experiment, readings
from repro.files.places import is_there
from repro.planning import keys
from repro.records import Record, open_results
from repro.settings import Profile, Settings, describe_place


@dataclass(frozen=True)
class TrainedWeights:
    """What a training here ended in, and the record of its evaluation."""

    record: Record
    experiment: Experiment  #: as its profile runs it
    path: Path  #: of the weights


def find_trained(name: str, results: Path, profile: Profile | None = None, seed: int | None = None) -> TrainedWeights:
    """Find the weights of an experiment that were trained here: of the full profile if there are some, lowest seed.

    Only what follows the default readings of the protocol counts.

    Args:
        results: the directory of results.
        profile, seed: only this one.

    Raises:
        ReproError: there are none; the message says how to get some.
    """
    store = open_results(results, may_be_absent=True)
    wanted = [
        record
        for record in store.all()
        if record.experiment == name
        and record.source == "trained"
        and not (record.readings or record.submitted or is_attention(record.evaluator))
        and profile in (None, record.profile)
        and seed in (None, record.seed)
    ]
    shown = f"{name}{f', profile {profile}' if profile else ''}{'' if seed is None else f', seed {seed}'}"
    if not wanted:
        raise ReproError(f"{shown}: nothing was trained in {results}. {_explain_how(name, profile, seed, results)}")
    wanted.sort(key=lambda record: record.created, reverse=True)
    wanted.sort(key=lambda record: (record.profile != "full", record.seed))
    edited = missing = ""
    for record in wanted:
        experiment = readings.get_experiment(name, record.profile)
        if record.spec_hash != experiment.spec_hash:
            edited = edited or f"record {record.filename} is of another {name} than is defined now; was a file edited?"
            continue
        assert record.training is not None  # as of everything that is trained here
        directory = keys.run_directory(experiment, Settings(results), record.training.key, f"seed{record.seed}")
        path = directory / WEIGHTS
        if is_there(path):
            return TrainedWeights(record, experiment, path)
        missing = missing or (
            f"the weights of record {record.filename} are not here any more: {path} is missing. Where that record is "
            f"deleted, too, `{record.command}` trains them again."
        )
    raise ReproError(f"{shown}: {missing or edited} {_explain_how(name, profile, seed, results)}")


def _explain_how(name: str, profile: Profile | None, seed: int | None, results: Path) -> str:
    """Say how to get weights of an experiment."""
    chosen = f" --profile {profile or 'mini'}" + ("" if seed is None else f" --seed {seed}") + describe_place(results)
    return (
        f"`repro run {name}{chosen}` trains it (minutes in the mini profile); --weights ID|FILE|DIR takes weights that "
        f"others trained, and `repro checkpoints list --experiment {name}` lists those that are public."
    )

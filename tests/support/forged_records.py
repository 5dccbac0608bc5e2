"""Records of experiments of the user's own as if they had given what an experiment of the paper gave, for tests that
must not train. Everything that can be reckoned again fits: names, hashes and keys."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from repro.experiments import Experiment
from repro.measuring.record_assembly import describe_own
from repro.paths import TABLES
from repro.planning.keys import training_key
from repro.records import Record, Store, cache_key
from repro.settings import Settings

REFERENCE = TABLES / "reference"


def copy_committed(results: Path, names: Iterable[str], seeds: Iterable[int]) -> dict[tuple[str, int], Record]:
    """Copy committed records of the mini profile, with their evidence; by experiment and seed."""
    copied = {}
    for record in Store(REFERENCE / "records").all():
        if record.experiment in names and record.seed in seeds:
            Store(results / "records").add(record)
            _copy_evidence(REFERENCE, results, record, record.experiment)
            copied[record.experiment, record.seed] = record
    return copied


def forge(results: Path, experiment: Experiment, records: Iterable[Record]) -> None:
    """Store records of `experiment`, as the mini profile runs it, with the numbers and the evidence of others."""
    for record in records:
        key = training_key(experiment, Settings(results=results, seed=record.seed))
        made = record.model_copy(
            update={
                "experiment": experiment.name,
                "spec_hash": experiment.spec_hash,
                "own": describe_own(experiment),
                "training": record.training.model_copy(update={"key": key}),
                "key": cache_key(predictions=record.predictions_sha256, evaluator=record.evaluator, training=key),
            }
        )
        Store(results / "records").add(made)
        _copy_evidence(REFERENCE, results, record, experiment.name)


def _copy_evidence(source: Path, results: Path, record: Record, name: str) -> None:
    tail = f"mini.seed{record.seed}.{record.predictions_sha256[:12]}.npz"
    (results / "evidence").mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "evidence" / f"{record.experiment}.{tail}", results / "evidence" / f"{name}.{tail}")

"""Which weights that others trained stand in for an experiment. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from repro.checkpoints import OWN_FORMAT, registry
from repro.checkpoints.registry import CheckpointEntry
from repro.errors import ReproError
from repro.experiments import Classifier, Detector, Experiment
from repro.files.regular_files import Digests, hash_file, sha256


@dataclass(frozen=True)
class Choice:
    """Weights for one experiment, not fetched yet unless they are a file given by hand."""

    id: str  #: the entry's in the registry, or "file"
    match: Literal["exact", "near"]
    differs: str  #: how the weights differ from the experiment's, in words; empty if they are the very row's
    identity: str  #: what stands for the file in cache keys: its published hash, or else its sha256
    format: str | None  #: None: to be recognised by the file's keys
    entry: CheckpointEntry | None = None
    file: Path | None = None
    reported: Mapping[str, float] = field(default_factory=dict)  #: by their publisher; keys are columns of the tables

    @property
    def digest(self) -> str:
        """What the file's bytes have to match when they are used: "sha256:..." or "md5:...", or how it begins."""
        return self.entry.digest if self.entry and self.entry.digest else f"sha256:{self.identity}"

    def network(self, experiment: Experiment) -> Detector | Classifier:
        """The network of the file: the experiment's, changed where the registry says that it differs."""
        return self.entry.adapt_network(experiment.network) if self.entry else experiment.network


def choose(experiment: Experiment, weights: str | None) -> Choice:
    """Choose the weights to evaluate for `experiment`.

    Args:
        weights: an id of the registry, a file, ID=FILE for a copy of an entry that was fetched by hand, or FORMAT=FILE;
            None for the authors' weights of this very row or, if they released none, the nearest ones.

    Raises:
        ReproError: there are none, they do not belong to the experiment, something stands in the way, or a file is not
            what its publisher says.
    """
    if weights is None:
        return _choose_nearest(experiment)
    known = registry.load()
    id_, separator, file = weights.partition("=")
    if separator and any(entry.id == id_ for entry in known.entries):
        return _choose_entry(experiment, known.get(id_), Path(file))
    if separator and id_ in (OWN_FORMAT, *get_args(registry.Format)) and Path(file).is_file():
        return Choice("file", "near", "a file of unknown origin", sha256(Path(file)), id_, file=Path(file))
    if Path(weights).is_file():
        digests = hash_file(Path(weights))
        if entry := known.identify(digests):
            return _choose_entry(experiment, entry, Path(weights), digests)
        return Choice("file", "near", "a file of unknown origin", digests.sha256, None, file=Path(weights))
    return _choose_entry(experiment, known.get(weights))


def find_exact(experiment: Experiment) -> Choice | None:
    """The authors' weights of this very row; None if there are none that can be fetched and checked."""
    for entry, serves in registry.load().list_serving(experiment.name):
        if serves.match == "exact" and entry.obstacle is None:
            return _choose_entry(experiment, entry)
    return None


def _choose_nearest(experiment: Experiment) -> Choice:
    for entry, serves in registry.load().list_serving(experiment.name):  # exact ones first
        if serves.match in ("exact", "near") and entry.obstacle is None:
            return _choose_entry(experiment, entry)
    raise ReproError(
        f"{experiment.name} has no public weights that can be evaluated (`repro checkpoints list --experiment "
        f"{experiment.name}`). Train it with --source trained, or bring a file with --weights FILE."
    )


def _choose_entry(
    experiment: Experiment, entry: CheckpointEntry, file: Path | None = None, digests: Digests | None = None
) -> Choice:
    """The choice of `entry`, or of a copy of it by hand, which is hashed if its `digests` are not known yet."""
    serves = entry.find_service(experiment.name)
    if entry.withdrawn or (file is None and entry.obstacle is not None):
        raise ReproError(f"weights {entry.id} cannot be evaluated: {entry.obstacle}")
    if serves is None or serves.match == "initial":
        experiments = ", ".join(s.experiment for s in entry.serves)
        raise ReproError(f"weights {entry.id} do not belong to {experiment.name}; they serve {experiments}.")
    if file is not None:
        digests = digests or hash_file(file)
        entry.check(file, digests)
    identity = entry.digest or (digests.sha256 if digests else None)
    assert identity is not None  # a file without a published hash has an obstacle
    return Choice(
        id=entry.id,
        match=serves.match,
        differs=serves.differs,
        identity=identity,
        format=entry.format,
        entry=entry,
        file=file,
        reported=entry.reported,
    )

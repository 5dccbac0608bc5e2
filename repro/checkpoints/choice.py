"""Which weights that others trained stand in for an experiment. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from repro.checkpoints import OWN_FORMAT, hub_directories, registry
from repro.checkpoints.hub_directories import HubDirectory
from repro.checkpoints.registry import CheckpointEntry
from repro.checkpoints.weight_names import add_part, is_path, split_part
from repro.errors import ReproError
from repro.experiments import Classifier, Detector, Experiment
from repro.files.regular_files import Digests, hash_file

#: In the place of an entry's id, for a file that the registry does not know.
OWN_FILE = "file"


@dataclass(frozen=True)
class Choice:
    """Weights for one experiment, not fetched yet unless they are a file given by hand."""

    id: str  #: the entry's in the registry, or "file"
    match: Literal["exact", "near"]
    differs: str  #: how the weights differ from the experiment's, in words; empty if they are the very row's
    identity: str  #: what stands for the weights in cache keys: the file's published hash, or else its sha256; #part
    format: str | None  #: None: to be recognised by the file's keys
    entry: CheckpointEntry | None = None
    file: Path | None = None
    part: str | None = None  #: which state dict of the file, if one was named
    reported: Mapping[str, float] = field(default_factory=dict)  #: by their publisher; keys are columns of the tables

    @property
    def digest(self) -> str:
        """What the file's bytes have to match when they are used: "sha256:..." or "md5:...", or how it begins."""
        return self.entry.digest if self.entry and self.entry.digest else f"sha256:{self.identity.partition('#')[0]}"

    def network(self, experiment: Experiment) -> Detector | Classifier:
        """The network of the file: the experiment's, changed where the registry says that it differs."""
        return self.entry.adapt_network(experiment.network) if self.entry else experiment.network


def choose(experiment: Experiment, weights: str | None) -> Choice:
    """Choose the weights to evaluate for `experiment`.

    Args:
        weights: an id of the registry, a file, ID=FILE for a copy of an entry that was fetched by hand, or FORMAT=FILE;
            all with #PART if the file holds several state dicts; a directory that `repro export hub` wrote; None for
            the authors' weights of this very row or, if they released none, the nearest ones.

    Raises:
        ReproError: there are none, they do not belong to the experiment, something stands in the way, or a file is not
            what its publisher says.
    """
    if weights is None:
        return _choose_nearest(experiment)
    known = registry.load()
    named, part = split_part(weights)
    id_, separator, file = named.partition("=")
    ids = {entry.id for entry in known.entries}
    if separator and id_ in ids:
        return _choose_entry(experiment, known.get(id_), Path(file), part)
    if separator and id_ in (OWN_FORMAT, *get_args(registry.Format)):
        return _choose_unknown(Path(file), part, hash_file(Path(file)), id_)
    if not is_path(named, ids):
        return _choose_entry(experiment, known.get(named), part=part)
    if exported := hub_directories.find(named):
        return _choose_exported(experiment, exported, part)
    digests = hash_file(Path(named))
    if entry := known.identify(digests):
        return _choose_entry(experiment, entry, Path(named), part, digests)
    return _choose_unknown(Path(named), part, digests)


def find_exact(experiment: Experiment) -> Choice | None:
    """The authors' weights of this very row; None if there are none that can be fetched and checked."""
    for entry, serves in registry.load().list_serving(experiment.name):
        if serves.match == "exact" and entry.obstacle is None:
            return _choose_entry(experiment, entry)
    return None


def _choose_unknown(file: Path, part: str | None, digests: Digests, format: str | None = None) -> Choice:
    identity = add_part(digests.sha256, part)
    return Choice(OWN_FILE, "near", "a file of unknown origin", identity, format, file=file, part=part)


def _choose_exported(experiment: Experiment, exported: HubDirectory, part: str | None) -> Choice:
    if part is not None:
        raise ReproError(f"{exported.path} holds one state dict, and none is called {part}: leave out #{part}")
    exported.require_network(experiment)
    identity = exported.hash_weights()
    origin = f"trained elsewhere by {exported.exported.package} (seed {exported.exported.seed})"
    return Choice(OWN_FILE, "near", origin, identity, OWN_FORMAT, file=exported.weights)


def _choose_nearest(experiment: Experiment) -> Choice:
    for entry, serves in registry.load().list_serving(experiment.name):  # exact ones first
        if serves.match in ("exact", "near") and entry.obstacle is None:
            return _choose_entry(experiment, entry)
    raise ReproError(
        f"{experiment.name} has no public weights that can be evaluated (`repro checkpoints list --experiment "
        f"{experiment.name}`). Train it with --source trained, or bring a file with --weights FILE."
    )


def _choose_entry(
    experiment: Experiment,
    entry: CheckpointEntry,
    file: Path | None = None,
    part: str | None = None,
    digests: Digests | None = None,
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
        identity=add_part(identity, part),
        format=entry.format,
        entry=entry,
        file=file,
        part=part,
        reported=entry.reported,
    )

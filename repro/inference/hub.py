"""Weights that were trained here as a directory for the Hugging Face hub: what of it is not rendered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from repro import __version__
from repro.checkpoints import hub_directories, safetensors_files, weight_files
from repro.checkpoints.hub_directories import CARD as CARD
from repro.checkpoints.hub_directories import ExportedWeights, HubConfig
from repro.errors import ReproError
from repro.experiments import Detector
from repro.files.outputs import write_output
from repro.files.places import is_directory, is_there, list_directory
from repro.files.regular_files import read_regular
from repro.inference.categories import list_categories
from repro.planning.trained_weights import TrainedWeights
from repro.records import Store

_LIMIT = 64 << 20  #: bytes of a record


def build_files(trained: TrainedWeights, store: Store) -> dict[str, bytes]:
    """Build the weights, their configuration and their record, by the names of the files.

    Raises:
        ReproError: the weights are damaged, or are not those of the record.
    """
    record, experiment = trained.record, trained.experiment
    tensors = weight_files.read(trained.path, f"sha256:{record.weights.sha256}").tensors
    weights = safetensors_files.serialise(tensors)
    detector = isinstance(experiment.network, Detector)
    kind = ("CascadeMaskRCNN" if experiment.detector.cascade else "MaskRCNN") if detector else "ResNet"
    config = HubConfig(
        architectures=[kind],
        id2label={str(label): category.name for label, category in enumerate(list_categories(experiment))},
        gcnet_repro=ExportedWeights(
            package=f"gcnet-repro {__version__}",
            experiment=record.experiment,
            profile=record.profile,
            engine=record.engine,
            seed=record.seed,
            network_sha256=hub_directories.hash_network(experiment),
            trained_sha256=record.weights.sha256,
            weights_sha256=hashlib.sha256(weights).hexdigest(),
        ),
    )
    return {
        hub_directories.WEIGHTS: weights,
        hub_directories.CONFIG: (json.dumps(config.model_dump(), indent=2, ensure_ascii=False) + "\n").encode(),
        hub_directories.RECORD: read_regular(store.directory / record.filename, _LIMIT, "record"),
    }


def require_replaceable(directory: Path) -> None:
    """Refuse to write into a directory that holds something else.

    Raises:
        ReproError: it does, or it is no directory.
    """
    if not is_there(directory):
        return
    if not is_directory(directory):
        raise ReproError(f"{directory} is no directory: name another place")
    if is_there(directory / hub_directories.CONFIG):
        hub_directories.find(str(directory))  # one of another program is refused
    elif list_directory(directory):
        raise ReproError(f"{directory} holds other files, and no weights that were exported: name another directory")


def write_files(directory: Path, content: Mapping[str, bytes]) -> None:
    """Write files into a directory by their names; it is made where it is missing.

    Raises:
        ReproError: it cannot be written.
    """
    for name, data in content.items():
        write_output(directory / name, data)

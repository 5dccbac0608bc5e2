"""Directories in the layout of the Hugging Face hub, as `repro export hub` writes them. Imports no torch.

`config.json` says of which experiment the weights in `model.safetensors` are, and which bytes they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from repro.errors import ReproError
from repro.experiments import Experiment, canonical, digest
from repro.files.json_files import RepeatedKey, check_keys
from repro.files.places import is_directory, is_there
from repro.files.regular_files import read_regular, sha256
from repro.files.schema import FrozenModel, Name, Number, Sha256, Text, describe_violation

CONFIG, WEIGHTS, CARD, RECORD = "config.json", "model.safetensors", "README.md", "record.json"
_LIMIT = 4 << 20  #: bytes of a configuration
_AT_MINI = ". What the mini profile trained can be shown, not measured again: with `repro predict` and `repro analyze`"


class ExportedWeights(FrozenModel):
    """The network that the weights are of."""

    schema_version: Literal[1] = 1
    package: Text  #: name and version of what wrote it
    experiment: Name
    profile: Literal["full", "mini"]
    engine: Name
    seed: Number
    network_sha256: Sha256  #: of the specification of the network (`hash_network`)
    #: Of what this is a copy of: the `weights.pt` that the training ended in, as the record names it.
    trained_sha256: Sha256
    weights_sha256: Sha256  #: of `model.safetensors`


class HubConfig(BaseModel):
    """The configuration. Other programs may add keys beside ours."""

    model_config = ConfigDict(extra="allow", frozen=True)

    #: What the hub counts downloads by, and tells libraries from each other.
    model_type: Literal["gcnet-repro"] = "gcnet-repro"
    architectures: list[Text]
    id2label: dict[str, Text]
    gcnet_repro: ExportedWeights


@dataclass(frozen=True)
class HubDirectory:
    """A directory with weights that was exported."""

    path: Path
    exported: ExportedWeights

    @property
    def weights(self) -> Path:
        return self.path / WEIGHTS

    def hash_weights(self) -> str:
        """Hash the file of weights.

        Raises:
            ReproError: it cannot be read, or is another one than the configuration names.
        """
        digest = sha256(self.weights)
        if digest != self.exported.weights_sha256:
            raise ReproError(
                f"{self.weights} is not the file that {CONFIG} beside it names: its sha256 is {digest}, not "
                f"{self.exported.weights_sha256}. Copy the whole directory again."
            )
        return digest

    def require_network(self, experiment: Experiment) -> None:
        """Refuse the weights for another network.

        Raises:
            ReproError: they are not of the network of `experiment`, as its profile runs it.
        """
        mine = self.exported
        if mine.network_sha256 == hash_network(experiment):
            return
        if mine.experiment == experiment.name and mine.profile == experiment.profile:
            raise ReproError(
                f"{self.path}: its weights are of another {mine.experiment} than is defined now: the network was "
                "changed since, in this package or in the file that defines it"
            )
        raise ReproError(
            f"{self.path}: its weights are of {mine.experiment} at profile {mine.profile}, not of {experiment.name} at "
            f"profile {experiment.profile}{_AT_MINI if mine.profile == 'mini' != experiment.profile else ''}"
        )


def hash_network(experiment: Experiment) -> str:
    """Hash what tells a network from others, its own block's source included; not how it is trained."""
    return digest([canonical(experiment.network), experiment.source.sha256 if experiment.source else None])


def find(text: str) -> HubDirectory | None:
    """Find the exported directory that a text names; None where it names no directory.

    Raises:
        ReproError: it is a directory without weights, or its configuration is malformed.
    """
    path = Path(text)
    if not is_directory(path):
        return None
    if not is_there(path / CONFIG):
        raise ReproError(
            f"{path} is a directory, and has no {CONFIG}: as `repro export hub` writes one, it would hold {CONFIG} and "
            f"{WEIGHTS}. Name a file of weights in it instead."
        )
    content: Any = read_regular(path / CONFIG, _LIMIT, "configuration")
    try:
        config = HubConfig.model_validate_json(content)
        check_keys(content)
    except RepeatedKey as error:
        raise ReproError(f"{path / CONFIG}: {error}: remove one") from None
    except ValidationError as error:
        raise ReproError(
            f"{path / CONFIG} is not as `repro export hub` writes it: {describe_violation(error)}. Name a file of "
            "weights in the directory instead."
        ) from None
    return HubDirectory(path, config.gcnet_repro)

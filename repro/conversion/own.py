"""Weights that `repro run` trained, of either engine: the names are this project's."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from repro.conversion.keys import Cause, Converted, translate
from repro.experiments import Classifier, Detector
from repro.experiments.conventions import choose_conventions
from repro.models.conventions import PAPER

_CAUSES = (
    Cause("missing", r"^roi_heads\.stages", "the network is a cascade, the file's detector is not"),
    Cause("unexpected", r"^roi_heads\.stages", "the file's detector is a cascade, the network is not"),
    Cause("missing", r"context_block", "the network has context blocks where the file has none"),
    Cause("unexpected", r"context_block", "the file has context blocks where the network has none"),
    Cause("shape", r"context_block", "the bottleneck ratios of their context blocks differ"),
    Cause("shape", r"(conv\d|downsample)", "the file's backbone has other widths or groups"),
    Cause("missing", r"layer\d\.\d+\.conv1\.", "the file's backbone has fewer layers"),
    Cause("unexpected", r"layer\d\.\d+\.conv1\.", "the file's backbone has more layers"),
    Cause("shape", r"predictor|^fc\.", "the file tells other classes apart"),
)


def convert(tensors: Mapping[str, Tensor], network: Detector | Classifier) -> Converted:
    """Convert the `weights.pt` of a run.

    Raises:
        ReproError: the file is of another network.
    """
    conventions = choose_conventions(network) if isinstance(network, Detector) else PAPER
    return translate(tensors, network, conventions, (), _CAUSES)

"""The libraries from which detectors are assembled. Importing this module loads none of them."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import warnings
from typing import TYPE_CHECKING

from repro.errors import ReproError, unknown
from repro.experiments import Detector
from repro.experiments.conventions import DetectionConventions
from repro.settings import Engine

if TYPE_CHECKING:
    from repro.detection.detector import DetectorModule

ENGINES = ("torchvision", "detectron2")
INSTALL = "python -m pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2.git"


def resolve(engine: str) -> Engine:
    """Resolve "auto": "detectron2" if that can be used here, else "torchvision". Other names are returned.

    Where Detectron2 is installed this imports it, and torch with it, which takes seconds.

    Raises:
        ReproError: there is no such engine, or it is named and cannot be used here.
    """
    if engine not in ("auto", *ENGINES):
        raise unknown("engine", engine, ("auto", *ENGINES))
    if engine == "torchvision":
        return "torchvision"
    obstacle = _find_obstacle()
    if engine == "auto":
        return "torchvision" if obstacle else "detectron2"
    if obstacle:
        raise ReproError(f"engine detectron2: {obstacle}")
    return "detectron2"


def build(engine: str, network: Detector, conventions: DetectionConventions | None = None) -> DetectorModule:
    """Assemble a detector by `resolve(engine)`; its default conventions are those that it is trained with here.

    Raises:
        ReproError: there is no such engine, or it cannot be used here.
    """
    if resolve(engine) == "detectron2":
        from repro.detection.detectron2 import Detectron2MaskRCNN

        return Detectron2MaskRCNN(network, conventions)
    from repro.detection.torchvision import MaskRCNN

    return MaskRCNN(network, conventions)


def _find_obstacle() -> str | None:
    """Why Detectron2 cannot be used here, in words; None if it can."""
    if importlib.util.find_spec("detectron2") is None:
        return (
            "Detectron2 is not installed. It is built from source for the installed PyTorch (some minutes, a C++ "
            f"compiler): {INSTALL}"
        )
    version = _read_version()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of how it uses torch
            importlib.import_module("detectron2.modeling")
            importlib.import_module("detectron2._C")
    except ImportError as error:
        torch = importlib.metadata.version("torch")
        if "undefined symbol" in str(error) or "Symbol not found" in str(error) or ".so" in str(error):
            return (
                f"Detectron2 {version} was built for another PyTorch than the installed {torch} ({error}). Build it "
                f"anew: python -m pip uninstall detectron2, then {INSTALL}"
            )
        return f"Detectron2 {version} is installed, but cannot be imported: {error}. Reinstall it: {INSTALL}"
    return None


def _read_version() -> str:
    """Detectron2's version, "0.6" for example, and its commit where known: it changes more often than its version."""
    try:
        distribution = importlib.metadata.distribution("detectron2")
    except importlib.metadata.PackageNotFoundError:
        return "(of unknown version)"
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    commit = origin.get("vcs_info", {}).get("commit_id", "")
    return f"{distribution.version} ({commit[:8]})" if commit else distribution.version

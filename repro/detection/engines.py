"""The libraries that detectors are assembled from. Importing this module loads none of them."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.errors import ReproError, unknown
from repro.experiments import Detector
from repro.experiments.conventions import AUTHORS, DetectionConventions

if TYPE_CHECKING:
    from repro.detection.detector import DetectorModule

ENGINES = ("torchvision", "detectron2")
INSTALL = "python -m pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2.git"


@dataclass(frozen=True)
class Engine:
    """Whether an engine can be used here."""

    name: str
    version: str | None  #: of the library
    obstacle: str | None  #: in words; None: it can be used


def available() -> dict[str, Engine]:
    """Every engine by name. Where Detectron2 is installed this imports it, and torch with it: seconds."""
    torchvision = Engine("torchvision", importlib.metadata.version("torchvision"), None)
    return {engine.name: engine for engine in (torchvision, _inspect_detectron2())}


def resolve(engine: str) -> str:
    """The engine that is meant: for "auto" Detectron2 if it can be used here, else torchvision.

    Raises:
        ReproError: there is no such engine, or it is asked for by name and cannot be used here.
    """
    if engine not in ("auto", *ENGINES):
        raise unknown("engine", engine, ("auto", *ENGINES))
    if engine == "torchvision":
        return engine
    found = _inspect_detectron2()
    if engine == "auto":
        return "torchvision" if found.obstacle else "detectron2"
    if found.obstacle:
        raise ReproError(f"engine detectron2: {found.obstacle}")
    return engine


def build(engine: str, network: Detector, conventions: DetectionConventions = AUTHORS) -> DetectorModule:
    """The detector, assembled by `resolve(engine)`.

    Raises:
        ReproError: as of `resolve`.
    """
    if resolve(engine) == "detectron2":
        from repro.detection.detectron2 import Detectron2MaskRCNN

        return Detectron2MaskRCNN(network, conventions)
    from repro.detection.torchvision import MaskRCNN

    return MaskRCNN(network, conventions)


def _inspect_detectron2() -> Engine:
    if importlib.util.find_spec("detectron2") is None:
        return Engine(
            "detectron2",
            None,
            "Detectron2 is not installed. It is built from source for the installed PyTorch (some minutes, a C++ "
            f"compiler): {INSTALL}",
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
            why = (
                f"Detectron2 {version} was built for another PyTorch than the installed {torch} ({error}). Build it "
                f"anew: python -m pip uninstall detectron2, then {INSTALL}"
            )
        else:
            why = f"Detectron2 {version} is installed, but cannot be imported: {error}. Reinstall it: {INSTALL}"
        return Engine("detectron2", version, why)
    return Engine("detectron2", version, None)


def _read_version() -> str:
    """As "0.6", with the commit where the installation knows it: releases are rarer than changes."""
    try:
        distribution = importlib.metadata.distribution("detectron2")
    except importlib.metadata.PackageNotFoundError:
        return "(of unknown version)"
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    commit = origin.get("vcs_info", {}).get("commit_id", "")
    return f"{distribution.version} ({commit[:8]})" if commit else distribution.version

"""Where a number was measured: commit, versions, device."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from repro.files.places import is_there
from repro.files.regular_files import sha256
from repro.paths import INSTALLED, TABLES

_PACKAGES = ("torch", "torchvision", "detectron2", "lightning-fabric", "faster-coco-eval", "pillow", "numpy")


def read_commit() -> tuple[str | None, bool]:
    """(commit, whether tracked files differ from it); (None, False) where neither git nor the installer knows it."""
    if INSTALLED:
        return _read_installed_commit(), False

    def git(*arguments: str) -> str:
        run = subprocess.run(["git", *arguments], cwd=TABLES.parent, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != TABLES.parent:  # installed somewhere inside another project
            return None, False
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", "repro"))
    except (OSError, subprocess.CalledProcessError):
        return None, False


def _read_installed_commit() -> str | None:
    """The commit that an installer built this package from: `vcs_info` of direct_url.json, which PEP 610 describes."""
    try:
        origin = json.loads(distribution("gcnet-repro").read_text("direct_url.json") or "{}")
        commit = origin.get("vcs_info", {}).get("commit_id")
    except (OSError, ValueError, AttributeError, PackageNotFoundError):
        return None
    return commit if isinstance(commit, str) else None


def describe_environment(device: str, processor: Mapping[str, str | None]) -> dict[str, str | bool | None]:
    """The versions and the hardware that a record carries; `processor` is what the engine says of the CPU."""
    revision, dirty = read_commit()
    versions: dict[str, str | bool | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    lock = TABLES.parent / "requirements.lock"
    return {
        "commit": revision,
        "dirty": dirty,
        "lock": sha256(lock) if is_there(lock) and not INSTALLED else None,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": device,
        **processor,
        **versions,
    }

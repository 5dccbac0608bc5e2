"""Runs the tiny trainings that need processes of their own once for all tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT, SUPPORT


@pytest.fixture(scope="session")
def separate_processes(tmp_path_factory) -> tuple[Path, dict]:
    """The directory of the trainings in `separate_processes.py` and its report."""
    root = tmp_path_factory.mktemp("trainings")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    script = [sys.executable, str(SUPPORT / "separate_processes.py"), str(root)]
    run = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    return root, json.loads((root / "report.json").read_text())

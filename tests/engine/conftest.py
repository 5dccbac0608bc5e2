"""Makes the tiny trainings importable, and runs those that need processes of their own once for all tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


@pytest.fixture(scope="session")
def separate_processes(tmp_path_factory) -> tuple[Path, dict]:
    """The directory of the trainings in `separate_processes.py` and its report."""
    root = tmp_path_factory.mktemp("trainings")
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent), "OMP_NUM_THREADS": "1"}
    script = [sys.executable, str(HERE / "separate_processes.py"), str(root)]
    run = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    return root, json.loads((root / "report.json").read_text())

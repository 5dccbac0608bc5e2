"""What every test may use: real data beside the checkout where it exists, and one thread a process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def coco_tiny() -> Path:
    """80 + 80 real COCO 2017 photographs with the official annotations."""
    directory = ROOT.parent / "shared" / "data" / "coco-tiny"
    if not directory.is_dir():
        pytest.skip("needs the real COCO sample, ../shared/data/coco-tiny, beside the checkout")
    return directory

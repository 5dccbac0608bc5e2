"""What every test may use: real data beside the checkout where it exists, and one thread a process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from places import SHARED

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def coco_tiny() -> Path:
    """80 + 80 real COCO 2017 photographs with the official annotations."""
    directory = SHARED / "data" / "coco-tiny"
    if not directory.is_dir():
        pytest.skip("needs the real COCO sample, ../shared/data/coco-tiny, beside the checkout")
    return directory

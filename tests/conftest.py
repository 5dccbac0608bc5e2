"""What every test may use: real data beside the checkout where it exists, one thread a process, its own state of it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import SHARED

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """No test leaves the process as another rank, with other handlers or another environment.

    torchrun and Lightning do so within it, and the command line, which limits instruction sets for what it starts.
    """
    environment = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    yield
    for name in set(os.environ) - set(environment) - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update({name: value for name, value in environment.items() if os.environ.get(name) != value})
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)
    if ranks := sys.modules.get("lightning_fabric.utilities.rank_zero"):
        ranks.rank_zero_only.rank = 0


@pytest.fixture(scope="session")
def coco_tiny() -> Path:
    """80 + 80 real COCO 2017 photographs with the official annotations."""
    directory = SHARED / "data" / "coco-tiny"
    if not directory.is_dir():
        pytest.skip("needs the real COCO sample, ../shared/data/coco-tiny, beside the checkout")
    return directory

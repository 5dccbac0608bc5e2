from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded_initialisation() -> Iterator[None]:
    """Layers draw their first weights from torch's global generator: the same ones in every test."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield

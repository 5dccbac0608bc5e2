"""Each test here runs twice: on the CPU, which shows that the test itself works, and on a CUDA device where one is."""

from __future__ import annotations

import pytest
import torch

from repro.engine.arithmetic import choose_tf32
from repro.engine.cuda import explain_missing_cuda


def require_cuda() -> None:
    if why := explain_missing_cuda():
        pytest.skip(f"needs a CUDA device: {why}")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda":
        require_cuda()
    return request.param


@pytest.fixture
def gpu() -> torch.device:
    """For what no CPU can show."""
    require_cuda()
    return torch.device("cuda")


@pytest.fixture(autouse=True)
def float32() -> None:
    """As every measurement begins: PyTorch's own default has TF32 in convolutions."""
    choose_tf32("32-true")

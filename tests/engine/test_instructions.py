"""The mini profile computes with one instruction set, whatever the CPU has."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

from repro.engine import instructions

AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "MKL_CBWR": "AVX2",
}
#: What a process computes with: logits of a convolution, a matrix product and an exponential as bits, and the record's
#: description of the processor. Arguments are variables that are set after torch was imported, as `repro run` may.
COMPUTE = """
import hashlib, json, os, sys
import torch
os.environ.update(json.loads(sys.argv[1]))
from repro.engine import instructions
torch.set_num_threads(1)
torch.manual_seed(0)
x = torch.randn(4, 24, 33, 37)
y = torch.nn.functional.conv2d(x, torch.randn(40, 24, 3, 3), padding=1)
z = (y.flatten(1)[:, :999] @ torch.randn(999, 77)).softmax(1).sum()
bits = hashlib.sha256(y.numpy().tobytes() + z.numpy().tobytes()).hexdigest()
print(json.dumps([bits, instructions.describe_processor()]))
"""


def compute(environment, later=()):
    own = {name: value for name, value in os.environ.items() if name not in AVX2}
    run = subprocess.run(
        [sys.executable, "-c", COMPUTE, json.dumps(dict(later))],
        env={**own, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(run.stdout)


@pytest.fixture
def intel(monkeypatch):
    for name in AVX2:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


def test_the_mini_profile_alone_is_pinned(intel):
    assert instructions.pin("mini") == AVX2
    assert instructions.pin("full") == {}


def test_what_somebody_sets_wins(intel, monkeypatch):
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert instructions.pin("mini") == {n: value for n, value in AVX2.items() if n != "ATEN_CPU_CAPABILITY"}


def test_other_architectures_are_not_pinned(intel, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert instructions.pin("mini") == {}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86-64 CPUs have these instructions")
def test_a_pinned_process_computes_with_avx2_and_says_so():
    bits, processor = compute(AVX2)
    assert processor["cpu"]
    assert processor["limited_to"] == "AVX2"
    assert processor["instructions"] in ("AVX2", "NO AVX")  # a CPU may have less
    # Set in time, though torch was imported before.
    assert compute({}, AVX2) == [bits, processor]
    _, free = compute({})
    assert free["limited_to"] is None
    _, partly = compute({"ATEN_CPU_CAPABILITY": "default"})
    assert (partly["instructions"], partly["limited_to"]) == ("DEFAULT", "ATEN_CPU_CAPABILITY=default")

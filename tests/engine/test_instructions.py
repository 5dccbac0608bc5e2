"""The mini profile computes with one instruction set, whatever the CPU has."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys

import pytest

from repro.engine import instructions

PINNED = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
}
#: What a process computes: a convolution, the gradient of a 1x1 convolution, matrix products, exponentials, logarithms
#: and square roots, as bits; and the record's description of the processor. Its argument is variables that are set
#: after torch was imported, as `repro run` may.
COMPUTE = """
import hashlib, json, os, sys
import torch
os.environ.update(json.loads(sys.argv[1]))
from repro.engine import instructions
torch.set_num_threads(1)
torch.manual_seed(0)
x = torch.randn(4, 24, 33, 37)
y = torch.nn.functional.conv2d(x, torch.randn(40, 24, 3, 3), padding=1)
z = y.flatten(1)[:, :999] @ torch.randn(999, 77)
weight = torch.randn(16, 24, 1, 1, requires_grad=True)
torch.nn.functional.conv2d(x, weight).square().sum().backward()
found = [y, z, z.softmax(1), torch.bmm(y[:, :, 0], y[:, :, 1].mT), z.exp(), z.abs().log(), z.abs().sqrt(), weight.grad]
bits = [hashlib.sha256(value.numpy().tobytes()).hexdigest() for value in found]
print(json.dumps([bits, instructions.describe_processor()]))
"""


def compute(environment, later=()):
    own = {name: value for name, value in os.environ.items() if name not in PINNED}
    run = subprocess.run(
        [sys.executable, "-c", COMPUTE, json.dumps(dict(later))],
        env={**own, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(run.stdout)


@pytest.fixture
def x86_64(monkeypatch):
    for name in PINNED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


def test_the_mini_profile_alone_is_pinned(x86_64):
    assert instructions.pin("mini") == PINNED
    assert instructions.pin("full") == {}


def test_what_somebody_sets_wins(x86_64, monkeypatch):
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert instructions.pin("mini") == {n: value for n, value in PINNED.items() if n != "ATEN_CPU_CAPABILITY"}


def test_other_architectures_are_not_pinned(x86_64, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert instructions.pin("mini") == {}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86-64 CPUs have these instructions")
def test_a_pinned_process_computes_with_avx2_and_says_so():
    bits, processor = compute(PINNED)
    assert processor["cpu"]
    assert processor["limited_to"] == "AVX2 and MKL's compatible mode"
    assert processor["instructions"] in ("AVX2", "NO AVX")  # a CPU may have less
    # Set in time, though torch was imported before.
    assert compute({}, PINNED) == [bits, processor]
    _, free = compute({})
    assert free["limited_to"] is None
    _, partly = compute({"ATEN_CPU_CAPABILITY": "default"})
    assert (partly["instructions"], partly["limited_to"]) == ("DEFAULT", "ATEN_CPU_CAPABILITY=default")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="MKL is in PyTorch for x86-64 alone")
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc) to build what MKL asks instead")
def test_a_pinned_process_computes_alike_whoever_made_the_cpu(tmp_path):
    def take_for(intel):
        source, library = tmp_path / f"{intel}.c", tmp_path / f"{intel}.so"
        source.write_text(f"int mkl_serv_intel_cpu_true(void) {{ return {intel}; }}\n"
                          f"int mkl_serv_intel_cpu(void) {{ return {intel}; }}\n")  # fmt: skip
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
        return {"LD_PRELOAD": str(library)}

    of_intel, of_others = take_for(1), take_for(0)
    assert compute(PINNED | of_intel) == compute(PINNED | of_others) == compute(PINNED)
    # Does MKL listen to that answer? Limited to AVX2 without its compatible mode, it then multiplies in two ways.
    bound = PINNED | {"MKL_CBWR": "AVX2"}
    if compute(bound | of_intel) == compute(bound | of_others):
        pytest.skip("MKL does not ask that library here, so that nothing was shown")

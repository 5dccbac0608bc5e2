"""Workers of the mini profile allocate huge pages where the system gives them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from repro.engine import pages

ASKED = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
#: Prints the KiB of huge pages among the process's memory once it has 64 MiB in pieces of 1 MiB.
ALLOCATE = """
import pathlib, torch
kept = [torch.ones(2**18) for _ in range(64)]
rows = pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines()
print(next(row.split()[1] for row in rows if row.startswith("AnonHugePages:")))
"""
MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.fixture
def intel(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


def test_the_mini_profile_alone_asks_for_them(intel):
    assert pages.use_huge_pages("mini") == ASKED
    assert pages.use_huge_pages("full") == {}


def test_what_somebody_sets_wins_and_stays(intel, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    assert pages.use_huge_pages("mini") == {}
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.perturb=1")
    assert pages.use_huge_pages("mini") == {"GLIBC_TUNABLES": "glibc.malloc.perturb=1:glibc.malloc.hugetlb=1"}


def test_other_architectures_are_left_alone(intel, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert pages.use_huge_pages("mini") == {}


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not MODE.is_file() or "[madvise]" not in MODE.read_text(),
    reason="huge pages are not given here to those that ask alone",
)
@pytest.mark.skipif(
    tuple(int(part) for part in platform.libc_ver()[1].split(".")[:2] or [0]) < (2, 35), reason="glibc before 2.35"
)
def test_a_process_that_is_started_so_has_them():
    def allocate(environment):
        own = {name: value for name, value in os.environ.items() if name not in ASKED}
        run = subprocess.run([sys.executable, "-c", ALLOCATE], env=own | environment, capture_output=True, text=True)
        return int(run.stdout)

    assert allocate({}) < 32 * 1024  # some come with libraries
    assert allocate(ASKED) >= 32 * 1024  # KiB: at least half, whatever the kernel has left

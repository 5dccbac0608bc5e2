"""The size of the memory pages that a process computes in.

The activations of a mini network are some megabytes each, so each layer walks through thousands of pages of 4 KiB, and
in a virtual machine finding one costs two walks. Pages of 2 MiB change no bit of what is computed.
"""

from __future__ import annotations

import os
import platform

_TUNABLES = "GLIBC_TUNABLES"
_HUGE = "glibc.malloc.hugetlb"


def use_huge_pages(profile: str) -> dict[str, str]:
    """The variable with which a process is to be started so that it allocates huge pages; empty where it is "full".

    It asks for transparent huge pages where Linux gives them to those that ask ("madvise"). glibc reads it from 2.35
    on. A tunable of that name that is set already wins, and others are kept. In the full profile, the processes that
    read images share memory with the one that started them, page by page; other architectures than x86-64 may have
    pages of hundreds of MiB: nothing is set there.
    """
    if profile != "mini" or platform.machine().lower() not in ("x86_64", "amd64"):
        return {}
    given = os.environ.get(_TUNABLES, "")
    if _HUGE in given:
        return {}
    return {_TUNABLES: ":".join(filter(None, [given, f"{_HUGE}=1"]))}

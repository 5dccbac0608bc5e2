"""Damaged video files by the thousand: named, or read as a decoder reads them that decodes all in one pass.

They are read in another process, which a fault of the library may end, and which is stopped when it hangs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import damaged_videos
import pytest
from damaged_videos import CONTAINERS, write_sources
from fuzzing import number_inputs

FEW, TOGETHER = 100, 100  #: files of each container, and those that one process reads
#: Seconds without a line until the process is taken to hang, and MiB that it may take.
PATIENCE, ROOM = 120, 1500
#: Files that have to be noticed: FFmpeg's decoder ends the process (6033), or returns a picture that it did not write
#: (12594, 13318: found by a decoder that begins anew as well as by the comparison of pictures).
KNOWN = {"matroska": [6033], "mp4": [], "avi": [12594, 13318]}


def read_all(directory: Path, container: str, first: int, last: int) -> list[str]:
    """One line for each file: number, seconds, MiB and outcome."""
    lines: list[str] = []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    while first < last:
        command = [sys.executable, damaged_videos.__file__, str(directory), container, str(first), str(last)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            reached, watch = None, threading.Timer(PATIENCE, process.kill)
            watch.start()
            for line in process.stdout:
                watch.cancel()
                watch = threading.Timer(PATIENCE, process.kill)
                watch.start()
                if len(line.split()) > 1:
                    lines.append(line.strip())
                else:
                    reached = int(line)
            watch.cancel()
        assert reached is not None, f"the process ended at once: {process.returncode}"
        if process.returncode:
            lines.append(f"{reached} 0 0 ended by signal {-process.returncode}")
        first = reached + 1
    return lines


@pytest.mark.parametrize("container", CONTAINERS)
def test_damaged_files(tmp_path, container):
    write_sources(tmp_path, container)
    lines: list[str] = []
    for first in number_inputs(FEW, 1 / 2, TOGETHER):
        lines += read_all(tmp_path, container, first, first + TOGETHER)
    tried = len(lines)
    for number in KNOWN[container]:
        lines += read_all(tmp_path, container, number, number + 1)
    rows = [line.split(maxsplit=3) for line in lines]
    outcomes = Counter(row[3].split(":")[0] for row in rows)
    slowest, largest = max(float(row[1]) for row in rows), max(int(row[2]) for row in rows)
    print(f"{container}: {len(rows)} files, {dict(outcomes)}; at most {slowest:.1f} s and {largest} MiB")
    assert tried >= TOGETHER
    assert len(rows) == tried + len(KNOWN[container])
    assert [line for line in lines if not line.endswith((" named", " read"))] == []
    assert min(outcomes["named"], outcomes["read"]) > tried // 10
    assert largest < ROOM

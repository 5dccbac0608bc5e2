"""How the command ffmpeg shows a video, where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest


def show_by_ffmpeg(path: Path) -> np.ndarray | None:
    """The first frame as the command shows it; None: there is no command."""
    if (command := shutil.which("ffmpeg")) is None:
        return None
    flags = ["-v", "error", "-nostdin", "-i", str(path), "-frames:v", "1"]
    shown = subprocess.run([command, *flags, "-f", "image2pipe", "-c:v", "ppm", "-"], capture_output=True, check=True)
    kind, size, most, pixels = shown.stdout.split(b"\n", 3)
    assert (kind, most) == (b"P6", b"255")
    width, height = map(int, size.split())
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def find_version() -> tuple[int, int] | None:
    """The release that the command is of; None: there is no command, or it is of no release."""
    if (command := shutil.which("ffmpeg")) is None:
        return None
    told = subprocess.run([command, "-version"], capture_output=True, check=True, text=True).stdout
    found = re.match(r"ffmpeg version n?(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else None


def agree_with_ffmpeg(path: Path, pixels: np.ndarray, since: tuple[int, int] = (0, 0)) -> None:
    """Compare the first frame; the command shows it so `since` that release."""
    version = find_version()
    if version is not None and version < since:
        pytest.skip(f"compared with what the file says, not with ffmpeg, which shows it so since {since[0]}.{since[1]}")
    shown = show_by_ffmpeg(path)
    if shown is None:
        pytest.skip("needs the command ffmpeg; compared with what the matrix says, not with ffmpeg")
    np.testing.assert_allclose(pixels.astype(int), shown.astype(int), atol=3)

"""Damaged pictures by the thousand: unreadable with a reason, or read as OpenCV reads them.

`REPRO_FUZZ_PICTURES=N` tries N files of each kind instead of a few; numbers are always the same files.
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from damaged_pictures import PICTURES, make_damaged

from repro.data import pictures
from repro.data.pictures import UndecodablePicture, decode_image, decode_pixels

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: `nox -s tests` installs requirements-peers.lock")

COUNT = int(os.environ.get("REPRO_FUZZ_PICTURES", "0"))


def decode(function, content: bytes, *arguments, **options) -> np.ndarray | None:
    try:
        return np.asarray(function(content, *arguments, **options))
    except UndecodablePicture:
        return None


def read_as_opencv_does(content: bytes) -> np.ndarray | None:
    """RGB; None where it does not read it."""
    try:
        found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    if found is None or b"acTL" in content:  # this OpenCV begins with the animation, the authors' with the picture
        return None
    return found[..., ::-1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", PICTURES)
def test_damaged_pictures(kind, monkeypatch, capfd):
    monkeypatch.setattr(pictures, "MOST_PIXELS", 2**20)
    wrong, tracebacks, alone, accepted, slowest = [], [], [], 0, 0.0
    for number in range(COUNT or 1500):
        content = make_damaged(kind, number)
        begun = time.monotonic()
        try:
            upright = decode(decode_image, content, ("JPEG", "PNG", "BMP", "WEBP"), upright=True)
            stored, pixels = decode(decode_image, content), decode(decode_pixels, content)
        except Exception as error:
            tracebacks.append(f"{number}: {error!r}")
            continue
        finally:
            slowest = max(slowest, time.monotonic() - begun)
        if (stored is None) != (pixels is None) or (stored is not None and not np.array_equal(stored, pixels)):
            wrong.append(f"{number}: decode_pixels is not decode_image")
        if upright is None:
            continue
        accepted += 1
        theirs = read_as_opencv_does(content)
        if theirs is None:
            alone.append(number)
        elif not np.array_equal(upright, theirs):
            wrong.append(f"{number}: {upright.shape} and {theirs.shape}")
    capfd.readouterr()  # OpenCV writes what it thinks of each file
    with capfd.disabled():
        if COUNT:
            print(f"\n{kind}: {COUNT} files, {accepted} accepted ({len(alone)} of them not by OpenCV), "
                  f"{len(tracebacks)} tracebacks, {len(wrong)} wrong readings, slowest {slowest:.2f} s")  # fmt: skip
            print(alone[:20], "\n".join(wrong[:30]))
    assert not tracebacks, tracebacks[:10]
    assert not wrong, wrong[:10]
    assert accepted or kind == "others"
    assert slowest < 5

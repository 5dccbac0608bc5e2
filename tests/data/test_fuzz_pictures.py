"""Damaged pictures by the thousand: unreadable with a reason, or read as OpenCV reads them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from damaged_pictures import PICTURES, make_damaged
from fuzzing import number_inputs, try_inputs

from repro.data import pictures
from repro.data.pictures import UndecodablePicture, decode_image, decode_pixels

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: `nox -s tests` installs requirements-peers.lock")


def decode(function, content: bytes, *arguments, **options) -> np.ndarray | None:
    try:
        return np.asarray(function(content, *arguments, **options))
    except UndecodablePicture:
        return None


def read_as_opencv_does(content: bytes) -> np.ndarray:
    """RGB."""
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if found is None or b"acTL" in content:  # this OpenCV begins with the animation, the authors' with the picture
        raise ValueError("not read")
    return found[..., ::-1]


def read_in_each_way(content: bytes) -> tuple[np.ndarray | None, ...]:
    """Upright as detectors read it, as it is stored, and its pixels without the copies; None where it is refused."""
    upright = decode(decode_image, content, ("JPEG", "PNG", "BMP", "WEBP"), upright=True)
    ways = upright, decode(decode_image, content), decode(decode_pixels, content)
    if all(way is None for way in ways):
        raise UndecodablePicture
    return ways


def describe_difference(content: bytes, ways: tuple[np.ndarray | None, ...]) -> str | None:
    upright, stored, pixels = ways
    if (stored is None) != (pixels is None) or (stored is not None and not np.array_equal(stored, pixels)):
        return "decode_pixels is not decode_image"
    if upright is None:
        return None
    theirs = read_as_opencv_does(content)
    return None if np.array_equal(upright, theirs) else f"{upright.shape} and {theirs.shape}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", PICTURES)
def test_damaged_pictures(kind, monkeypatch, capfd):
    monkeypatch.setattr(pictures, "MOST_PIXELS", 2**20)
    numbers, make = number_inputs(500, 1 / len(PICTURES)), partial(make_damaged, kind)
    read = try_inputs(kind, numbers, make, read_in_each_way, UndecodablePicture, describe_difference, capfd)
    assert read or kind == "others"

"""How the pictures of a video are to be shown: turned or mirrored, by the matrix that its file or stream states."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type

#: Kinds of data beside a frame that PyAV cannot name; FFmpeg has about 40. EXIF data is one.
_NAMELESS = sorted(set(range(64)) - {kind.value for kind in Type})
_AS_STORED = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def read_display_matrix(frame: av.VideoFrame) -> tuple[int, ...]:
    """Read how `frame` is to be shown, for `set_upright`: as its stream or its container states."""
    try:
        beside: Any = frame.side_data
    except ValueError:
        beside = _remove_nameless(frame).side_data
    matrix = beside.get("DISPLAYMATRIX")
    return _AS_STORED if matrix is None else struct.unpack("=9i", bytes(matrix))


def _remove_nameless(frame: av.VideoFrame) -> av.VideoFrame:
    graph = av.filter.Graph()
    last = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1)
    )
    for kind in _NAMELESS:
        last.link_to(removal := graph.add("sidedata", f"mode=delete:type={kind}"))
        last = removal
    last.link_to(graph.add("buffersink"))
    graph.configure()
    graph.vpush(frame)
    return graph.vpull()


def set_upright(pixels: np.ndarray, matrix: Sequence[int]) -> np.ndarray:
    """Turn and mirror a picture (H, W, 3) as `matrix` asks for and as the command `ffmpeg` does: a view of `pixels`.

    Scale and shift are left out, and angles count as whole degrees. A matrix of which a row is zero says nothing.

    Args:
        matrix: nine numbers, row by row (ISO 14496-12, `tkhd`): 0 and 1 are the x and y to which a step to the right
            leads, 3 and 4 those of a step down.

    Raises:
        ValueError: the picture is to be turned by no multiple of 90 degrees; it says by how many.
    """
    a, b, _, c, d, *_ = matrix
    scales = math.hypot(a, c), math.hypot(b, d)
    if not all(scales):
        return pixels
    clockwise = math.degrees(math.atan2(b / scales[1], a / scales[0]))
    angle = math.floor(abs(clockwise) + 0.5) * (1 if clockwise > 0 else -1) % 360
    if angle == 0:
        return pixels[::-1] if d < 0 else pixels
    if angle == 1:  # near enough for ffmpeg; 359 is not
        return pixels
    if angle == 90:
        return pixels.swapaxes(0, 1) if c > 0 else np.rot90(pixels, -1)
    if angle == 180:
        return pixels[:: -1 if d < 0 else 1, ::-1]
    if angle == 270:
        return np.rot90(pixels, -1)[::-1] if c < 0 else np.rot90(pixels, 1)
    raise ValueError(f"its pictures are to be shown turned by {angle} degrees")

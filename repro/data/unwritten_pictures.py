"""Pictures of which FFmpeg's decoder writes only a part, without a word: the rest is what was in memory before.

VP8 is one such codec, where the data of a picture end early. What is seen there depends on the pictures decoded before
and on which of them are still in use.
"""

from __future__ import annotations

import zlib
from collections import deque

import av
import numpy as np

#: Formats of one byte for each number, in planes, of which the visible part is known. Others are not compared.
_PLANES = {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "gray"}
#: As many pictures are kept in use in every second pass, so that the decoder gets other memory than in the first.
_KEPT = 4
_START_OF_SCAN = b"\xff\xda"


def lacks_scan(picture: bytes) -> bool:
    """Whether nothing but the head of a JPEG is there (ITU-T T.81, B.2): the decoder returns it all the same."""
    return _START_OF_SCAN not in picture


class PictureComparison:
    """Compares the pictures of several passes over the same video, each with memory of another history."""

    def __init__(self) -> None:
        self._sums: list[int] = []
        self._passes = 0
        self._kept: deque[av.VideoFrame] = deque()

    def start(self) -> None:
        """Begin another pass."""
        self._kept = deque(maxlen=_KEPT * (self._passes % 2))
        self._passes += 1

    def differs(self, number: int, frame: av.VideoFrame) -> bool:
        """Whether frame `number` is another one than in an earlier pass. Its neighbours are to be asked in order."""
        if frame.format.name not in _PLANES:
            return False
        self._kept.append(frame)
        total = 1
        for plane in frame.planes:
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
                : plane.height, : plane.width
            ]
            total = zlib.adler32(rows.tobytes(), total)
        if number < len(self._sums):
            return self._sums[number] != total
        self._sums.append(total)
        return False

"""Videos that are to be shown turned or mirrored: as their matrix says, pixel by pixel, and as ffmpeg shows them."""

from __future__ import annotations

import io
import itertools
import math
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import video_files as files
from PIL import Image
from shown_by_ffmpeg import agree_with_ffmpeg

from repro.data.display_matrix import set_upright
from repro.data.video import UnreadableVideo, Video

#: To where a step to the right leads, and one down: all eight ways to lay a rectangle on itself or on its side.
EIGHT = [(s, 0, 0, t) for s, t in itertools.product((1, -1), repeat=2)]
EIGHT += [(0, s, t, 0) for s, t in itertools.product((1, -1), repeat=2)]


def carry(pixels: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Each pixel by itself to where the matrix says; the picture then begins at (0, 0)."""
    a, b, c, d = matrix
    height, width = pixels.shape[:2]
    places = {(y, x): (b * x + d * y, a * x + c * y) for y in range(height) for x in range(width)}
    top, left = (min(place[i] for place in places.values()) for i in range(2))
    shown = np.zeros((width, height, 3) if a == 0 else (height, width, 3), pixels.dtype)
    for (y, x), (row, column) in places.items():
        shown[row - top, column - left] = pixels[y, x]
    return shown


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """Without subsampled colours, whose conversion depends on the direction."""
    return files.write(tmp_path_factory.mktemp("stored") / "stored.mp4", frames=3, pixels="yuv444p")


def read(path: Path) -> list[np.ndarray]:
    with Video(path, "shown") as video:
        return [pixels for _, pixels in video.read(range(video.frames))]


@pytest.mark.parametrize("box", [b"tkhd", b"mvhd"])
@pytest.mark.parametrize("matrix", EIGHT, ids=str)
def test_the_eight_ways_to_show_a_picture(stored, tmp_path, matrix, box):
    path = tmp_path / "shown.mp4"
    shutil.copy(stored, path)
    files.set_matrix(path, *matrix, box=box)
    found = read(path)
    for pixels, kept in zip(found, files.all_frames(stored), strict=True):
        np.testing.assert_array_equal(pixels, carry(kept, matrix))
    agree_with_ffmpeg(path, found[0])


@pytest.mark.parametrize(
    ("matrix", "as_if"),
    [
        ((2, 0, 0, 2), (1, 0, 0, 1)),
        ((0, 3, 0.5, 0), (0, 1, 1, 0)),
        ((0, 0, 0, 0), (1, 0, 0, 1)),
        ((-1, 0, 0, 0), (1, 0, 0, 1)),
        ((math.cos(math.radians(90.4)), math.sin(math.radians(90.4)), -1, 0), (0, 1, -1, 0)),
        ((math.cos(math.radians(0.9)), math.sin(math.radians(0.9)), 0, -1), (1, 0, 0, 1)),
    ],
    ids=["scaled", "stretched", "zeros", "half of it zeros", "nearly 90 degrees", "one degree"],
)
def test_other_matrices_are_taken_as_ffmpeg_takes_them(stored, tmp_path, matrix, as_if):
    path = tmp_path / "shown.mp4"
    shutil.copy(stored, path)
    files.set_matrix(path, *matrix)
    found = read(path)
    np.testing.assert_array_equal(found[0], carry(files.all_frames(stored)[0], as_if))
    agree_with_ffmpeg(path, found[0])


@pytest.mark.parametrize("degrees", [2, 45, 88, 135, 200, 358])
def test_other_angles_are_refused(stored, tmp_path, degrees):
    path = tmp_path / "shown.mp4"
    shutil.copy(stored, path)
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    files.set_matrix(path, c, s, -s, c)
    with pytest.raises(UnreadableVideo, match=rf"video shown cannot be shown: .*turned by {degrees} degrees"):
        read(path)


def test_what_a_frame_itself_states(tmp_path):
    """H.264 can say it in the stream (ITU-T H.264, D.2.27): here mirrored upside down, then turned to the left."""
    plain = files.write(tmp_path / "plain.mp4", frames=3, pixels="yuv444p")
    path = tmp_path / "stated.mp4"
    with av.open(str(plain)) as source, av.open(str(path), "w") as file:
        stream = source.streams.video[0]
        copy = file.add_stream_from_template(stream)
        change = av.bitstream.BitStreamFilterContext(
            "h264_metadata=display_orientation=insert:rotate=90:flip=vertical", stream, copy
        )
        for packet in source.demux(stream):
            for changed in change.filter(packet):
                changed.stream = copy
                file.mux(changed)
    found = read(path)
    np.testing.assert_array_equal(found[0], np.rot90(files.all_frames(plain)[0][::-1]))
    agree_with_ffmpeg(path, found[0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_data_of_pictures_in_a_video(tmp_path, orientation):
    """Cameras write it into each picture of Motion JPEG. What it means: the EXIF standard, tag 0x112."""
    matrix = [(1, 0, 0, 1), (-1, 0, 0, 1), (-1, 0, 0, -1), (1, 0, 0, -1)]
    matrix += [(0, 1, 1, 0), (0, 1, -1, 0), (0, -1, -1, 0), (0, -1, 1, 0)]
    exif = Image.Exif()
    exif[0x112] = orientation
    content = io.BytesIO()
    Image.fromarray(files.picture(5)).save(content, "JPEG", exif=exif, subsampling=0)
    path = tmp_path / "camera.avi"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = files.WIDTH, files.HEIGHT, "yuvj444p"
        for number in range(3):
            packet = av.Packet(content.getvalue())
            packet.pts = packet.dts = number
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            file.mux(packet)
    found = read(path)
    np.testing.assert_array_equal(found[0], carry(files.all_frames(path)[0], matrix[orientation - 1]))
    agree_with_ffmpeg(path, found[0])


def test_every_whole_angle_is_shown_or_refused():
    pixels = np.arange(2 * 3 * 3).reshape(2, 3, 3)
    for degrees in range(-360, 361):
        c, s = (round(65536 * turn(math.radians(degrees))) for turn in (math.cos, math.sin))
        try:
            shown = set_upright(pixels, (c, s, 0, -s, c, 0, 0, 0, 1 << 30))
        except ValueError:
            assert degrees % 90
            continue
        if degrees % 360 == 1:
            np.testing.assert_array_equal(shown, pixels)
        else:
            np.testing.assert_array_equal(shown, np.rot90(pixels, -degrees // 90))

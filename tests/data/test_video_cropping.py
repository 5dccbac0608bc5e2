"""Parts of pictures that are to be shown: as the stream, MP4 and Matroska state them, and as ffmpeg shows them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import video_files as files
from av.bitstream import BitStreamFilterContext
from shown_by_ffmpeg import agree_with_ffmpeg

from repro.data.video import UnreadableVideo, Video

#: The release since which the command crops as containers say, and itself what streams say.
CROPS = (7, 1)


def read(path: Path) -> list[np.ndarray]:
    with Video(path, "shown") as video:
        return [pixels for _, pixels in video.read(range(video.frames))]


def copy(source: Path, path: Path, filtered: str | None = None) -> Path:
    with av.open(str(source)) as opened, av.open(str(path), "w") as file:
        stream = opened.streams.video[0]
        target = file.add_stream_from_template(stream)
        changed = BitStreamFilterContext(filtered, stream, target) if filtered else None
        for packet in opened.demux(stream):
            for part in changed.filter(packet) if changed else [packet]:
                if part.pts is not None:
                    part.stream = target
                    file.mux(part)
    return path


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize(("aperture", "shown"), [
    ((64, 1, 48, 1, 8, 1, -4, 1), (24, 4, 64, 48)),
    ((128, 2, 120, 3, -2, 1, 6, 2), (14, 15, 64, 40)),
    ((96, 1, 64, 1, 0, 1, 0, 1), (0, 0, 96, 64)),
    ((62, 1, 46, 1, 0, 1, -9, 1), (17, 0, 62, 46)),
])  # fmt: skip
def test_the_clean_aperture_of_an_mp4_file(tmp_path, codec, aperture, shown):
    """`shown`: where it begins, and its size; colours are stored for pairs of pixels, and it begins with such a one."""
    path = files.write(tmp_path / "clap.mp4", codec=codec, frames=3, sound=True)
    full = files.all_frames(path)
    files.set_clean_aperture(path, *aperture)
    x, y, width, height = shown
    x, y = x // 2 * 2, y // 2 * 2
    found = read(path)
    assert len(found) == 3
    for pixels, whole in zip(found, full, strict=True):
        np.testing.assert_array_equal(pixels, whole[y : y + height, x : x + width])
    agree_with_ffmpeg(path, found[0], CROPS)


@pytest.mark.parametrize("aperture", [
    (200, 1, 64, 1, 0, 1, 0, 1), (64, 1, 48, 1, 17, 1, 0, 1), (64, 0, 48, 1, 0, 1, 0, 1), (-8, 1, 48, 1, 0, 1, 0, 1),
    (63, 1, 48, 1, 0, 1, 0, 1),
])  # fmt: skip
def test_a_clean_aperture_that_is_no_part_of_the_picture_is_named(tmp_path, aperture):
    path = files.write(tmp_path / "clap.mp4", frames=1)
    files.set_clean_aperture(path, *aperture)
    with pytest.raises(UnreadableVideo, match=r"video x cannot be shown: .*clap\.mp4: a part of its pictures"):
        Video(path, "x")


def test_the_cropping_of_a_matroska_file(tmp_path):
    source = files.write(tmp_path / "clap.mp4", frames=3)
    full = files.all_frames(source)
    files.set_clean_aperture(source, 64, 1, 48, 1, 8, 1, -4, 1)
    path = copy(source, tmp_path / "cropped.mkv")
    assert b"\x54\xcc\x81\x18" in path.read_bytes()  # PixelCropLeft, 24
    found = read(path)
    for pixels, whole in zip(found, full, strict=True):
        np.testing.assert_array_equal(pixels, whole[4:52, 24:88])
    agree_with_ffmpeg(path, found[0], CROPS)


def test_the_cropping_of_an_h264_stream(tmp_path):
    """The decoder by itself would begin at a column that suits its memory, and show more than is to be seen."""
    source = files.write(tmp_path / "whole.mp4", frames=3)
    full = files.all_frames(source)
    crop = "h264_metadata=crop_left=8:crop_right=24:crop_top=4:crop_bottom=12"
    path = copy(source, tmp_path / "cropped.mp4", crop)
    found = read(path)
    for pixels, whole in zip(found, full, strict=True):
        np.testing.assert_array_equal(pixels, whole[4:52, 8:72])
    agree_with_ffmpeg(path, found[0], CROPS)

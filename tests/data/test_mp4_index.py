"""Headers that claim gigabytes: named at once, without taking them."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import video_files as files

from repro.data.mp4_index import exceeds_file

MEASURE = """
import sys, time
from pathlib import Path
from damaged_videos import measure_peak
from repro.data.mp4_index import exceeds_file
from repro.data.video import UnreadableVideo, Video
before, begun = measure_peak(), time.process_time()
try:
    with Video(Path(sys.argv[1]), "x") as video:
        for _ in video.read(range(0, video.frames, 7)): pass
        print("read")
except UnreadableVideo:
    print("named")
print(measure_peak() - before, time.process_time() - begun)
"""


def measure(path: Path) -> tuple[str, int, float]:
    """Outcome, MiB beyond what the interpreter takes, and seconds of processor time."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True, timeout=300, env=environment
    )
    outcome, numbers = run.stdout.splitlines()
    return outcome, int(numbers.split()[0]), float(numbers.split()[1])


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def find_box(content: bytes, name: bytes) -> int:
    """The place after a box's version and flags."""
    return content.index(name) + 8


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> bytes:
    return files.write(tmp_path_factory.mktemp("small") / "small.mp4", bf="2", g="12").read_bytes()


@pytest.mark.parametrize("count", [1 << 20, 50_000_000, 150_000_000, 2**32 - 1])
@pytest.mark.parametrize("what", ["samples", "samples of equal size", "times"])
def test_an_index_of_billions(small, tmp_path, what, count):
    content = bytearray(small)
    table = find_box(content, b"stts" if what == "times" else b"stsz")
    if what == "times":
        content[table + 4 : table + 8] = struct.pack(">I", count)
    else:
        content[table + 4 : table + 8] = struct.pack(">I", count)
        if what != "samples":
            content[table : table + 4] = struct.pack(">I", 1)
            chunks = find_box(content, b"stsc")
            content[chunks + 8 : chunks + 12] = struct.pack(">I", count)
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    outcome, memory, seconds = measure(path)
    assert outcome == ("read" if what == "times" else "named"), (outcome, memory, seconds)
    assert memory < 500
    assert seconds < 30


def test_an_edit_list_that_shows_everything_again_and_again(small, tmp_path):
    """A million edits of 40 frames each."""
    edits = struct.pack(">II", 0, 1_000_000) + struct.pack(">IIHH", 1600, 0, 1, 0) * 1_000_000
    content, grown = small, 8 + len(edits)
    place = content.index(b"elst") - 4
    old = int.from_bytes(content[place : place + 4], "big")
    content = content[:place] + box(b"elst", edits) + content[place + old :]
    for name in (b"edts", b"trak", b"moov"):
        start = content.index(name) - 4
        length = int.from_bytes(content[start : start + 4], "big") + grown - old
        content = content[:start] + struct.pack(">I", length) + content[start + 4 :]
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    outcome, memory, seconds = measure(path)
    assert (outcome, memory < 500, seconds < 30) == ("named", True, True), (memory, seconds)


def test_a_fragment_of_billions(tmp_path):
    content = bytearray(
        files.write(tmp_path / "f.mp4", container={"movflags": "frag_keyframe+empty_moov"}, g="12").read_bytes()
    )
    run = content.rindex(b"trun") + 4
    for count in (1_000_000, 100_000_000, 2**32 - 1):
        content[run : run + 8] = struct.pack(">II", 0, count)
        path = tmp_path / "x.mp4"
        path.write_bytes(content)
        outcome, memory, seconds = measure(path)
        assert (outcome, memory < 500, seconds < 30) == ("named", True, True), (memory, seconds)


def test_sound_of_more_samples_than_bytes(small, tmp_path):
    """QuickTime counts the samples of sound, of which several can share a byte."""
    path = files.write(tmp_path / "sound.mov", codec="mpeg4", sound=True)
    content = bytearray(path.read_bytes())
    sound = content.index(b"soun")
    table = content.index(b"stsz", sound) + 8
    content[table : table + 8] = struct.pack(">II", 1, 10_000_000)
    times = content.index(b"stts", sound) + 8
    content[times : times + 12] = struct.pack(">III", 1, 10_000_000, 1)
    path.write_bytes(content)
    with path.open("rb") as file:
        assert not exceeds_file(file.fileno(), len(content))
    content[times + 8 : times + 12] = struct.pack(">I", 2)
    path.write_bytes(content)
    with path.open("rb") as file:
        assert exceeds_file(file.fileno(), len(content))


@pytest.mark.parametrize("size", [(65535, 65535), (8193, 4096), (20000, 20000)])
def test_pictures_of_gigabytes(tmp_path, size):
    """Each picture of Motion JPEG states its own size."""
    path = files.write(tmp_path / "x.avi", codec="mjpeg", pixels="yuvj420p", frames=3)
    content = bytearray(path.read_bytes())
    place = -1
    while (place := content.find(b"\xff\xc0", place + 1)) >= 0:  # start of frame; length, bits, height, width
        content[place + 5 : place + 9] = struct.pack(">HH", size[1], size[0])
    path.write_bytes(content)
    outcome, memory, seconds = measure(path)
    assert (outcome, memory < 300, seconds < 10) == ("named", True, True), (memory, seconds)


@pytest.mark.parametrize(("size", "outcome"), [((16, 1040), "named"), ((1040, 16), "named"), ((16, 1024), "read")])
def test_pictures_that_are_too_slender_to_resize(tmp_path, size, outcome):
    assert measure(files.write(tmp_path / "x.mp4", size=size, frames=3))[0] == outcome

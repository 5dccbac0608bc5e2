"""What containers state of their own length: read to the last byte, and never trusted beyond the file."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
import video_files as files

from repro.data.video import UnreadableVideo, Video
from repro.data.video_containers import read_claimed_bytes


def claimed(path: Path, content: bytes) -> int | None:
    path.write_bytes(content)
    with path.open("rb") as file:
        return read_claimed_bytes(file.fileno(), len(content))


def box(name: bytes, content: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack(">I", 8 + len(content) if length is None else length) + name + content


def long_box(name: bytes, length: int) -> bytes:
    return struct.pack(">I4sQ", 1, name, length)


FTYP = box(b"ftyp", b"isom" + bytes(12))


@pytest.mark.parametrize("length", [2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
def test_boxes_longer_than_any_file(tmp_path, length):
    """Lengths of 64 bits: their sum has more, and no file has such a place."""
    path = tmp_path / "x.mp4"
    assert claimed(path, FTYP + long_box(b"mdat", length)) == len(FTYP) + length
    assert claimed(path, FTYP + long_box(b"mdat", length) + long_box(b"moov", length)) == len(FTYP) + length
    with pytest.raises(UnreadableVideo, match=f"video x is cut short: .* of {len(FTYP) + length} bytes are there"):
        Video(path, "x")


@pytest.mark.parametrize("length", [2, 7])
def test_a_box_that_is_shorter_than_its_head(tmp_path, length):
    assert claimed(tmp_path / "x.mp4", FTYP + box(b"mdat", length=length)) == len(FTYP)
    assert claimed(tmp_path / "x.mp4", FTYP + long_box(b"mdat", length)) == len(FTYP)


def test_a_box_that_reaches_to_the_end_of_the_file(tmp_path):
    assert claimed(tmp_path / "x.mp4", FTYP + box(b"mdat", bytes(100), length=0)) == len(FTYP)


def test_very_many_boxes_end(tmp_path):
    """A gigabyte of them would be followed for minutes."""
    path = tmp_path / "x.mp4"
    assert claimed(path, FTYP + 300_000 * box(b"free")) < len(FTYP) + 8 * 300_000


def element(name: bytes, content: bytes, length: int | None = None) -> bytes:
    """An EBML element, its length in eight bytes."""
    return name + (1 << 56 | (len(content) if length is None else length)).to_bytes(8, "big") + content


EBML, SEGMENT, VOID = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\xec"


@pytest.mark.parametrize("place", [0, 100, *range(4070, 4110), 10_000])
def test_a_segment_anywhere(tmp_path, place):
    head = element(EBML, bytes(max(0, place - 12)))
    whole = head + element(SEGMENT, bytes(50))
    assert claimed(tmp_path / "x.mkv", whole) == len(whole)
    assert claimed(tmp_path / "x.mkv", whole[:-20]) == len(whole)
    spaced = head + element(VOID, bytes(30)) + element(SEGMENT, bytes(50))
    assert claimed(tmp_path / "x.mkv", spaced) == len(spaced)
    for end in range(len(head), len(head) + 12):  # cut within the segment's head
        assert claimed(tmp_path / "x.mkv", whole[:end]) is None


def test_a_segment_of_unknown_length(tmp_path):
    for length in (b"\xff", b"\x01" + b"\xff" * 7, b"\x00" * 9):
        assert claimed(tmp_path / "x.mkv", element(EBML, b"") + SEGMENT + length + bytes(50)) is None


@pytest.mark.parametrize("content", [EBML, EBML + b"\x01", EBML + b"\0", b"RIFF", b"RIFF\0\0\0\0AVI ", b"\0\0\0\1mdat"])
def test_files_of_a_few_bytes(tmp_path, content):
    claimed(tmp_path / "x", content)
    with pytest.raises(UnreadableVideo, match="video x"):
        Video(tmp_path / "x", "x")


def test_an_avi_file_in_several_parts(tmp_path):
    parts = b"".join(b"RIFF" + struct.pack("<I", 4 + 101) + name + bytes(102) for name in (b"AVI ", b"AVIX", b"AVIX"))
    assert claimed(tmp_path / "x.avi", parts) == len(parts)
    assert claimed(tmp_path / "x.avi", parts + b"anything") == len(parts)
    assert claimed(tmp_path / "x.avi", parts[:-30]) == len(parts)
    assert claimed(tmp_path / "x.avi", parts[:200]) == 2 * len(parts) // 3


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> bytes:
    return files.write(tmp_path_factory.mktemp("small") / "small.mp4", bf="2", g="12").read_bytes()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_named_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    (tmp_path / "directory.mp4").mkdir()
    reasons = {
        "pipe": "named pipe", "dangling": "which does not exist", "loop": "leads back", "zero": "a device",
        "directory": "a directory",
    }  # fmt: skip
    for name, reason in reasons.items():
        with pytest.raises(UnreadableVideo, match=reason):
            Video(tmp_path / f"{name}.mp4", name)
    with pytest.raises(UnreadableVideo, match="longer than the system allows"):
        Video(tmp_path / f"{'x' * 300}.mp4", "x")
    with pytest.raises(UnreadableVideo, match="null"):
        Video(Path("x\0.mp4"), "x")


def test_a_name_that_is_no_text(tmp_path, small):
    """A name in another encoding; and one that a program could take for an address or a pattern."""
    for name in (b"caf\xe9.mp4", b"concat:a|b.mp4", b"%03d.mp4", b"-i.mp4"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        path.write_bytes(small)
        with Video(path, "x") as video:
            assert video.frames == 40

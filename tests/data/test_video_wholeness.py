"""Files that were cut cleanly: another such file remains, which is told from a whole one or refused by name."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import pytest
import video_files as files

from repro.data.video import UnreadableVideo, Video
from repro.data.video_wholeness import name_other_container

NO_END = "nothing in it states where it ends, so that it may be cut short"
#: How fragments are written, and whether a whole file of such is known to be whole.
FRAGMENTED = {
    "frag_keyframe+empty_moov": True,
    "frag_keyframe+delay_moov": True,
    "frag_keyframe": True,
    "cmaf+frag_keyframe": True,
    "dash+frag_keyframe+empty_moov": True,
    "dash+frag_keyframe+empty_moov+global_sidx": True,
    "dash+frag_keyframe+empty_moov+global_sidx+skip_trailer": True,
    "frag_keyframe+empty_moov+skip_trailer": False,
    "dash+frag_keyframe+empty_moov+skip_trailer": False,
}
OTHERS = {
    "x.flv": ("flv", "an FLV file"), "h264.flv": ("libx264", "an FLV file"),
    "x.ts": ("libx264", "an MPEG transport stream"), "x.m2ts": ("libx264", "an MPEG transport stream"),
    "x.mpg": ("mpeg1video", "an MPEG program stream"), "x.wmv": ("wmv2", "an ASF file"),
}  # fmt: skip


def read(path: Path) -> int:
    with Video(path, "x") as video:
        video.decode()
        return video.frames


def list_boxes(content: bytes) -> list[tuple[bytes, int]]:
    found, at = [], 0
    while at < len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        found.append((name, at))
        at += length
    return found


@pytest.mark.parametrize("flags", FRAGMENTED)
def test_fragments_are_whole_or_named(tmp_path, flags):
    """Cut before any of its boxes, each file is one that a program could have written in a stream."""
    path = files.write(tmp_path / "fragments.mp4", frames=24, g="8", container={"movflags": flags})
    content = path.read_bytes()
    if FRAGMENTED[flags]:
        assert read(path) == 24
    else:
        with pytest.raises(UnreadableVideo, match=NO_END):
            read(path)
    for name, place in list_boxes(content)[1:]:
        path.write_bytes(content[:place])
        if name == b"mfra" and "global_sidx" in flags:  # all pictures are there
            assert read(path) == 24
        else:
            with pytest.raises(UnreadableVideo, match=r"video x .*fragments\.mp4"):
                read(path)


def test_matroska_of_unknown_length(tmp_path):
    path = files.write(tmp_path / "live.mkv", g="8", container={"live": "1"})
    with pytest.raises(UnreadableVideo, match=NO_END):
        read(path)


def test_avi_of_unknown_length_without_an_index(tmp_path):
    path = files.write(tmp_path / "piped.avi", codec="mpeg4", g="8")
    content = bytearray(path.read_bytes())
    content[4:8] = bytes(4)
    path.write_bytes(content)
    assert read(path) == 40  # its index tells
    content[44] &= 0xEF
    for end in (len(content), content.index(b"idx1"), content.rindex(b"00dc", 0, content.index(b"idx1"))):
        path.write_bytes(content[:end])
        with pytest.raises(UnreadableVideo, match=NO_END):
            read(path)


@pytest.mark.parametrize("name", OTHERS)
def test_other_containers_are_named(tmp_path, name):
    """Cut between two packets, none of them tells that there was more."""
    codec, what = OTHERS[name]
    how = {"container": {"mpegts_m2ts_mode": "1"}} if name == "x.m2ts" else {}
    path = files.write(tmp_path / name, codec=codec, g="8", **how)
    content = path.read_bytes()
    with av.open(str(path)) as file:
        places = [packet.pos for packet in file.demux(video=0) if packet.size and packet.pos]
    for end in (len(content), places[-1], places[len(places) // 2]):
        (tmp_path / "x.mp4").write_bytes(content[:end])
        with pytest.raises(UnreadableVideo, match=f"video x cannot be read: .*x.mp4: it is {what}"):
            read(tmp_path / "x.mp4")


def test_what_is_not_named_as_another_container():
    assert name_other_container(b"OggS\0\2") == "an Ogg file"
    assert name_other_container(b"G" + bytes(1023)) is None
    assert name_other_container(b"G") is None
    assert name_other_container(b"") is None

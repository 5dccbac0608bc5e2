"""Frames of a video by number: equal to decoding every frame, and files that are no whole videos are named."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import video_files as files
from damaged_videos import make_damaged
from places import SHARED

from repro.data import video as module
from repro.data.video import UnreadableVideo, Video

REAL = SHARED / "data" / "videos"

#: Times of frames, hundredths of a second, from 10 to 290 apart.
IRREGULAR = tuple(np.cumsum(np.random.default_rng(0).integers(1, 30, 40)).tolist())
#: Name of the file, and how it is written.
KINDS = {
    "b-frames.mp4": {"bf": "3", "g": "12", "sc_threshold": "0"},
    "one-group.mkv": {"bf": "5", "g": "250", "sc_threshold": "0"},
    "open-groups.mp4": {"x264-params": "open-gop=1:keyint=10:min-keyint=10:scenecut=0:bframes=3"},
    "gradual-refresh.mp4": {"x264-params": "intra-refresh=1:keyint=12:scenecut=0:bframes=0"},
    "fragments.mp4": {"container": {"movflags": "frag_keyframe+empty_moov"}, "bf": "2", "g": "12"},
    "variable-rate.mp4": {"times": IRREGULAR, "bf": "3", "g": "12"},
    "variable-rate.mkv": {"times": IRREGULAR, "bf": "3", "g": "12"},
    "variable-rate.avi": {"times": IRREGULAR, "codec": "mpeg4", "g": "12"},
    "sound.mp4": {"sound": True, "bf": "2", "g": "12"},
    "one-frame.mp4": {"frames": 1},
    "odd.mp4": {"size": (97, 63), "pixels": "yuv444p"},
    "h264.avi": {"bf": "3", "g": "12"},
    "mpeg4.avi": {"codec": "mpeg4", "bf": "2", "g": "12"},
    "mpeg4.mp4": {"codec": "mpeg4", "bf": "2", "g": "12"},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "vp8.webm": {"codec": "libvpx", "auto-alt-ref": "1", "lag-in-frames": "16"},
    "vp9.webm": {"codec": "libvpx-vp9", "deadline": "realtime"},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("videos")
    return {name: files.write(directory / name, **how) for name, how in KINDS.items()}


@pytest.fixture(scope="module")
def real() -> list[Path]:
    if not REAL.is_dir():
        pytest.skip("needs the real clips, ../shared/data/videos, beside the checkout")
    return sorted(REAL.iterdir())


@pytest.mark.parametrize("name", KINDS)
def test_every_choice_of_frames_is_that_of_decoding_all(written, name):
    path = written[name]
    full = files.all_frames(path)
    assert [files.number(frame) for frame in full] == list(range(KINDS[name].get("frames", 40)))
    generator = np.random.default_rng(0)
    with Video(path, name) as video:
        assert video.frames == len(full)
        choices = [[index] for index in range(len(full))] + [range(len(full))]
        choices += [generator.integers(len(full), size=5) for _ in range(10)]
        for choice in choices:
            found = list(video.read(choice))
            assert [index for index, _ in found] == sorted(set(choice))
            for index, pixels in found:
                np.testing.assert_array_equal(pixels, full[index])


def test_the_real_clips(real):
    for path in real:
        full = files.all_frames(path)
        with Video(path, path.name) as video:
            assert video.frames == len(full)
            for choice in (range(1, len(full), 7), [len(full) - 1], [len(full) // 2]):
                for index, pixels in video.read(choice):
                    np.testing.assert_array_equal(pixels, full[index])


def test_what_is_decoded_begins_at_a_key_frame_only_if_nothing_before_it_is_needed(written, monkeypatch):
    """Frame 30 of 40: two of the files have a picture to start from after frame 20."""
    packets = {}
    for name in ("b-frames.mp4", "one-group.mkv", "open-groups.mp4", "gradual-refresh.mp4", "h264.avi"):
        with Video(written[name], name) as video:
            seen = []
            decoded = video._decode_packet
            monkeypatch.setattr(
                video, "_decode_packet", lambda packet, to=seen, by=decoded: to.append(packet) or by(packet)
            )
            assert [files.number(pixels) for _, pixels in video.read([30])] == [30]
            packets[name] = len([packet for packet in seen if packet is not None])
    assert packets["b-frames.mp4"] < 20
    assert min(packets[name] for name in packets.keys() - {"b-frames.mp4"}) >= 30


class _Container:
    """A container whose packets have lost their time stamps, or have the same in pairs."""

    def __init__(self, container, change):
        self._container, self._change = container, change

    def __getattr__(self, name):
        return getattr(self._container, name)

    def demux(self, stream):
        for packet in self._container.demux(stream):
            self._change(packet)
            yield packet


def _lose(packet):
    packet.pts = packet.dts = None


class _Pair:
    """Every second packet gets the time stamp of the one before."""

    last = None

    def __call__(self, packet):
        if self.last is None:
            self.last = packet.pts
        elif packet.pts is not None:
            packet.pts, self.last = self.last, None


@pytest.mark.parametrize("change", [_lose, _Pair()])
@pytest.mark.parametrize("name", ["b-frames.mp4", "variable-rate.mkv", "vp9.webm"])
def test_time_stamps_that_are_missing_or_doubled(written, monkeypatch, name, change):
    full = files.all_frames(written[name])
    opened = av.open
    monkeypatch.setattr(module.av, "open", lambda *args, **options: _Container(opened(*args, **options), change))
    with Video(written[name], name) as video:
        assert video.frames == len(full)
        for index, pixels in video.read([3, 17, 39]):
            np.testing.assert_array_equal(pixels, full[index])


def test_time_stamps_that_show_what_comes_first_last(written, monkeypatch):
    """Frames 24 to 39, then 0 to 23: a key frame is no place to start from, while frames before it are shown after."""

    def turn_around(packet):
        if packet.pts is not None:
            packet.pts = (packet.pts - 24 * 512) % (40 * 512)

    opened = av.open
    monkeypatch.setattr(module.av, "open", lambda *args, **options: _Container(opened(*args, **options), turn_around))
    with Video(written["b-frames.mp4"], "x") as video:
        found = {index: files.number(pixels) for index, pixels in video.read([0, 30])}
    assert found == {0: 24, 30: 14}


def test_the_time_stamps_of_an_avi_file_are_wrong(written):
    """What the test above relies on: a reader that sorts by them would show other frames."""
    with av.open(str(written["h264.avi"])) as file:
        stamps = [frame.pts for frame in file.decode(video=0)]
    assert stamps != sorted(stamps)


def test_an_edit_list_that_begins_later(written, tmp_path):
    """Cut without encoding again: the first frames of the file are there to decode the others and are not shown."""
    path = _copy(written["b-frames.mp4"], tmp_path / "cut.mp4", start=17)
    full = files.all_frames(path)
    assert [files.number(frame) for frame in full] == list(range(17, 40))
    with Video(path, "cut") as video:
        assert video.frames == len(full)
        for choice in ([0], [10], [22], range(23)):
            for index, pixels in video.read(choice):
                np.testing.assert_array_equal(pixels, full[index])


def _copy(source: Path, path: Path, start: int = 0, **container: str) -> Path:
    """Put the same packets into another container, as `ffmpeg -c copy` does, from a frame on that is no key frame."""
    with av.open(str(source)) as opened, av.open(str(path), "w", options=container) as file:
        stream = opened.streams.video[0]
        copy = file.add_stream_from_template(stream)
        begin = start * round(1 / stream.time_base) // 25
        for packet in opened.demux(stream):
            if packet.pts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - begin, packet.dts - begin, copy
                file.mux(packet)
    return path


def test_the_count_of_an_avi_header_is_no_promise(written, tmp_path):
    """It is a duration in ticks of the clock, here a hundredth of a second or less, and no number of frames."""
    for source, name in (("mpeg4.mp4", "copied.avi"), ("variable-rate.avi", "")):
        path = _copy(written[source], tmp_path / name) if name else written[source]
        with av.open(str(path)) as file:
            assert file.streams.video[0].frames > 40
        with Video(path, "whole") as video:
            assert video.frames == 40
            assert [files.number(pixels) for _, pixels in video.read([3, 20, 39])] == [3, 20, 39]
            video.decode()


def test_fragments_with_an_edit_list_that_begins_later(written, tmp_path):
    """Times are counted from the first frame that is shown; the header has the duration of all of them."""
    path = _copy(written["b-frames.mp4"], tmp_path / "late.mp4", 17, movflags="frag_keyframe+delay_moov")
    full = files.all_frames(path)
    with Video(path, "whole") as video:
        assert video.frames == len(full)
        for index, pixels in video.read([0, 10, len(full) - 1]):
            np.testing.assert_array_equal(pixels, full[index])


def test_a_tag_of_the_file_that_a_video_was_cut_from(written, tmp_path):
    """Programs that split a Matroska file copy the tags: its header has the duration of the part."""
    path = tmp_path / "part.mkv"
    content = written["one-group.mkv"].read_bytes()
    assert content.count(b"00:00:01.600") == 1
    path.write_bytes(content.replace(b"00:00:01.600", b"00:01:40.000"))
    with Video(path, "whole") as video:
        assert video.frames == 40


@pytest.mark.parametrize("tag", [b"9:99:99", b"aa:bb:cc.ddd", b"00:00:nan", b"1" * 12, b"-1:00:00"])
def test_a_tag_that_is_no_time(written, tmp_path, tag):
    path = tmp_path / "tag.mkv"
    path.write_bytes(written["one-group.mkv"].read_bytes().replace(b"00:00:01.600", tag.ljust(12, b"\0")))
    with Video(path, "whole") as video:
        assert video.frames == 40


# -- files that are no whole videos -----------------------------------------------------------------------------------


def _text(path):
    path.write_text("no video\n" * 100)


def _playlist(path):
    """FFmpeg would open the file that it names."""
    path.write_text("ffconcat version 1.0\nfile 'whole.mp4'\n")


def _image(path):
    from PIL import Image

    Image.new("RGB", (50, 40)).save(path, "JPEG")


def _sound(path):
    with av.open(str(path), "w") as file:
        files.write_sound(file, file.add_stream("aac", rate=48000))


@pytest.mark.parametrize("make", [_text, _playlist, _image, _sound, Path.touch, Path.mkdir, lambda path: None])
def test_what_is_no_video_is_named(tmp_path, make):
    files.write(tmp_path / "whole.mp4")
    path = tmp_path / "video.mp4"
    make(path)
    with pytest.raises(UnreadableVideo, match=r"video some_id.*: .*video\.mp4.* .*Download it") as raised:
        Video(path, "some_id")
    assert "cannot be read" in str(raised.value)
    assert raised.value.video_id == "some_id"


def test_reasons_are_told(tmp_path):
    path = tmp_path / "video.mp4"
    for make, reason in ((_text, "Invalid data|no video"), (_sound, "no pictures"), (Path.touch, "the file is empty")):
        make(path)
        with pytest.raises(UnreadableVideo, match=reason):
            Video(path, "x")
        path.unlink()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    "name",
    ["faststart.mp4", "b-frames.mp4", "fragments.mp4", "one-group.mkv", "vp9.webm", "mpeg4.avi", "h264.avi",
     "variable-rate.avi"],
)  # fmt: skip
def test_a_truncated_file_is_named(written, tmp_path, name, share):
    path = tmp_path / name
    if name == "faststart.mp4":
        files.write(path, container={"movflags": "faststart"})
    else:
        shutil.copy(written[name], path)
    with Video(path, "whole"):
        pass
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UnreadableVideo, match=rf"video x (is cut short|is damaged|cannot be read): .*{name}"):
        Video(path, "x")


@pytest.mark.parametrize("name", ["faststart.mp4", "no-duration.mkv", "variable-rate.avi"])
def test_a_file_cut_between_two_frames_is_named(tmp_path, name):
    """What is left is whole packets, and nothing but the file's own length tells that more were there."""
    how = KINDS.get(name, {"container": {"movflags": "faststart"} if name.endswith("mp4") else {}})
    path = files.write(tmp_path / name, **how)
    content = path.read_bytes().replace(b"DURATION", b"NOTHING_")
    path.write_bytes(content)
    with av.open(str(path)) as file:
        places = [packet.pos for packet in file.demux(video=0) if packet.size]
    with Video(path, "whole") as video:
        assert video.frames == 40
    path.write_bytes(content[: places[30]])
    with pytest.raises(UnreadableVideo, match=r"video x is cut short: .* \d+ of \d+ bytes are there"):
        Video(path, "x")


@pytest.mark.parametrize("lost", [1, 8, 9, 100])
@pytest.mark.parametrize("name", ["variable-rate.avi", "h264.avi"])
def test_an_avi_file_that_lost_the_last_bytes_of_its_index(written, tmp_path, name, lost):
    """Up to eight bytes are what writers count wrongly; all frames are there."""
    path = tmp_path / name
    path.write_bytes(written[name].read_bytes()[:-lost])
    if lost > 8:
        with pytest.raises(UnreadableVideo, match="cut short"):
            Video(path, "x")
    else:
        with Video(path, "whole") as video:
            assert video.frames == 40


@pytest.mark.parametrize("frames", [1, 17, 39])
@pytest.mark.parametrize("name", ["variable-rate.avi", "mjpeg.avi"])
def test_an_avi_file_whose_writer_was_stopped_is_named(written, tmp_path, name, frames):
    """Its lengths were to be written at the end, like its index, which the header announces."""
    with av.open(str(written[name])) as file:
        end = [packet.pos for packet in file.demux(video=0) if packet.size][frames]
    content = bytearray(written[name].read_bytes()[:end])
    content[4:8] = content[48:52] = bytes(4)
    header = content.index(b"strh") + 8
    content[header + 32 : header + 36] = bytes(4)
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableVideo, match=r"cut short: .* index"):
        Video(path, "x")


def test_an_avi_file_that_states_no_length(written, tmp_path):
    """Its index at its end tells that it is whole."""
    for length in (bytes(4), b"\xff" * 4):
        content = bytearray(written["mpeg4.avi"].read_bytes())
        content[4:8] = length
        path = tmp_path / "piped.avi"
        path.write_bytes(content)
        with Video(path, "whole") as video:
            assert video.frames == 40


@pytest.mark.parametrize("name", ["variable-rate.avi", "mjpeg.avi"])
def test_frames_that_an_avi_file_lost_in_its_middle(written, tmp_path, name):
    """The index names them: without them all later ones would have other numbers."""
    content = bytearray(written[name].read_bytes())
    with av.open(str(written[name])) as file:
        places = [packet.pos for packet in file.demux(video=0) if packet.size][15:18]
    for place in places:
        content[place - 8 : place - 4] = b"JUNK"
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableVideo, match=r"video x is damaged: .* 37 of 40 frames"):
        Video(path, "x")


@pytest.mark.parametrize("name", ["b-frames.mp4", "mpeg4.avi"])
def test_damage_that_stops_the_decoder_is_named(written, tmp_path, name):
    path = tmp_path / name
    content = bytearray(written[name].read_bytes())
    with av.open(str(written[name])) as file:
        places = [packet.pos for packet in file.demux(video=0) if packet.size][15:25]
    content[places[0] : places[-1]] = bytes(places[-1] - places[0])
    path.write_bytes(content)
    with pytest.raises(UnreadableVideo, match=f"video x is (damaged|cut short): .*{name}"), Video(path, "x") as video:
        video.decode()


def test_any_damage_gives_the_video_or_names_it(written, tmp_path):
    """Bytes changed at random: never another exception."""
    generator = np.random.default_rng(0)
    outcomes = {"read": 0, "named": 0}
    for name in ("b-frames.mp4", "mpeg4.avi", "vp9.webm", "variable-rate.mkv"):
        for _ in range(25):
            content = np.frombuffer(written[name].read_bytes(), np.uint8).copy()
            start, size = generator.integers(len(content)), generator.integers(1, 400)
            content[start : start + size] = generator.integers(256, size=len(content[start : start + size]))
            path = tmp_path / f"damaged_{name}"
            path.write_bytes(content.tobytes())
            try:
                with Video(path, "x") as video:
                    assert len(list(video.read(range(0, video.frames, 3)))) == len(range(0, video.frames, 3))
                outcomes["read"] += 1
            except UnreadableVideo:
                outcomes["named"] += 1
    assert min(outcomes.values()) > 5


def test_an_error_that_the_decoder_would_conceal_is_named(written, tmp_path):
    """A part of a JPEG; and a head of an H.264 picture, which says that it refers to pictures that are not there."""
    for name, start, damage in (("mjpeg.avi", -60, b"\xff\xd9" * 20), ("h264.avi", 5, b"\xff" * 4)):
        content = bytearray(written[name].read_bytes())
        with av.open(str(written[name])) as file:
            packet = [packet for packet in file.demux(video=0) if packet.size][10]
        place = packet.pos + (packet.size + start if start < 0 else start)
        content[place : place + len(damage)] = damage
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UnreadableVideo, match=f"video x is damaged: .*{name}"), Video(path, "x") as video:
            video.decode()


@pytest.mark.parametrize("number", [0, 20])
def test_a_picture_without_content_is_named(written, tmp_path, number):
    """The decoder returns it, and in it what is in memory."""
    content = bytearray(written["mjpeg.avi"].read_bytes())
    with av.open(str(written["mjpeg.avi"])) as file:
        packet = [packet for packet in file.demux(video=0) if packet.size][number]
    place = content.index(b"\xff\xda", packet.pos)
    content[place : place + 2] = b"\xcc\xcc"
    path = tmp_path / "empty.avi"
    path.write_bytes(content)
    assert len(files.all_frames(path)) == 40
    with pytest.raises(UnreadableVideo, match="one of its pictures is empty"):
        Video(path, "x")


def test_a_picture_that_the_decoder_writes_in_part_is_named(tmp_path):
    """VP8 that states more rows than it has data for (1728): what is seen there is what was in memory."""
    whole = files.write(tmp_path / "vp8.webm", codec="libvpx", frames=18, size=(48, 32)).read_bytes()
    path = tmp_path / "long.webm"
    path.write_bytes(make_damaged("matroska", whole, 7791))
    with pytest.raises(UnreadableVideo, match=r"of frame .* a part is missing"), Video(path, "x") as video:
        list(video.read(range(video.frames)))

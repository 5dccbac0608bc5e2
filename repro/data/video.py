"""Exact reading of chosen frames of a video file, whatever its container and wherever its key frames lie.

No seeking is involved. The file's compressed packets are read in order, once, and decoded up to the last frame that is
wanted. H.264 in an MP4 or Matroska file states when each packet is shown; then decoding starts at the last picture
before the first wanted frame that resets the decoder, and pictures to which no other refers are left out unless wanted.
Of other files every picture is decoded, and frames are counted as the decoder returns them, in the order of
presentation: time stamps that are missing, irregular or, as in many AVI files, wrong are not used.

A video is used as a whole or not at all. One with fewer frames than its container claims, or in which the decoder
finds an error, is an `UnreadableVideo`: the rest would be another video. The decoder would conceal most errors, by
parts of other pictures or by what happens to be in memory; it is told to stop instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

import av
import numpy as np
from av.stream import Disposition

from repro.data.decoder_trial import find_fault
from repro.data.display_matrix import read_display_matrix, set_upright
from repro.data.mp4_index import exceeds_file
from repro.data.unwritten_pictures import PictureComparison, lacks_scan
from repro.data.video_containers import (
    is_idr,
    lacks_index,
    read_claimed_bytes,
    read_claimed_seconds,
    read_length_size,
)
from repro.data.video_cropping import Cropping, crop, read_matroska_cropping, read_mp4_cropping
from repro.data.video_wholeness import name_other_container, read_indexed_bytes, states_end
from repro.errors import ReproError
from repro.files.regular_files import open_regular

#: Containers that are opened: those that tell whether a file is whole. Anything else (other videos, pictures, text,
#: playlists that name further files) is refused.
_CONTAINERS = "mov,matroska,webm,avi"
#: Pixels of a picture, 8192 x 4096: a damaged header can announce some that take gigabytes of memory.
_MOST_PIXELS = 1 << 25
#: How many times as long as wide, or as wide as long, a picture may be: resizing keeps this.
_MOST_SLENDER = 64
_LIMITS = {"max_pixels": str(_MOST_PIXELS)}
#: An error ends the decoding, and a picture may begin at any column that the stream says.
_DECODING = {**_LIMITS, "err_detect": "+explode", "flags": "+unaligned"}
#: The file is opened here, and read by FFmpeg through its descriptor.
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "fd", **_LIMITS}
#: Codecs in which each packet holds one frame, so that frames are counted without decoding. In MPEG-4 of AVI files two
#: may share a packet, and another packet then has none.
_A_FRAME_EACH = {"h264", "vp9", "av1"}
#: Number of frame durations by which a stream may end early: how long the last frame is shown is not known.
_SLACK = 2
#: Of a file of so many bytes, so many are read as packets at most: an index can name the same bytes again and again.
_MOST_READ = 4
_TOO_MUCH = "by its index it holds more than fits into it"
_ADVICE = "Download it again, or delete it to have it counted as missing."


class UnreadableVideo(ReproError):
    """A video that cannot be decoded as a whole. Training stops; an evaluation counts it and names it."""

    def __init__(self, video_id: str, message: str) -> None:
        super().__init__(message)
        self.video_id = video_id

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """What pickling needs: processes that read ahead hand it over."""
        return type(self), (self.video_id, str(self))


class Video:
    """A video file, open for reading; a context manager. Its packets are kept in memory, its frames are not.

    Args:
        path: the file.
        video_id: its name in messages and in `UnreadableVideo`.

    Raises:
        UnreadableVideo: the file is missing, empty, cut short, no video, or has no pictures.
    """

    def __init__(self, path: Path, video_id: str) -> None:
        self.path, self.video_id = path, video_id
        with ExitStack() as opened:
            try:
                self._file = opened.enter_context(open_regular(path)).fileno()
            except ReproError as error:
                raise UnreadableVideo(video_id, f"video {video_id}: {error} {_ADVICE}") from None
            self._again = opened.enter_context(ExitStack())  #: what the latest of several decoders reads
            self._size = os.fstat(self._file).st_size
            self._check_length()
            self._container, self._stream = self._open_stream(opened)
            self._open()
            self._opened = opened.pop_all()

    def _check_length(self) -> None:
        """Check by the file's parts that all of it is there, before FFmpeg reads it."""
        with self._naming("cannot be read"):
            if not self._size:
                self._refuse("cannot be read", "the file is empty")
            if other := name_other_container(os.pread(self._file, 1024, 0)):
                self._refuse("cannot be read", f"it is {other}, in which nothing tells whether a file is whole")
            claimed = max(read_claimed_bytes(self._file, self._size) or 0, read_indexed_bytes(self._file, self._size))
            if self._size < claimed:
                self._refuse("is cut short", f"{self._size} of {claimed} bytes are there")
            if exceeds_file(self._file, self._size):
                self._refuse("is damaged", _TOO_MUCH)
            if lacks_index(self._file, self._size):
                self._refuse("is cut short", "the index that should be at its end is not there")

    def _open_stream(self, opened: ExitStack) -> tuple[av.container.InputContainer, av.VideoStream]:
        """Open the video for as long as `opened` is, with a decoder of its own."""
        with self._naming("cannot be read"):
            os.lseek(self._file, 0, os.SEEK_SET)
            options = {"fd": str(self._file), **_OPTIONS}
            try:
                container = av.open("fd:", options=options, metadata_errors="replace")
            except av.error.ArgumentError:  # none of _CONTAINERS
                self._refuse("cannot be read", "it is no video")
            opened.callback(container.close)
            streams = [
                stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic
            ]
            if not streams:
                self._refuse("cannot be read", "it has no pictures, at most sound")
            if streams[0].codec_context is None:
                self._refuse("cannot be read", "there is no decoder for it")
            streams[0].codec_context.thread_count = 1  # several files at once are faster than several threads for one
            streams[0].codec_context.options = _DECODING
            return container, streams[0]

    def _open(self) -> None:
        self._decoder = self._stream.codec_context
        with self._naming("is damaged"):
            indexed = len(self._stream.index_entries) if self._container.format.name == "avi" else 0
            # An empty packet repeats a picture, or ends the file.
            self._packets = [packet for packet in self._read_packets() if packet.size]
            if len(self._packets) < indexed:
                self._refuse("is damaged", f"{len(self._packets)} of {indexed} frames are there")
            self._check_end()
            if self._decoder.name == "mjpeg" and any(lacks_scan(bytes(packet)) for packet in self._packets):
                self._refuse("is damaged", "one of its pictures is empty")
        with self._naming("cannot be shown"):
            self._cropping = self._read_cropping()
        self._order = self._read_stated_order()
        self._comparison = PictureComparison()
        #: Number of frames of the whole video.
        if self._decoder.codec.canonical_name in _A_FRAME_EACH:
            self.frames = sum(not packet.is_discard for packet in self._packets)
        else:
            if fault := find_fault(lambda: sum(1 for _ in self._decode_counted())):
                self._refuse("is damaged", f"its decoder, {self._decoder.name}, ends the process ({fault})")
            self.frames = sum(1 for _ in self._decode_counted())
        if not self.frames:
            self._refuse("cannot be read", "it has no frame")

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Read the frames of these numbers, each once, ascending: (number, uint8 (H, W, 3)), RGB, upright.

        Only one frame at a time is in memory. Pixels are taken to be square.

        Raises:
            UnreadableVideo: the decoder fails, or ends before the last of them.
        """
        wanted = set(indices)
        decoded = 0
        if not wanted:
            return
        for index, frame in self._decode_stated(wanted) if self._order else self._decode_counted():
            if index in wanted:
                decoded += 1
                yield index, self._convert_to_pixels(frame)
            if decoded == len(wanted):
                return
        self._refuse("is damaged", f"{decoded} of {len(wanted)} frames can be decoded")

    def decode(self) -> None:
        """Decode every frame.

        Raises:
            UnreadableVideo: that fails, or the frames are not as many as they should be.
        """
        decoded = sum(1 for _ in self._decode_counted())
        if decoded != self.frames:
            self._refuse("is damaged", f"{decoded} of {self.frames} frames can be decoded")

    def _decode_counted(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode every frame; they are numbered in the order in which the decoder returns them."""
        self._start_decoder()
        self._decoder.skip_frame = "DEFAULT"
        self._comparison.start()
        number = 0
        for packet in [*self._packets, None]:
            for frame in self._decode_packet(packet):
                if self._comparison.differs(number, frame):
                    self._refuse("is damaged", f"of frame {number} a part is missing")
                yield number, frame
                number += 1

    def _decode_stated(self, wanted: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode the frames of these numbers, and others that the decoder needs, by the time stamps of `_order`."""
        self._start_decoder()
        for packet in [*self._packets[self._find_entry(min(wanted)) :], None]:
            if packet is not None:
                number = None if packet.pts is None else self._order.get(packet.pts)
                self._decoder.skip_frame = "DEFAULT" if number in wanted else "NONREF"
            for frame in self._decode_packet(packet):
                if frame.pts is None or frame.pts not in self._order:
                    self._refuse("is damaged", f"a frame has the time stamp {frame.pts}, which no packet has")
                yield self._order[frame.pts], frame

    def _start_decoder(self) -> None:
        """Have a decoder that has seen nothing: what one learnt in a damaged file can change what it returns next."""
        if self._decoder.is_open:
            self._again.close()
            self._decoder = self._open_stream(self._again)[1].codec_context

    def _decode_packet(self, packet: av.Packet | None) -> Iterator[av.VideoFrame]:
        with self._naming("is damaged"):
            frames = self._decoder.decode(packet)
        for frame in frames:
            if frame.is_corrupt:
                self._refuse("is damaged", "a frame is corrupt")
            yield frame

    def _convert_to_pixels(self, frame: av.VideoFrame) -> np.ndarray:
        with self._naming("cannot be shown"):
            if max(frame.width, frame.height) > _MOST_SLENDER * min(frame.width, frame.height):
                self._refuse("cannot be shown", f"its pictures have {frame.width} x {frame.height} pixels")
            pixels = crop(frame.to_ndarray(format="rgb24", threads=1), self._cropping, frame.format)
            return set_upright(pixels, read_display_matrix(frame))

    def _read_packets(self) -> Iterator[av.Packet]:
        count, total = 0, 0
        for packet in self._container.demux(self._stream):
            count, total = count + 1, total + packet.size
            # A picture and its entry in an index take eight bytes or more.
            if total > _MOST_READ * self._size + (1 << 20) or count > self._size // 4 + 1000:
                self._refuse("is damaged", _TOO_MUCH)
            yield packet

    def _read_cropping(self) -> Cropping:
        name = self._container.format.name
        if name.startswith("mov"):
            return read_mp4_cropping(self._file, self._size, self._stream.id)
        return read_matroska_cropping(self._file, self._size) if name.startswith("matroska") else (0, 0, 0, 0)

    def _read_stated_order(self) -> dict[int, int]:
        """{time stamp: number} of all frames, where the file states time stamps and no two are the same; else empty."""
        frames = [packet for packet in self._packets if not packet.is_discard]
        shown = {packet.pts for packet in frames if packet.pts is not None}
        stated = self._decoder.name == "h264" and self._container.format.name.startswith(("mov", "matroska"))
        if not stated or len(shown) < len(frames):
            return {}
        return {pts: number for number, pts in enumerate(sorted(shown))}

    def _find_entry(self, first: int) -> int:
        """Find the packet from which to decode frame `first`: an IDR picture. Earlier packets are all shown before."""
        entry, latest, shown, length = 0, -1, 0, read_length_size(self._decoder.extradata)
        for position, packet in enumerate(self._packets):
            if packet.is_discard or packet.pts is None:  # an edit list begins later
                continue
            number = self._order[packet.pts]
            clean = latest < number == shown  # all packets before it are shown before it, all others after it
            if clean and number <= first and packet.is_keyframe and length and is_idr(bytes(packet), length):
                entry = position
            latest, shown = max(latest, number), shown + 1
        return entry

    def _check_end(self) -> None:
        """Check that the pictures last as long as the container claims, from their first or from time 0."""
        packets = self._packets
        if any(packet.is_corrupt for packet in packets):
            self._refuse("is damaged", "one of its packets is")
        shown = [(packet.pts, packet.pts + (packet.duration or 0)) for packet in packets if packet.pts is not None]
        seconds = read_claimed_seconds(self._container, self._stream)
        stated = seconds is not None and self._container.format.name.startswith("matroska")  # of MP4 it may be counted
        if not stated and not states_end(self._file, self._size):
            self._refuse("cannot be used", "nothing in it states where it ends, so that it may be cut short")
        if shown and seconds is not None and self._stream.time_base is not None:
            last = max(end for _, end in shown)
            end = float((last - min(0, *(begin for begin, _ in shown))) * self._stream.time_base)
            if end * (1 + _SLACK / len(packets)) < seconds:
                self._refuse("is cut short", f"it ends after {end:.1f} of {seconds:.1f} s")

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        """Refuse the video for whatever the library raises: each of its parts has errors of its own."""
        try:
            yield
        except ReproError:
            raise
        except MemoryError:
            self._refuse(what, "there is not enough memory for it")
        except Exception as error:
            reason = error.strerror if isinstance(error, av.error.FFmpegError) else None
            self._refuse(what, reason or str(error) or type(error).__name__)

    def _refuse(self, what: str, why: str) -> NoReturn:
        raise UnreadableVideo(
            self.video_id,
            f"video {self.video_id} {what}: {self.path}: {why}. {_ADVICE}",
        )


class DecodedVideo:
    """The frames of a video, all in memory.

    Raises:
        UnreadableVideo: one of them cannot be decoded.
    """

    def __init__(self, video: Video) -> None:
        self.frames = video.frames  #: number of frames of the whole video
        self._pixels = dict(video.read(range(video.frames)))

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The frames of these numbers, each once, ascending, as `Video.read`; they are not to be changed."""
        for index in sorted(set(indices)):
            yield index, self._pixels[index]

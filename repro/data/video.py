"""Chosen frames of a video file, exactly those, whatever its container and wherever its key frames lie.

Nothing is sought. The file's compressed packets are read in order, once, and decoded as far as the last frame that is
wanted. H.264 in an MP4 or Matroska file states which packet shows when; then decoding starts at the last picture before
the first wanted frame that resets the decoder, and pictures that no other refers to are left out unless wanted. Of
other files every picture is decoded, and frames are counted as the decoder gives them, in the order of presentation:
time stamps that are missing, irregular or, as in many AVI files, wrong are not looked at.

A video is taken as a whole or not at all. One that holds fewer frames than its container claims, or that the decoder
refuses a part of, is `UnreadableVideo`: what is left would be another video. Pictures in which the decoder conceals
errors are taken, as by the decoders that others evaluate with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import av
import numpy as np
from av.stream import Disposition

from repro.data.video_containers import (
    is_idr,
    read_claimed_bytes,
    read_claimed_frames,
    read_claimed_seconds,
    read_length_size,
)
from repro.errors import ReproError

#: Containers that are opened; anything else (pictures, text, playlists that name further files) is no video here.
_CONTAINERS = "mov,matroska,webm,avi,mpegts,mpeg,ogg,flv,asf"
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
#: Codecs in which each packet gives a frame, so that frames are counted without decoding. In MPEG-4 of AVI files two
#: may share a packet, and another then has none.
_A_FRAME_EACH = {"h264", "vp9", "av1"}
#: Frames' times by which a stream may end before its container says so: of the last, how long it shows is not known.
_SLACK = 2


class UnreadableVideo(ReproError):
    """A video that cannot be decoded as a whole. Training stops; an evaluation counts it and names it."""

    def __init__(self, video_id: str, message: str) -> None:
        super().__init__(message)
        self.video_id = video_id


class Video:
    """A video file, open for reading; a context manager. Its packets are kept in memory, its frames are not.

    Args:
        path: of the file.
        video_id: what messages and `UnreadableVideo` call it.

    Raises:
        UnreadableVideo: the file is gone, empty, cut short, no video, or has no pictures.
    """

    def __init__(self, path: Path, video_id: str) -> None:
        self.path, self.video_id = path, video_id
        try:
            self._container = av.open(f"file:{path}", options=_OPTIONS, metadata_errors="replace")
        except av.error.FFmpegError as error:
            no_video = isinstance(error, av.error.ArgumentError)  # none of _CONTAINERS
            self._unreadable("cannot be read", "it is no video" if no_video else self._reason(error))
        try:
            self._open()
        except BaseException:
            self._container.close()
            raise

    def _open(self) -> None:
        streams = [one for one in self._container.streams.video if not one.disposition & Disposition.attached_pic]
        if not streams:
            self._unreadable("cannot be read", "it has no pictures, at most sound")
        self._stream = streams[0]
        self._decoder = self._stream.codec_context
        if self._decoder is None:
            self._unreadable("cannot be read", "there is no decoder for it")
        self._decoder.thread_count = 1  # several files at once are faster than several threads for one
        try:
            packets = list(self._container.demux(self._stream))
        except av.error.FFmpegError as error:
            self._unreadable("is damaged", self._reason(error))
        # An empty one repeats a picture, or ends the file.
        self._packets = [packet for packet in packets if packet.size]
        self._check_claims(sum(packet.dts is not None for packet in packets))
        self._order = self._stated_order()
        #: How many frames the whole video has.
        self.frames = (
            sum(not packet.is_discard for packet in self._packets)
            if self._decoder.codec.canonical_name in _A_FRAME_EACH
            else sum(1 for _ in self._counted())
        )
        if not self.frames:
            self._unreadable("cannot be read", "it has no frame")

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The frames of these numbers, each once, ascending: (number, uint8 (H, W, 3)), RGB, upright.

        One frame at a time is held in full. Pixels are taken to be square.

        Raises:
            UnreadableVideo: the decoder fails, or ends before the last of them.
        """
        wanted = set(indices)
        found = 0
        for index, frame in self._stated(wanted) if self._order else self._counted():
            if index in wanted:
                found += 1
                yield index, _convert_to_pixels(frame)
            if found == len(wanted):
                return
        self._unreadable("is damaged", f"{found} of {len(wanted)} frames can be decoded")

    def decode(self) -> None:
        """Decode every frame.

        Raises:
            UnreadableVideo: that fails, or the frames are not as many as they should be.
        """
        found = sum(1 for _ in self._counted())
        if found != self.frames:
            self._unreadable("is damaged", f"{found} of {self.frames} frames can be decoded")

    def _counted(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Every frame, numbered as they come out of the decoder."""
        self._decoder.flush_buffers()
        self._decoder.skip_frame = "DEFAULT"
        yield from enumerate(frame for packet in [*self._packets, None] for frame in self._decoded(packet))

    def _stated(self, wanted: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """The frames of these numbers, and others as the decoder needs them, by the time stamps of `_order`."""
        self._decoder.flush_buffers()
        for packet in [*self._packets[self._entry(min(wanted)) :], None]:
            if packet is not None:
                self._decoder.skip_frame = "DEFAULT" if self._order.get(packet.pts) in wanted else "NONREF"
            for frame in self._decoded(packet):
                if frame.pts not in self._order:
                    self._unreadable("is damaged", f"a frame has the time stamp {frame.pts}, which no packet has")
                yield self._order[frame.pts], frame

    def _decoded(self, packet: av.Packet | None) -> Iterator[av.VideoFrame]:
        try:
            frames = self._decoder.decode(packet)
        except av.error.FFmpegError as error:
            self._unreadable("is damaged", self._reason(error))
        for frame in frames:
            if frame.is_corrupt:
                self._unreadable("is damaged", "a frame is corrupt")
            yield frame

    def _stated_order(self) -> dict[int, int]:
        """{time stamp: number} of all frames, where the file states the one and no two are the same; else empty."""
        shown = [packet.pts for packet in self._packets if not packet.is_discard]
        stated = self._decoder.name == "h264" and self._container.format.name.startswith(("mov", "matroska"))
        if not stated or None in shown or len(set(shown)) < len(shown):
            return {}
        return {pts: number for number, pts in enumerate(sorted(shown))}

    def _entry(self, first: int) -> int:
        """The packet to start from to decode frame `first`: an IDR picture that all packets before are shown before."""
        entry, latest, shown, length = 0, -1, 0, read_length_size(self._decoder.extradata)
        for position, packet in enumerate(self._packets):
            if packet.is_discard:  # an edit list begins later
                continue
            number = self._order[packet.pts]
            clean = latest < number == shown  # all packets before it are shown before it, all others after it
            if clean and number <= first and packet.is_keyframe and length and is_idr(bytes(packet), length):
                entry = position
            latest, shown = max(latest, number), shown + 1
        return entry

    def _check_claims(self, pictures: int) -> None:
        """Compare what is there with what the container says there is."""
        packets, claimed = self._packets, read_claimed_frames(self._stream)
        if pictures < claimed:
            self._unreadable("is cut short", f"{pictures} of {claimed} frames are there")
        size, whole = self.path.stat().st_size, read_claimed_bytes(self.path)
        if whole is not None and size < whole:
            self._unreadable("is cut short", f"{size} of {whole} bytes are there")
        if any(packet.is_corrupt for packet in packets):
            self._unreadable("is damaged", "one of its packets is")
        ends = [packet.pts + (packet.duration or 0) for packet in packets if packet.pts is not None]
        seconds = read_claimed_seconds(self._stream)
        if ends and seconds is not None:
            end = float(max(ends) * self._stream.time_base)
            if end * (1 + _SLACK / len(packets)) < seconds:
                self._unreadable("is cut short", f"it ends after {end:.1f} of {seconds:.1f} s")

    def _reason(self, error: av.error.FFmpegError) -> str:
        if self.path.is_file() and not self.path.stat().st_size:
            return "the file is empty"
        return error.strerror

    def _unreadable(self, what: str, why: str) -> NoReturn:
        raise UnreadableVideo(
            self.video_id,
            f"video {self.video_id} {what}: {self.path}: {why}. Download it again, or delete it to have it counted as "
            "missing.",
        )


def _convert_to_pixels(frame: av.VideoFrame) -> np.ndarray:
    pixels = frame.to_ndarray(format="rgb24", threads=1)
    return np.rot90(pixels, round(frame.rotation / 90)) if frame.rotation else pixels  # both counter-clockwise

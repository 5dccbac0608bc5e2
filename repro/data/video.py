"""Exact reading of chosen frames of a video file, whatever its container and wherever its key frames lie.

No seeking is involved. The file's compressed packets are read in order, once, and decoded up to the last frame that is
wanted. H.264 in an MP4 or Matroska file states when each packet is shown; then decoding starts at the last picture
before the first wanted frame that resets the decoder, and pictures to which no other refers are left out unless wanted.
Of other files every picture is decoded, and frames are counted as the decoder returns them, in the order of
presentation: time stamps that are missing, irregular or, as in many AVI files, wrong are not used.

A video is used as a whole or not at all. One with fewer frames than its container claims, or of which the decoder
refuses a part, is an `UnreadableVideo`: the rest would be another video. Pictures in which the decoder conceals errors
are used, as by the decoders with which others evaluate.
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

#: Containers that are opened; anything else (pictures, text, playlists that name further files) is refused.
_CONTAINERS = "mov,matroska,webm,avi,mpegts,mpeg,ogg,flv,asf"
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
#: Codecs in which each packet holds one frame, so that frames are counted without decoding. In MPEG-4 of AVI files two
#: may share a packet, and another packet then has none.
_A_FRAME_EACH = {"h264", "vp9", "av1"}
#: Number of frame durations by which a stream may end early: how long the last frame is shown is not known.
_SLACK = 2


class UnreadableVideo(ReproError):
    """A video that cannot be decoded as a whole. Training stops; an evaluation counts it and names it."""

    def __init__(self, video_id: str, message: str) -> None:
        super().__init__(message)
        self.video_id = video_id


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
        try:
            self._container = av.open(f"file:{path}", options=_OPTIONS, metadata_errors="replace")
        except av.error.FFmpegError as error:
            no_video = isinstance(error, av.error.ArgumentError)  # none of _CONTAINERS
            self._refuse("cannot be read", "it is no video" if no_video else self._explain(error))
        try:
            self._open()
        except BaseException:
            self._container.close()
            raise

    def _open(self) -> None:
        streams = [
            stream for stream in self._container.streams.video if not stream.disposition & Disposition.attached_pic
        ]
        if not streams:
            self._refuse("cannot be read", "it has no pictures, at most sound")
        self._stream = streams[0]
        self._decoder = self._stream.codec_context
        if self._decoder is None:
            self._refuse("cannot be read", "there is no decoder for it")
        self._decoder.thread_count = 1  # several files at once are faster than several threads for one
        try:
            packets = list(self._container.demux(self._stream))
        except av.error.FFmpegError as error:
            self._refuse("is damaged", self._explain(error))
        # An empty one repeats a picture, or ends the file.
        self._packets = [packet for packet in packets if packet.size]
        self._check_claims(sum(packet.dts is not None for packet in packets))
        self._order = self._read_stated_order()
        #: Number of frames of the whole video.
        self.frames = (
            sum(not packet.is_discard for packet in self._packets)
            if self._decoder.codec.canonical_name in _A_FRAME_EACH
            else sum(1 for _ in self._decode_counted())
        )
        if not self.frames:
            self._refuse("cannot be read", "it has no frame")

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Read the frames of these numbers, each once, ascending: (number, uint8 (H, W, 3)), RGB, upright.

        Only one frame at a time is in memory. Pixels are taken to be square.

        Raises:
            UnreadableVideo: the decoder fails, or ends before the last of them.
        """
        wanted = set(indices)
        decoded = 0
        for index, frame in self._decode_stated(wanted) if self._order else self._decode_counted():
            if index in wanted:
                decoded += 1
                yield index, _convert_to_pixels(frame)
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
        self._decoder.flush_buffers()
        self._decoder.skip_frame = "DEFAULT"
        yield from enumerate(frame for packet in [*self._packets, None] for frame in self._decode_packet(packet))

    def _decode_stated(self, wanted: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode the frames of these numbers, and others that the decoder needs, by the time stamps of `_order`."""
        self._decoder.flush_buffers()
        for packet in [*self._packets[self._find_entry(min(wanted)) :], None]:
            if packet is not None:
                number = None if packet.pts is None else self._order.get(packet.pts)
                self._decoder.skip_frame = "DEFAULT" if number in wanted else "NONREF"
            for frame in self._decode_packet(packet):
                if frame.pts is None or frame.pts not in self._order:
                    self._refuse("is damaged", f"a frame has the time stamp {frame.pts}, which no packet has")
                yield self._order[frame.pts], frame

    def _decode_packet(self, packet: av.Packet | None) -> Iterator[av.VideoFrame]:
        try:
            frames = self._decoder.decode(packet)
        except av.error.FFmpegError as error:
            self._refuse("is damaged", self._explain(error))
        for frame in frames:
            if frame.is_corrupt:
                self._refuse("is damaged", "a frame is corrupt")
            yield frame

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

    def _check_claims(self, pictures: int) -> None:
        """Check that everything is there that the container claims."""
        packets, claimed = self._packets, read_claimed_frames(self._stream)
        if pictures < claimed:
            self._refuse("is cut short", f"{pictures} of {claimed} frames are there")
        size, whole = self.path.stat().st_size, read_claimed_bytes(self.path)
        if whole is not None and size < whole:
            self._refuse("is cut short", f"{size} of {whole} bytes are there")
        if any(packet.is_corrupt for packet in packets):
            self._refuse("is damaged", "one of its packets is")
        ends = [packet.pts + (packet.duration or 0) for packet in packets if packet.pts is not None]
        seconds = read_claimed_seconds(self._stream)
        if ends and seconds is not None and self._stream.time_base is not None:
            end = float(max(ends) * self._stream.time_base)
            if end * (1 + _SLACK / len(packets)) < seconds:
                self._refuse("is cut short", f"it ends after {end:.1f} of {seconds:.1f} s")

    def _explain(self, error: av.error.FFmpegError) -> str:
        if self.path.is_file() and not self.path.stat().st_size:
            return "the file is empty"
        return error.strerror or str(error)

    def _refuse(self, what: str, why: str) -> NoReturn:
        raise UnreadableVideo(
            self.video_id,
            f"video {self.video_id} {what}: {self.path}: {why}. Download it again, or delete it to have it counted as "
            "missing.",
        )


def _convert_to_pixels(frame: av.VideoFrame) -> np.ndarray:
    pixels = frame.to_ndarray(format="rgb24", threads=1)
    return np.rot90(pixels, round(frame.rotation / 90)) if frame.rotation else pixels  # both counter-clockwise

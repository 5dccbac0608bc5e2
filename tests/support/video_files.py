"""Small video files for tests, each frame of which shows its number."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT = 96, 64
_BITS = 8


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """uint8 (height, width, 3): the bits of `number` as dark and bright bars in the upper half, noise in the lower."""
    image = np.random.default_rng(number).integers(64, 192, (height, width, 3)).astype(np.uint8)
    image = np.repeat(np.repeat(image[::8, ::8], 8, axis=0), 8, axis=1)[:height, :width]
    for bit in range(_BITS):
        image[: height // 2, bit * width // _BITS : (bit + 1) * width // _BITS] = 255 * (number >> bit & 1)
    return image


def number(image: np.ndarray) -> int:
    """The number that an upright (height, width, 3) picture shows."""
    height, width = image.shape[:2]
    middles = [(2 * bit + 1) * width // (2 * _BITS) for bit in range(_BITS)]
    return sum((image[height // 4, x].mean() > 128) << bit for bit, x in enumerate(middles))


def write(
    path: Path,
    codec: str = "libx264",
    frames: int = 40,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    pixels: str = "yuv420p",
    times: Iterable[int] | None = None,
    sound: bool = False,
    container: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """A file of numbered frames; `size` is (width, height), `times` are the frames' in hundredths of a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = list(range(0, 4 * frames, 4) if times is None else map(int, times))
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=25, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.codec_context.time_base = Fraction(1, 100 if len(set(np.diff(times))) > 1 else 25)
        stream.codec_context.thread_count = 1
        audio = file.add_stream("aac" if path.suffix == ".mp4" else "libmp3lame", rate=48000) if sound else None
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(i % 256, *size), format="rgb24")
            frame.time_base = Fraction(1, 100)
            frame.pts = time
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if audio is not None:
            write_sound(file, audio, seconds=frames / 25)
    return path


def write_sound(file: av.container.OutputContainer, stream: av.AudioStream, seconds: float = 1.0) -> None:
    for i in range(round(seconds * 48000 / 1024)):
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 48000, 1024 * i
        file.mux(stream.encode(frame))
    file.mux(stream.encode(None))


def set_matrix(path: Path, a: float, b: float, c: float, d: float, box: bytes = b"tkhd") -> None:
    """Write into an MP4 file how it is to be shown: a step to the right leads to (a, b), one down to (c, d)."""
    content = bytearray(path.read_bytes())
    # Version and flags; five numbers; reserved, layer, group, volume. Of `mvhd` four numbers; rate, volume, reserved
    # (ISO 14496-12).
    start = content.index(box) + 4 + 4 + {b"tkhd": 20 + 16, b"mvhd": 16 + 16}[box]
    one = 1 << 16
    values = *(round(value * one) for value in (a, b)), 0, *(round(value * one) for value in (c, d)), 0, 0, 0, 1 << 30
    content[start : start + 36] = struct.pack(">9i", *values)
    path.write_bytes(content)


def set_clean_aperture(path: Path, *aperture: int) -> None:
    """Write into an MP4 file whose index is at its end which part is to be shown.

    Eight numbers, fractions of pixels: width, height, how far to the right and down of the middle (ISO 14496-12).
    """
    content = bytearray(path.read_bytes())
    box = struct.pack(">I4s8i", 40, b"clap", *aperture)
    sizes = [content.index(name) - 4 for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")]
    sizes.append(sizes[-1] + 16)
    end = sizes[-1] + int.from_bytes(content[sizes[-1] : sizes[-1] + 4], "big")
    for place in sizes:
        content[place : place + 4] = (int.from_bytes(content[place : place + 4], "big") + len(box)).to_bytes(4, "big")
    content[end:end] = box
    path.write_bytes(content)


def all_frames(path: Path) -> list[np.ndarray]:
    """Every frame as the decoder gives it, in RGB."""
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]

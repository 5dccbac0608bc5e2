"""Damaged video files by number, the same ones every time; and the process that reads them, which a decoder may end.

Run as a program with a directory, a container and two numbers, it reads the files of these numbers and prints a line
for each, before and after.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import av
import numpy as np
import video_files as files

from repro.data.video import UnreadableVideo, Video
from repro.errors import ReproError

#: Containers, and how the files are written that are damaged.
CONTAINERS: dict[str, dict[str, dict]] = {
    "mp4": {
        "plain.mp4": {"bf": "2", "g": "8", "sound": True},
        "faststart.mov": {"bf": "2", "g": "8", "container": {"movflags": "faststart"}},
        "fragments.mp4": {"g": "8", "container": {"movflags": "frag_keyframe+empty_moov"}},
        "late.mp4": {"bf": "2", "g": "8", "container": {"movflags": "frag_keyframe+delay_moov"}},
        "mpeg4.mp4": {"codec": "mpeg4", "g": "8"},
    },
    "matroska": {
        "plain.mkv": {"bf": "2", "g": "8", "sound": True},
        "cues-first.mkv": {"g": "8", "container": {"reserve_index_space": "200"}},
        "vp8.webm": {"codec": "libvpx"},
        "mpeg4.mkv": {"codec": "mpeg4", "bf": "2", "g": "8"},
    },
    "avi": {
        "mpeg4.avi": {"codec": "mpeg4", "bf": "2", "g": "8", "sound": True},
        "variable.avi": {"codec": "mpeg4", "times": range(0, 200, 11)},
        "h264.avi": {"bf": "2", "g": "8"},
        "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    },
}
#: Names of boxes, chunks and tags; ids of Matroska's elements that hold others or state numbers.
_BOXES = re.compile(rb"[a-z][a-z0-9]{2}[a-zA-Z0-9 ]|avc1|mp4v|avcC")
_CHUNKS = re.compile(rb"LIST|RIFF|idx1|avih|strh|strf|indx|movi|JUNK|hdrl|strl|0[01](?:dc|wb|db)|vprp")
_ELEMENTS = re.compile(
    rb"\x1a\x45\xdf\xa3|\x18\x53\x80\x67|\x15\x49\xa9\x66|\x16\x54\xae\x6b|\x1f\x43\xb6\x75|\x1c\x53\xbb\x6b|"
    rb"\x11\x4d\x9b\x74|\x12\x54\xc3\x67|\xa3|\xa0|\xa1|\xae|\xe0|\xb0|\xba|\xe7|\x44\x89|\x2a\xd7\xb1|\x63\xa2|\x86|\xd7"
)
_NAMES = {"mp4": _BOXES, "matroska": _ELEMENTS, "avi": _CHUNKS}
_EDGES = [
    0, 1, 2, 7, 8, 9, 15, 16, 17, 127, 128, 255, 256, 4091, 4092, 4093, 65535, 65536, 2**24, 2**31 - 1, 2**31,
    2**32 - 1, 2**32, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1,
]  # fmt: skip


def write_sources(directory: Path, container: str) -> list[Path]:
    """Write the files of this container, of the same bytes every time: without the ids that a writer draws."""
    paths = []
    for name, how in CONTAINERS[container].items():
        options = {"frames": 18, "size": (48, 32), **how}
        options["container"] = {"fflags": "+bitexact", **how.get("container", {})}
        paths.append(files.write(directory / name, **options))
    return paths


def make_damaged(container: str, whole: bytes, number: int) -> bytes:
    """Damage a file once to three times: its numbers, names and lengths, or bytes anywhere."""
    generator = np.random.default_rng([number, len(whole)])
    content = bytearray(whole)
    for _ in range(generator.integers(1, 4)):
        places = [match.start() for match in _NAMES[container].finditer(content)]
        place = int(generator.choice(places)) if places else 0
        kind = generator.integers(9)
        if kind <= 2:  # a number near a name, of any width
            width = int(generator.choice([1, 2, 4, 8]))
            start = max(0, place + int(generator.integers(-8, 48)))
            value = (
                _EDGES[generator.integers(len(_EDGES))] if generator.random() < 0.7 else int(generator.integers(2**62))
            )
            order = "little" if container == "avi" else "big"
            content[start : start + width] = (value % 2 ** (8 * width)).to_bytes(width, order)
        elif kind == 3 and container == "matroska":  # a length of an element, of any number of bytes
            length = _EDGES[generator.integers(len(_EDGES))] % 2**56
            content[place + 1 : place + 1 + int(generator.integers(1, 9))] = (1 << 56 | length).to_bytes(8, "big")
        elif kind == 3 and container == "mp4":  # a length of 64 bits
            content[place - 4 : place + 4] = b"\0\0\0\1" + content[place : place + 4]
            content[place + 4 : place + 4] = _EDGES[generator.integers(len(_EDGES))].to_bytes(8, "big")
        elif kind == 4:  # another name
            other = int(generator.choice(places)) if places else 0
            content[place : place + 4] = content[other : other + 4]
        elif kind == 5:  # a part left out, or again
            end = place + int(generator.integers(1, 200))
            part = b"" if generator.random() < 0.5 else content[place:end] * 2
            content[place:end] = part
        elif kind == 6:
            del content[int(generator.integers(len(content))) :]
        else:  # bytes anywhere
            start, count = int(generator.integers(len(content))), int(generator.integers(1, 40))
            content[start : start + count] = generator.bytes(len(content[start : start + count]))
        if len(content) < 16:
            break
    return bytes(content)


def find_difference(path: Path, numbers: list[int], read: list[np.ndarray]) -> str | None:
    """How `read` differs from the frames of these numbers, by a decoder that decodes all in one pass; None: not.

    That one fails where a picture itself is damaged: what is put in its place depends on the pictures decoded before.
    Where the file states when each packet is shown, frames have the numbers of their packets: one that the decoder
    drops, since what it refers to is missing, still counts.
    """
    with av.open(str(path), metadata_errors="replace") as file:
        stream = next(stream for stream in file.streams.video)
        stated = stream.codec_context.name == "h264" and file.format.name.startswith(("mov", "matroska"))
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
        frames, packets = [], []
        for packet in file.demux(stream):
            packets += [packet.pts] if packet.size and not packet.is_discard else []
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise av.error.InvalidDataError(0, "concealed")
                frames.append((frame.pts, frame.to_ndarray(format="rgb24")))
    if stated and None not in packets and len(set(packets)) == len(packets):
        decoded = {frame[0]: frame for frame in frames}
        frames = [decoded.get(time) for time in sorted(packets)]
        if any(frames[n] is None for n in numbers):
            return f"frames {[n for n in numbers if frames[n] is None]} cannot be decoded"
    if max(numbers, default=-1) >= len(frames):
        return f"{len(frames)} frames, frame {max(numbers)} was read"
    wrong = [n for n, pixels in zip(numbers, read, strict=True) if not is_shown(pixels, frames[n][1])]
    return f"frames {wrong} of {len(frames)}" if wrong else None


def is_shown(shown: np.ndarray, stored: np.ndarray) -> bool:
    """Whether a picture is a stored one, turned and mirrored or not: `test_display_matrix.py` has which is right."""
    turned = [np.rot90(stored, quarter) for quarter in range(4)]
    return any(np.array_equal(shown, picture) for picture in [*turned, *(picture[:, ::-1] for picture in turned)])


def read_damaged(path: Path, number: int) -> str:
    """What becomes of a file: "named", "read", or what is wrong."""
    try:
        with Video(path, "x") as video:
            chosen = range(number % 5, video.frames, 1 + number % 4) if number % 2 else [video.frames // 2]
            numbers, read = [], []
            for index, pixels in video.read(list(chosen)):
                numbers.append(index)
                read.append(pixels)
    except UnreadableVideo as error:
        return "named" if str(path) in str(error) else f"not named: {error}"
    except ReproError as error:
        return f"another error: {error}"
    except Exception as error:
        return f"traceback: {error!r}"
    try:
        return f"difference: {different}" if (different := find_difference(path, numbers, read)) else "read"
    except av.error.FFmpegError:
        return "read"


def measure_peak() -> int:
    """MiB that this process has had at most (Linux); the usage that the system counts begins with the parent's."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) >> 10


def main(directory: Path, container: str, first: int, last: int) -> None:
    av.logging.set_level(av.logging.PANIC)
    sources = sorted(path for path in directory.iterdir() if path.name in CONTAINERS[container])
    wholes = [path.read_bytes() for path in sources]
    for number in range(first, last):
        which = number % len(sources)
        path = directory / f"damaged-{sources[which].name}"
        path.write_bytes(make_damaged(container, wholes[which], number))
        print(number, flush=True)
        begun = time.monotonic()
        outcome = read_damaged(path, number).replace("\n", " ")
        print(number, f"{time.monotonic() - begun:.2f}", measure_peak(), outcome, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

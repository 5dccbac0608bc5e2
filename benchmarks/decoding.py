"""Frames a second and core that a video classifier needs, out of video files: this project's reader and others.

    python benchmarks/decoding.py DIRECTORY [ROUNDS]

DIRECTORY holds video files. Peers are measured if they can be imported (`pip install torchcodec decord`; torchcodec
needs FFmpeg's shared libraries on the machine). One thread; processor time, since other work may run on the machine;
all readers take turns with every file, so that a slow spell of the machine meets them alike. Ratios are taken within a
round; the median is given (lowest, highest round). Memory is that of a process of its own for each reader (Linux).
"""

from __future__ import annotations

import hashlib
import importlib
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import torch

from repro.data.clips import ClipAugmentation, choose_clip_starts, list_clip_frames, read_evaluation_clips
from repro.data.video import Video
from repro.engine.memory import measure_peak_memory, reset_peak_memory
from repro.experiments.preprocessing import CLIPS_TRAINED_HERE

#: RGB frames of these numbers, ascending.
Reader = Callable[[Path, list[int]], "np.ndarray | list[np.ndarray]"]
TRAINING_CLIPS = 4  #: of each video
#: Ten clips of one frame in eight, from the first frame to the last.
VIEWS = replace(CLIPS_TRAINED_HERE, clip_starts="ends", clip_frames="stride")


def ours(path: Path, indices: list[int]) -> list[np.ndarray]:
    with Video(path, path.name) as video:
        return [pixels for _, pixels in video.read(indices)]


def pyav(path: Path, indices: list[int] | None = None) -> list[np.ndarray]:
    """Every frame decoded, those wanted converted (None: all)."""
    found = []
    with av.open(str(path)) as file:
        file.streams.video[0].codec_context.thread_count = 1
        for index, frame in enumerate(file.decode(video=0)):
            if indices is None or index in indices:
                found.append(frame.to_ndarray(format="rgb24", threads=1))
            if indices is not None and index == indices[-1]:
                break
    return found


def torchcodec(path: Path, indices: list[int], seek_mode: str = "exact") -> np.ndarray:
    decoders = importlib.import_module("torchcodec.decoders")
    decoder = decoders.VideoDecoder(
        str(path), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode=seek_mode, device="cpu"
    )
    return decoder.get_frames_at(indices).data.numpy()


def torchcodec_approximate(path: Path, indices: list[int]) -> np.ndarray:
    return torchcodec(path, indices, "approximate")


def decord(path: Path, indices: list[int]) -> np.ndarray:
    module = importlib.import_module("decord")
    return module.VideoReader(str(path), num_threads=1).get_batch(indices).asnumpy()


#: What each is, and the module that it needs.
READERS: dict[str, tuple[Reader, str, str]] = {
    "ours": (ours, "this project: PyAV, frames that nothing refers to left out", "av"),
    "pyav": (pyav, "PyAV, every frame", "av"),
    "torchcodec": (torchcodec, "torchcodec, seek_mode exact", "torchcodec.decoders"),
    "torchcodec_approximate": (torchcodec_approximate, "torchcodec, seek_mode approximate", "torchcodec.decoders"),
    "decord": (decord, "decord", "decord"),
}


def wanted(frames: int) -> dict[str, list[list[int]]]:
    """Numbers of the frames for the 30 views, and for some training clips."""
    views = list_clip_frames(choose_clip_starts(frames, VIEWS), frames, VIEWS.frames, VIEWS.stride)
    augmentation, generator = ClipAugmentation(), np.random.default_rng(0)
    span = augmentation.frames * augmentation.stride
    starts = generator.integers(max(frames - span, 0) + 1, size=TRAINING_CLIPS)
    clips = list_clip_frames(starts, frames, augmentation.frames, augmentation.stride)
    return {"30 views": [sorted(set(views.ravel().tolist()))], "training": [sorted(set(one)) for one in clips.tolist()]}


def main(root: Path, rounds: int) -> None:
    torch.set_num_threads(1)
    paths = sorted(path for path in root.iterdir() if path.is_file())
    readers = {name: row for name, row in READERS.items() if _runs(name, row, paths[0])}
    everything = {path: pyav(path) for path in paths}
    choices = {path: wanted(len(frames)) for path, frames in everything.items()}

    names = list(readers)
    print(f"| file | for | ours: frames/s | {' | '.join(f'{name}: of ours' for name in names[1:])} |")
    print(f"|:---|:---|{'---:|' * len(names)}")
    for kind in ("30 views", "training"):
        rates = _rates(readers, choices, kind, rounds)
        for file, path in enumerate(paths):
            own = rates["ours"][:, file]
            ratios = (rates[name][:, file] / own for name in names[1:])
            cells = (f"{np.median(one):.2f} ({one.min():.2f}, {one.max():.2f})" for one in ratios)
            print(f"| {path.name} | {kind} | {np.median(own):.0f} | {' | '.join(cells)} |")
        own = rates["ours"]
        means = (np.median(np.exp(np.log(rates[name] / own).mean(axis=1))) for name in names[1:])
        print(f"| geometric mean | {kind} | | {' | '.join(f'{one:.2f}' for one in means)} |")

    print("\n| reader | | wrong frames |\n|:---|:---|:---|")
    for name, (read, what, _) in readers.items():
        print(f"| {name} | {what} | {_wrong(read, everything, choices)} |")

    largest = max(paths, key=lambda path: everything[path][0].size)
    longest = max(paths, key=lambda path: len(everything[path]))
    print(f"\n| reader | {largest.name}: peak MiB | {longest.name}: peak MiB |\n|:---|---:|---:|")
    for name in readers:
        peaks = [_peak(_read, name, path, choices[path]["30 views"][0]) for path in (largest, longest)]
        print(f"| {name} | {peaks[0]:.0f} | {peaks[1]:.0f} |")

    print("\n| file | size | frames | needed | 30 views: s | needed frames/s | peak MiB | sha256 of the views |")
    print("|:---|---:|---:|---:|---:|---:|---:|:---|")
    for path in paths:
        height, width = everything[path][0].shape[:2]
        seconds, digests = [], set()
        for _ in range(max(rounds, 2)):
            begin = time.process_time()
            views = _views(path)
            seconds.append(time.process_time() - begin)
            digests.add(hashlib.sha256(views.numpy()).hexdigest()[:12])
        median, needed = statistics.median(seconds), len(choices[path]["30 views"][0])
        print(
            f"| {path.name} | {width} x {height} | {len(everything[path])} | {needed} | {median:.3f} | "
            f"{needed / median:.0f} | {_peak(_views, path):.0f} | {', '.join(sorted(digests))} |"
        )


def _runs(name: str, row: tuple[Reader, str, str], path: Path) -> bool:
    try:
        importlib.import_module(row[2])
        row[0](path, [0])
    except (ImportError, OSError, RuntimeError) as error:
        print(f"{name} is left out: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        return False
    return True


def _rates(readers: dict, choices: dict, kind: str, rounds: int) -> dict[str, np.ndarray]:
    """Of each reader (rounds, files): frames a second."""
    rates = {name: np.zeros((rounds, len(choices))) for name in readers}
    for number in range(rounds):
        for file, (path, chosen) in enumerate(choices.items()):
            for name, (read, *_) in readers.items():
                begin = time.process_time()
                for indices in chosen[kind]:
                    read(path, indices)
                rates[name][number, file] = sum(map(len, chosen[kind])) / (time.process_time() - begin)
    return rates


def _wrong(read: Reader, everything: dict, choices: dict) -> str:
    """Frames of the 30 views that look most like another one nearby; and how far the pixels of the others are off."""
    wrong, total, differences = {}, 0, []
    for path, full in everything.items():
        (indices,) = choices[path]["30 views"]
        found = read(path, indices)
        for index, frame in zip(indices, found, strict=True):
            nearby = range(max(index - 3, 0), min(index + 4, len(full)))
            distance = {other: np.abs(full[other].astype(np.int16) - frame).mean() for other in nearby}
            total += 1
            if min(distance, key=lambda other: (distance[other], other != index)) != index:
                wrong[path.name] = wrong.get(path.name, 0) + 1
            else:
                differences.append(distance[index])
    named = ", ".join(f"{n} in {name}" for name, n in wrong.items())
    return (
        f"{sum(wrong.values())} of {total}{f' ({named})' if named else ''}; pixels differ by {np.mean(differences):.3f}"
    )


def _read(name: str, path: Path, indices: list[int]) -> object:
    return READERS[name][0](path, indices)


def _views(path: Path) -> torch.Tensor:
    with Video(path, path.name) as video:
        return read_evaluation_clips(video, VIEWS)


def _peak(run: Callable, *arguments: object) -> float:
    """MiB that a process needs beyond what it has once everything is imported and one frame was read."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_grown, (run, arguments))


def _grown(run: Callable, arguments: tuple) -> float:
    torch.set_num_threads(1)
    path = next(one for one in arguments if isinstance(one, Path))
    if run is _read:
        _read(arguments[0], path, [0])
    else:
        ours(path, [0])
    cpu = torch.device("cpu")
    reset_peak_memory()
    begin = measure_peak_memory(cpu)
    kept = run(*arguments)
    grown = (measure_peak_memory(cpu) - begin) / 2**20
    del kept
    return grown


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 7)

"""JPEG files to batches for a training on ImageNet."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gpu_sections.evaluation import Photographs
from gpu_sections.run import BenchmarkRun, Calls
from repro.data import gpu_decoding
from repro.data.imagenet import ImageNet
from repro.data.synsets import WNIDS


def measure_decoding(run: BenchmarkRun) -> None:
    """JPEG files of 500 x 375 to training batches: read by the processor, and by nvJPEG (`--decode-on gpu`)."""
    count, size = (8, (48, 64)) if run.small else (256, (375, 500))
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory, "train", WNIDS[0])
        place.mkdir(parents=True)
        for number, file in enumerate(Photographs(count, size, size).files):
            (place / f"{number}.JPEG").write_bytes(file)
        images = ImageNet(Path(directory), "train")
        encoded = gpu_decoding.EncodedImages(images)
        run.say(f"{gpu_decoding.compare_with_processor(encoded, run.device)}\n")
        batch = gpu_decoding.collate_encoded([encoded.sample(k) for k in range(count)])
        files = list(batch.files.split(batch.lengths))
        calls: Calls = {
            "one core: read, decoded, resized, colours": lambda: [images.sample(k, train=True) for k in range(count)],
            "one core: read, header and draws": lambda: [encoded.sample(k) for k in range(count)],
            "device: decoded": lambda: gpu_decoding.decode_files(files, run.device),
            "device: decoded, resized, colours": lambda: batch.to(run.device),
        }
        medians = run.compare(calls, seconds=20, repeats=10)
    run.say("| what | ms a batch | images/s |")
    run.say("| :--- | ---: | ---: |")
    for name, took in medians.items():
        run.say(f"| {name} | {1e3 * took:.1f} | {count / took:.0f} |")
    run.note("decoding", medians)

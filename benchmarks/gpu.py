"""What context blocks and the divergence cost on a GPU: before and after, side by side in one run.

    python benchmarks/gpu.py [--minutes 8] [--only SECTION ...] [--output DIRECTORY]

Images, boxes and weights are random with a fixed seed. Every number is a median; the variants of a comparison take
turns, after two calls each that do not count. A section that fails says so and the next one begins; one for which no
time is left is left out. `--output` gets what is printed, gpu.txt, and the numbers, gpu.json, as they come.

It is not called cuda.py, which would hide NVIDIA's package `cuda` from PyTorch: Python looks in the directory of a
script first.

`--device cpu --small` executes everything on tiny shapes, without a GPU, to see that it runs; with
TRITON_INTERPRET=1 in the environment the kernels, too.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from gpu_sections.blocks import measure_agreement, measure_block, tune
from gpu_sections.classifiers import (
    measure_compilation,
    measure_graphs,
    measure_imagenet,
    measure_kinetics,
    profile_step,
)
from gpu_sections.decoding import measure_decoding
from gpu_sections.detectors import measure_detection
from gpu_sections.divergence import measure_divergence
from gpu_sections.evaluation import measure_evaluation
from gpu_sections.run import BenchmarkRun

from repro import kernels
from repro.engine.arithmetic import choose_tf32

SECTIONS: dict[str, Callable[[BenchmarkRun], None]] = {
    "agreement": measure_agreement,
    "tune": tune,
    "imagenet": measure_imagenet,
    "graphs": measure_graphs,
    "divergence": measure_divergence,
    "evaluation": measure_evaluation,
    "decoding": measure_decoding,
    "detection": measure_detection,
    "block": measure_block,
    "kinetics": measure_kinetics,
    "profile": profile_step,
    "compile": measure_compilation,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="after which no section begins (default: 8)")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION",
                        help=f"of {', '.join(SECTIONS)}")  # fmt: skip
    parser.add_argument("--output", type=Path, help="directory of gpu.txt and gpu.json")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny shapes, each once")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("there is no CUDA device here: these numbers are of one (--device cpu --small only tries the program)")
        return 2
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    run = BenchmarkRun(torch.device(options.device), options.small, begin + 60 * options.minutes, options.output)
    if run.device.type == "cuda":
        run.device = torch.device("cuda", torch.cuda.current_device())
    choose_tf32("32-true")
    name = torch.cuda.get_device_name() if run.device.type == "cuda" else "CPU"
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    run.say(f"{name}, {versions}, Triton usable: {kernels.can_run_on(run.device)}")
    run.note("device", f"{name}, {versions}")
    for section in options.only:
        if run.left < 15:
            run.say(f"\n## {section}: no time left")
            continue
        run.say(f"\n## {section}: {SECTIONS[section].__doc__}\n")
        started = time.monotonic()
        try:
            SECTIONS[section](run)
        except Exception:
            run.say(traceback.format_exc())
        run.empty_cache()
        run.note(f"seconds/{section}", time.monotonic() - started)
        run.say(f"({time.monotonic() - started:.0f} s)")
    run.note("seconds", time.monotonic() - begin)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Table 4's two stages small enough for a test: narrow networks, a few iterations, a tiny data set in its layout.

    python imagenet_measurements.py NAME DATA RESULTS

measures one experiment so in a process that can be killed; it prints a line and waits a moment after every step.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import imagenet_trees as trees

from repro import experiments
from repro.data.synsets import WNIDS
from repro.settings import Settings

BACKBONE = {"blocks": (1, 1, 2, 1), "width": 8}
CLASSES = (3, 250, 251, 500, 999)  #: labels of the tiny data set
TRAINING_IMAGES, VALIDATION_IMAGES = 22, 9  #: 22 in batches of 8: three iterations an epoch, the last one filled up
STAGE2 = tuple(name for name in experiments.EXPERIMENTS if name.startswith("imagenet-") and name[-6:] != "stage1")


def small(name: str) -> experiments.Experiment:
    """The full profile's experiment with a narrow network, in batches of 8: 12 iterations of stage 1, 6 of stage 2."""
    experiment = experiments.EXPERIMENTS[name]
    network, first = experiment.network, experiment.recipe.initial_weights == "random"
    length = {"epochs": 4, "warmup_epochs": 1, "learning_rate": 0.05} if first else {"epochs": 2}
    return replace(
        experiment,
        network=replace(network, backbone=replace(network.backbone, **BACKBONE)),
        recipe=replace(experiment.recipe, batch_size=8, **length),
    )


def all_small() -> dict[str, experiments.Experiment]:
    return {name: small(name) for name in ("imagenet-r50-stage1", *STAGE2)}


def write_data(root: Path) -> Path:
    """JPEG files of random colours in directories of five of the 1000 classes."""
    for split, count, first in (("train", TRAINING_IMAGES, 100), ("val", VALIDATION_IMAGES, 900)):
        files = {}
        for number in range(count):
            wnid = WNIDS[CLASSES[number % len(CLASSES)]]
            files[f"{split}/{wnid}/{wnid}_{number}.JPEG"] = trees.photograph(first + number)
        trees.write(root, files)
    return root


def settings(data: Path, results: Path) -> Settings:
    """Passes of two images, as a GPU's 64 of 512 in small; states after every second iteration."""
    return Settings(results, "full", data_root=data, micro_batch=2, save_every=2)


def main(name: str, data: str, results: str) -> None:
    from repro.measuring.measure import measure
    from repro.planning.work_order import order_work

    experiments.EXPERIMENTS.update(all_small())

    def step(stage: str, done: int, total: int, at: object = None) -> None:
        print(stage, done, flush=True)
        time.sleep(0.02)

    order = order_work(name, settings(Path(data), Path(results)))
    measure(order, command="repro run", progress=step)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""How much of its attention a fresh GC block of a mini detector gives to the light: many draws of its weights.

    python benchmarks/fresh_attention.py RESULTS [--experiment coco-r50-1gc] [--seeds 8]

RESULTS holds `runs/` with the shared detectors of the seeds, as `repro reproduce --table 2 --profile mini` leaves them.
For each seed and each block of the experiment: the norm of a position's features (mean), the standard deviation over
positions of the logits, quantiles of the attention on lit columns (whose share of an image is 0.30), how often it is
below 0.1, and that of the weights with which the run of that seed begins. All of it is of what the block sees in its
first training step: 64 training images in batches of 4, normalised by their own statistics.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from repro.data.miniature.scenes import Scene, draw_detection_scene
from repro.errors import ReproError
from repro.experiments import mini
from repro.experiments.conventions import AUTHORS
from repro.models.context import GlobalContextBlock
from repro.planning.keys import pretraining_directory
from repro.settings import Settings
from repro.tasks.detection import Detection

_SCENES, _BATCH, _DRAWS = 64, 4, 400
_QUANTILES = (0.01, 0.05, 0.25, 0.5)


def compute_features(model: nn.Module, block: nn.Module, scenes: list[Scene]) -> Tensor:
    """What the block sees of the images in training: (B, C, H, W)."""
    images = torch.stack([torch.tensor(scene.image).permute(2, 0, 1) for scene in scenes]).float()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (AUTHORS.mean, AUTHORS.std))
    seen: list[Tensor] = []
    model.train()
    with block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone())), torch.no_grad():
        for batch in ((images - mean) / std).split(_BATCH):
            model.get_submodule("backbone")(batch)
    return torch.cat(seen)


def measure_attention(weight: Tensor, features: Tensor, scenes: list[Scene]) -> tuple[float, float]:
    """Measure what these weights of attention, (1, C, 1, 1), do at first.

    Returns:
        the share of attention on lit columns, mean over the images, and the standard deviation of the logits.
    """
    lit = torch.zeros(len(scenes), 1, mini.coco.SCENES.width)
    for row, scene in zip(lit, scenes, strict=True):
        row[0, scene.lit[0] : scene.lit[1] + 1] = 1
    columns = functional.adaptive_avg_pool1d(lit, features.shape[-1])[:, 0]
    logits = functional.conv2d(features, weight).flatten(1)
    attention = logits.softmax(1).view(len(scenes), *features.shape[-2:])
    return float((attention.sum(1) * columns).sum(1).mean()), float(logits.std(1).mean())


def draw_weights(like: Tensor) -> Iterator[Tensor]:
    """Draw weights as the block draws its own."""
    for seed in range(_DRAWS):
        weight = torch.empty_like(like)
        nn.init.kaiming_normal_(weight, generator=torch.Generator().manual_seed(seed))
        yield weight


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--experiment", default="coco-r50-1gc")
    parser.add_argument("--seeds", type=int, default=8)
    arguments = parser.parse_args()
    try:
        experiment = mini.get_at_profile(arguments.experiment, "mini")
    except ReproError as error:
        parser.error(str(error))
    inserted = experiment.network.backbone.context
    if experiment.dataset != "coco" or not inserted or getattr(inserted.block, "pooling", None) != "att":
        parser.error(f"{experiment.name} is no detector whose blocks have one map of attention for all positions")
    pretrainings = mini.list_pretrainings(experiment)
    scenes = [draw_detection_scene(mini.coco.SCENES, "train2017", index) for index in range(_SCENES)]
    quantiles = " | ".join(f"{100 * q:g} %" for q in _QUANTILES)
    print(f"| seed | block | norm | sd of logits | {quantiles} | below 0.1 | own |\n|---:|:---|{'---:|' * 8}")
    for seed in range(arguments.seeds):
        settings = Settings(arguments.results, "mini", seed=seed)
        task = Detection(experiment, settings)
        torch.manual_seed(seed)  # as a training begins
        model = task.build_network()
        blocks = {name: block for name, block in model.named_modules() if isinstance(block, GlobalContextBlock)}
        weights = pretraining_directory(experiment, pretrainings, settings) / "weights.pt"
        if not weights.exists():
            parser.error(f"seed {seed}: no shared detector in {weights.parent}")
        task.start_from(model, torch.load(weights, weights_only=True), experiment)
        for name, block in blocks.items():
            features = compute_features(model, block, scenes)
            own = block.conv_mask.weight.detach()
            drawn = torch.tensor([measure_attention(weight, features, scenes) for weight in draw_weights(own)])
            shares, deviation = drawn[:, 0], drawn[:, 1].mean()
            found = " | ".join(f"{value:.2f}" for value in shares.quantile(torch.tensor(_QUANTILES)).tolist())
            norm, below = features.norm(dim=1).mean(), 100 * (shares < 0.1).float().mean()
            print(f"| {seed} | {name} | {norm:.1f} | {deviation:.2f} | {found} | {below:.1f} % | "
                  f"{measure_attention(own, features, scenes)[0]:.2f} |")  # fmt: skip


if __name__ == "__main__":
    main()

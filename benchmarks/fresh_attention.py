"""How much of its attention a fresh GC block of a mini detector gives to the light: many draws of its weights.

    python benchmarks/fresh_attention.py RESULTS [--experiment coco-r50-1gc] [--seeds 8]

RESULTS holds `runs/` with the shared detectors of the seeds, as `repro reproduce 2` leaves them. For each seed and each
block of the experiment: the norm of its features' mean, the standard deviation over positions of its logits, quantiles
of the attention on lit columns (whose share is 0.30), and how often it is below 0.1. Attention that begins elsewhere
may never come to the light.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from repro.data.miniature.scenes import Scene, draw_detection_scene
from repro.experiments import mini
from repro.experiments.conventions import AUTHORS
from repro.models.context import GlobalContextBlock
from repro.planning.keys import pretraining_directory
from repro.settings import Settings
from repro.tasks.detection import Detection

_SCENES, _DRAWS = 64, 400
_QUANTILES = (0.01, 0.05, 0.25, 0.5)


def compute_features(backbone: nn.Module, block: nn.Module, scenes: list[Scene]) -> Tensor:
    """What the block sees of the images: (B, C, H, W)."""
    images = torch.stack([torch.tensor(scene.image).permute(2, 0, 1) for scene in scenes]).float()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (AUTHORS.mean, AUTHORS.std))
    seen: list[Tensor] = []
    with block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])), torch.no_grad():
        backbone((images - mean) / std)
    return seen[0]


def draw_attention_on_light(block: GlobalContextBlock, features: Tensor, scenes: list[Scene]) -> tuple[Tensor, float]:
    """Draw weights as the block's own are drawn.

    Returns:
        the share of attention on lit columns, mean over the images, of each draw (400,), and the logits' deviation.
    """
    lit = torch.zeros(len(scenes), 1, mini.coco.SCENES.width)
    for row, scene in zip(lit, scenes, strict=True):
        row[0, scene.lit[0] : scene.lit[1] + 1] = 1
    columns = functional.adaptive_avg_pool1d(lit, features.shape[-1])[:, 0]
    shares, deviations = [], []
    for seed in range(_DRAWS):
        weight = torch.empty_like(block.conv_mask.weight)
        nn.init.kaiming_normal_(weight, generator=torch.Generator().manual_seed(seed))
        logits = functional.conv2d(features, weight).flatten(1)
        attention = logits.softmax(1).view(len(scenes), *features.shape[-2:])
        shares.append((attention.sum(1) * columns).sum(1).mean())
        deviations.append(logits.std(1).mean())
    return torch.stack(shares), float(torch.stack(deviations).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--experiment", default="coco-r50-1gc")
    parser.add_argument("--seeds", type=int, default=8)
    arguments = parser.parse_args()
    experiment = mini.get_at_profile(arguments.experiment, "mini")
    pretrainings = mini.list_pretrainings(experiment)
    scenes = [draw_detection_scene(mini.coco.SCENES, "val2017", index) for index in range(_SCENES)]
    quantiles = " | ".join(f"{100 * q:g} %" for q in _QUANTILES)
    print(f"| seed | block | norm | sd of logits | {quantiles} | below 0.1 |\n|---:|:---|{'---:|' * 7}")
    for seed in range(arguments.seeds):
        settings = Settings(arguments.results, "mini", seed=seed)
        task = Detection(experiment, settings)
        model = task.build_network()
        weights = pretraining_directory(experiment, pretrainings, settings) / "weights.pt"
        if not weights.exists():
            print(f"seed {seed}: no shared detector in {weights.parent}")
            continue
        task.start_from(model, torch.load(weights, weights_only=True), experiment)
        model.eval()
        for name, block in model.named_modules():
            if isinstance(block, GlobalContextBlock):
                features = compute_features(model.get_submodule("backbone"), block, scenes)
                shares, deviation = draw_attention_on_light(block, features, scenes)
                found = " | ".join(f"{value:.2f}" for value in shares.quantile(torch.tensor(_QUANTILES)).tolist())
                norm = float(features.mean((2, 3)).norm(dim=1).mean())
                below = 100 * float((shares < 0.1).float().mean())
                print(f"| {seed} | {name} | {norm:.1f} | {deviation:.2f} | {found} | {below:.0f} % |")


if __name__ == "__main__":
    main()

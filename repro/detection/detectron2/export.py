"""An experiment as a LazyConfig file, which Detectron2's `tools/lazyconfig_train_net.py` trains and evaluates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2.config import LazyCall
from detectron2.data import (
    DatasetMapper,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data.transforms import RandomFlip, ResizeShortestEdge
from detectron2.evaluation import COCOEvaluator
from detectron2.solver import WarmupParamScheduler
from detectron2.solver.build import get_default_optimizer_params
from detectron2.utils.registry import locate
from fvcore.common.param_scheduler import MultiStepParamScheduler
from omegaconf import DictConfig, OmegaConf

from repro.data.layout import TRAINING_IMAGES
from repro.detection.detectron2.initial_weights import PREFIX
from repro.detection.detectron2.network import build_config
from repro.detection.detectron2.optimizer import ClippedSGD
from repro.engine.schedule import count_iterations, count_iterations_per_epoch
from repro.errors import ReproError
from repro.experiments import Detector, Experiment, Recipe
from repro.experiments.conventions import CONTINUOUS

_WIDTH = 120
_HEADER = '''"""{name} of the GCNet paper, for Detectron2's tools/lazyconfig_train_net.py.

Written by `repro export detectron2 {name}`. Needs the package gcnet-repro.
"""

'''


def build_configuration(experiment: Experiment) -> dict[str, DictConfig | dict]:
    """Build the objects of a LazyConfig by name: model, dataloader, optimizer, lr_multiplier, train.

    Raises:
        ReproError: the experiment is not one on COCO.
    """
    if experiment.dataset != "coco":
        raise ReproError(f"{experiment.name} classifies; only the experiments on COCO can be exported for Detectron2")
    recipe = experiment.recipe
    per_epoch = count_iterations_per_epoch(TRAINING_IMAGES, recipe.batch_size)
    total = count_iterations(recipe, per_epoch)
    return {
        "model": build_config(experiment.detector, CONTINUOUS),  # as Detectron2's own data are
        "dataloader": _build_dataloader(experiment.detector, recipe),
        "optimizer": LazyCall(ClippedSGD)(
            params=LazyCall(get_default_optimizer_params)(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            max_norm=recipe.clip_norm,
        ),
        "lr_multiplier": LazyCall(WarmupParamScheduler)(
            scheduler=LazyCall(MultiStepParamScheduler)(
                values=[1 / 10**k for k in range(len(recipe.decay_epochs) + 1)],
                milestones=[epoch * per_epoch for epoch in recipe.decay_epochs] + [total],
            ),
            warmup_length=recipe.warmup_iterations / total,
            warmup_method="linear",
            warmup_factor=recipe.warmup_factor,
        ),
        "train": {
            "output_dir": f"./output/{experiment.name}",
            "init_checkpoint": f"{PREFIX}{recipe.initial_weights}",
            "max_iter": total,
            "amp": {"enabled": False},
            "ddp": {"broadcast_buffers": False, "find_unused_parameters": False, "fp16_compression": False},
            "checkpointer": {"period": per_epoch, "max_to_keep": recipe.epochs},
            "eval_period": per_epoch,
            "log_period": 20,
            "device": "cuda",
        },
    }


def format_source(experiment: Experiment) -> str:
    """Format the text of the file.

    Raises:
        ReproError: the experiment is not one on COCO.
    """
    imports: set[tuple[str, str]] = {("detectron2.config", "LazyCall")}
    lines = [f"{name} = {_format(value, 0, imports)}" for name, value in build_configuration(experiment).items()]
    modules = sorted({module for module, _ in imports})
    header = [
        f"from {module} import {', '.join(sorted(name for own, name in imports if own == module))}"
        for module in modules
    ]
    return _HEADER.format(name=experiment.name) + "\n".join([*header, "", *lines, ""])


def _build_dataloader(spec: Detector, recipe: Recipe) -> dict[str, DictConfig]:
    resize = LazyCall(ResizeShortestEdge)(short_edge_length=spec.short_side, max_size=spec.long_side)
    return {
        "train": LazyCall(build_detection_train_loader)(
            dataset=LazyCall(get_detection_dataset_dicts)(names="coco_2017_train"),
            mapper=LazyCall(DatasetMapper)(
                is_train=True,
                augmentations=[resize, LazyCall(RandomFlip)(horizontal=True, prob=recipe.flip)],
                image_format="RGB",
                use_instance_mask=True,
            ),
            total_batch_size=recipe.batch_size,
            num_workers=4,
        ),
        "test": LazyCall(build_detection_test_loader)(
            dataset=LazyCall(get_detection_dataset_dicts)(names="coco_2017_val", filter_empty=False),
            mapper=LazyCall(DatasetMapper)(is_train=False, augmentations=[resize], image_format="RGB"),
            num_workers=4,
        ),
        "evaluator": LazyCall(COCOEvaluator)(dataset_name="coco_2017_val"),
    }


def _format(value: Any, depth: int, imports: set[tuple[str, str]]) -> str:
    """Format `value` as Python; what it calls is added to `imports`."""
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    if isinstance(value, Mapping):
        target = value.get("_target_", dict)
        if isinstance(target, str):  # LazyCall keeps the names of dataclasses
            target = locate(target)
        call = "dict"
        if target is not dict:
            imports.add((target.__module__, target.__qualname__))
            call = f"LazyCall({target.__qualname__})"
        items = [f"{name}={_format(item, depth + 1, imports)}" for name, item in value.items() if name != "_target_"]
        return _wrap(f"{call}(", items, ")", depth)
    if isinstance(value, list | tuple):
        return _wrap("[", [_format(item, depth + 1, imports) for item in value], "]", depth)
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _wrap(opening: str, items: list[str], closing: str, depth: int) -> str:
    line = opening + ", ".join(items) + closing
    if len(line) + 4 * depth < _WIDTH and "\n" not in line:
        return line
    indent = "    " * (depth + 1)
    return f"{opening}\n" + "".join(f"{indent}{item},\n" for item in items) + "    " * depth + closing

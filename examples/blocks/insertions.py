"""Experiments with a block at the places of the paper's own blocks, in all three tasks."""

from __future__ import annotations

from repro.experiments import BlockFactory, Experiment, exchange_block, get


def insert_everywhere(name: str, block: BlockFactory) -> list[Experiment]:
    """Insert a block in all residual blocks of c3 to c5, after the last 1x1 convolution, where all GC blocks stand.

    They are called `coco-NAME`, `imagenet-NAME` and `kinetics-NAME`.
    """
    bases = {"coco": "coco-r50-gc-r16", "imagenet": "imagenet-r50-gc-r16", "kinetics": "kinetics-r50-gc-r4"}
    return [exchange_block(get(base), f"{task}-{name}", block) for task, base in bases.items()]


def insert_as_non_local(name: str, block: BlockFactory) -> list[Experiment]:
    """Insert a block where non-local blocks stand: one in c4, before its last residual block; in videos five.

    They are called `coco-1-NAME`, `imagenet-1-NAME` and `kinetics-5-NAME`.
    """
    bases = {"coco-1": "coco-r50-1nl", "imagenet-1": "imagenet-r50-1nl", "kinetics-5": "kinetics-r50-5nl"}
    return [exchange_block(get(base), f"{place}-{name}", block) for place, base in bases.items()]

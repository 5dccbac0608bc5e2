"""Checks a context block of the user's own before anything is trained with it."""

from __future__ import annotations

import inspect
from functools import cache

import torch
from torch import Tensor, nn

from repro.errors import ReproError
from repro.experiments import STAGES, Experiment
from repro.experiments.specification import BlockFactory, name_factory
from repro.models.resnet import EXPANSION, ResNetLayers, locate_context_blocks
from repro.user_code import report_failures

#: Positions of the feature maps that a block is tried with: neither square nor even, and another size.
_SIZES = {2: ((7, 10), (4, 5)), 3: ((4, 5, 6), (2, 3, 4))}


def check_network(experiment: Experiment) -> None:
    """Check that the backbone of an experiment can be built, and that a block of the user's own fits in its places.

    Raises:
        ReproError: it cannot, or it does not; the message names the line of the user's file.
    """
    backbone = experiment.network.backbone
    insertion = backbone.context
    factory = experiment.own_block
    if insertion and factory:
        directory = experiment.source.directory if experiment.source else None
        try:
            places = locate_context_blocks(insertion, backbone.blocks)
        except ValueError as error:
            raise ReproError(f"{experiment.name}: {error}") from None
        for stage in sorted({stage for stage, _ in places}):
            channels = EXPANSION * backbone.width * 2 ** STAGES.index(stage)
            _check_block(factory, channels, backbone.dimensions, directory)
        return
    try:
        with torch.device("meta"):
            ResNetLayers(backbone)
    except ValueError as error:
        raise ReproError(f"{experiment.name}: {error}") from None


@cache
def _check_block(factory: BlockFactory, channels: int, dimensions: int, directory: str | None) -> None:
    """Build a block and try it in training and in evaluation; the global random generator stays as it was."""
    what = f"block {name_factory(factory)}"
    called = f"{name_factory(factory)}({channels}, {dimensions})"
    _check_signature(factory, what, called)
    with torch.random.fork_rng(devices=[]):
        with report_failures(f"{called} failed", directory):
            block = factory(channels, dimensions)
        if not isinstance(block, nn.Module):
            raise ReproError(
                f"{called} returned {type(block).__name__}: a block's factory returns a torch.nn.Module, which takes "
                f"and returns feature maps"
            )
        for size in _SIZES[dimensions]:
            x = torch.randn(2, channels, *size)
            for mode in (True, False):
                with report_failures(f"{what} failed on a feature map {_write(x)}", directory):
                    output = block.train(mode)(x.clone())
                if not isinstance(output, Tensor):
                    raise ReproError(
                        f"{what} returns {type(output).__name__} for a feature map {_write(x)}: it has to return a "
                        "tensor of that shape"
                    )
                if output.shape != x.shape or output.dtype != x.dtype:
                    raise ReproError(
                        f"{what} makes {_write(output)}, {output.dtype}, of a feature map {_write(x)}, {x.dtype}: it "
                        "has to keep shape and type"
                    )


def _check_signature(factory: BlockFactory, what: str, called: str) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # of some functions that are not written in Python
        return
    try:
        signature.bind(0, 0)
    except TypeError as error:
        raise ReproError(
            f"{what} cannot be called as {called}, with the channels and the dimensions of positions (2 for images, 3 "
            f"for clips): {error}; it takes {signature}"
        ) from None


def _write(x: Tensor) -> str:
    return f"({', '.join(map(str, x.shape))})"

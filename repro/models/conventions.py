"""Differences between frameworks in computing with the parameters of the same classifier.

Weights have to be evaluated as they were trained. Networks of this project are trained with `PAPER`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from repro.models.context import NonLocalBlock
from repro.models.resnet import ResNetLayers


@dataclass(frozen=True)
class ClassifierConventions:
    """The conventions of one framework."""

    name: str
    padded_stem_pool: bool = True  #: False: no padding, and the last window may reach beyond the border (Caffe)
    project_first: bool = False  #: a non-local block sub-samples the outputs of phi and g instead of their input

    def apply(self, model: ResNetLayers) -> None:
        """Make `model`, an image network where the stem differs, compute as these conventions say."""
        if not self.padded_stem_pool:
            model.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        if self.project_first:
            for block in model.modules():
                if isinstance(block, NonLocalBlock):
                    block.project_first()


PAPER = ClassifierConventions("paper")
CAFFE = ClassifierConventions("caffe", padded_stem_pool=False)
MMCV = ClassifierConventions("mmcv", project_first=True)

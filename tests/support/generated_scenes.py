"""A few generated images in the layout of COCO."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from repro.data.miniature import coco as miniature
from repro.experiments import mini


def write_scenes(root: Path, images: int) -> Path:
    """Write `images` for the evaluation, and one of every other kind, into the new directory `root`."""
    small = replace(mini.coco.SCENES, train_images=1, val_images=images, lit_images=1, classification_images=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(miniature, "SCENES", small)
        miniature.generate(root, 0)
    return root

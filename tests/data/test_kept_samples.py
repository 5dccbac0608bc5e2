"""Small data sets keep what they decoded: samples stay what they were, and files are read once."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace

import pytest
import torch

from repro.data.classification import Augmentation
from repro.data.clips import ClipAugmentation
from repro.data.coco import CocoDetection
from repro.data.imagenet import ImageNet
from repro.data.kinetics import Kinetics
from repro.data.miniature import coco, imagenet, kinetics
from repro.experiments import mini


def open_detection(root, keep):
    return CocoDetection(root, "train2017", 6, mini.coco.SCENES.height, mini.coco.SCENES.width, flip=0.5, keep=keep)


def open_images(root, keep):
    augmentation = Augmentation(**mini.imagenet.AUGMENTATION)
    return ImageNet(root, "train", mini.imagenet.PREPROCESSING, augmentation, wnids=mini.imagenet.CLASSES, keep=keep)


def open_videos(root, keep):
    augmentation = ClipAugmentation(**{**mini.kinetics.AUGMENTATION, "flip": 0.5})
    classes = mini.kinetics.CLASSES
    return Kinetics(root, "train", mini.kinetics.PREPROCESSING, augmentation, labels=classes, keep=keep)


SETS = {
    "coco": (coco, "SCENES", {"train_images": 12, "val_images": 2, "lit_images": 1}, open_detection),
    "imagenet": (imagenet, "PICTURES", {"train_images": 16, "val_images": 16}, open_images),
    "kinetics": (kinetics, "VIDEOS", {"train_videos": 12, "val_videos": 12}, open_videos),
}


@pytest.mark.parametrize("name", SETS)
def test_kept_samples_are_those_that_are_decoded_anew(name, tmp_path, monkeypatch):
    module, variable, sizes, opened = SETS[name]
    monkeypatch.setattr(module, variable, replace(getattr(mini, name).__dict__[variable], **sizes))
    module.generate(tmp_path / "data")
    anew, kept = (opened(tmp_path / "data", keep) for keep in (False, True))
    assert len(anew) == len(kept) >= 10
    expected = {
        (index, epoch): anew.sample(index, seed=3, epoch=epoch, train=True)
        for index in range(len(anew))
        for epoch in range(3)
    }
    for index in range(len(kept)):
        kept.sample(index, seed=3, epoch=0, train=True)
    shutil.rmtree(tmp_path / "data")
    different = 0
    for (index, epoch), sample in expected.items():
        again = kept.sample(index, seed=3, epoch=epoch, train=True)
        for field in fields(sample):
            ours, theirs = getattr(again, field.name), getattr(sample, field.name)
            assert torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs
        first = expected[index, 0]
        different += not torch.equal(
            *(next(v for v in vars(s).values() if torch.is_tensor(v)) for s in (sample, first))
        )
    assert different > 4  # what is random is not kept

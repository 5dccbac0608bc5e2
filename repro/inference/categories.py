"""What the outputs of a network stand for: an identifier and a name for each, in the order of the labels."""

from __future__ import annotations

from dataclasses import dataclass

from repro.data import kinetics, synsets
from repro.experiments import Experiment, mini


@dataclass(frozen=True)
class Category:
    """One class."""

    id: int | str  #: COCO's category id, ImageNet's wnid, or the number of the label
    name: str


def list_categories(experiment: Experiment) -> list[Category]:
    """List the classes of an experiment's network; numbers, where it tells others apart than its data set has."""
    known = _list_known(experiment)
    count = experiment.network.num_classes
    if len(known) == count:
        return known
    return [Category(label, f"class {label}") for label in range(count)]


def _list_known(experiment: Experiment) -> list[Category]:
    if experiment.profile == "mini":
        return _list_generated(experiment.dataset)
    if experiment.dataset == "kinetics":
        return [Category(label, name) for label, name in enumerate(kinetics.LABELS)]
    if experiment.dataset == "imagenet":
        from torchvision.models import ResNet50_Weights

        names = ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
        return [Category(wnid, name) for wnid, name in zip(synsets.WNIDS, names, strict=True)]
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    names = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]  # by id; some are not used, and 0 is none
    return [Category(number, name) for number, name in enumerate(names) if number and name != "N/A"]


def _list_generated(dataset: str) -> list[Category]:
    if dataset == "coco":
        from repro.data.miniature.coco import list_categories

        return [Category(entry["id"], entry["name"]) for entry in list_categories(mini.coco.SCENES)]
    names = mini.imagenet.CLASSES if dataset == "imagenet" else mini.kinetics.CLASSES
    return [Category(label, name) for label, name in enumerate(names)]

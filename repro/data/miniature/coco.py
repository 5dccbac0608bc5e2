"""The mini profile's generated data: a COCO-format detection set, and a classification set to pre-train on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from repro.data.miniature.content import DrawingHash, hash_samples
from repro.data.miniature.scenes import Point, Scene, SceneObject, draw_classification_scene, draw_detection_scene
from repro.data.miniature.whole import write_whole
from repro.experiments.conventions import AUTHORS
from repro.experiments.mini.coco import SCENES, Scenes
from repro.models.resnet import ResNetLayers

#: The validation split's ids begin high enough not to meet the training split's.
_FIRST_ID = {"train2017": 1, "val2017": 500_001, "trainlit2017": 700_001}


def generate(directory: Path, seed: int = SCENES.seed) -> None:
    """Write the detection set in COCO's layout: `annotations/instances_<split>.json` and `<split>/<12 digits>.png`.

    A directory that exists is left as it is. The set appears under its name when it is whole, and of two processes
    one generates and the other waits. The pixels and the annotations are the same on every machine.

    Raises:
        ReproError: the directory cannot be written.
    """

    def write(whole: Path, hashed: DrawingHash) -> None:
        scenes = replace(SCENES, seed=seed)
        sizes = {"train2017": scenes.train_images, "val2017": scenes.val_images, "trainlit2017": scenes.lit_images}
        for split, images in sizes.items():
            _write_split(whole, scenes, split, images, hashed)
        hash_samples(PretrainingScenes(scenes), hashed)

    write_whole(directory, write)


class PretrainingScenes:
    """The classification set. Its tags are shapes of objects, then colours of the light. Images are drawn on demand."""

    def __init__(self, scenes: Scenes = SCENES) -> None:
        self.scenes = scenes

    def __len__(self) -> int:
        return self.scenes.classification_images

    def sample(self, index: int, *, seed: int = 0, epoch: int = 0, train: bool = False) -> tuple[Tensor, Tensor]:
        """Draw the image, uint8 (3, H, W), and its tags, float32 (T,), 0 or 1, whatever the seed and the epoch."""
        drawn = draw_classification_scene(self.scenes, index)
        tags = torch.zeros(len(self.scenes.shapes) + len(self.scenes.lights))
        tags[[*(thing.shape for thing in drawn.things), len(self.scenes.shapes) + drawn.light]] = 1
        return torch.tensor(drawn.image).permute(2, 0, 1).contiguous(), tags


class Tagger(ResNetLayers):
    """A backbone that tells an image's tags, any number of them: the loss is a binary cross entropy.

    Its state dict is a `ResNet`'s.
    """

    def forward(self, samples: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor] | Tensor:
        """The loss of a batch of (image uint8 (3, H, W), tags (T,)) in training mode, else its logits (B, T)."""
        images, tags = (torch.stack(column) for column in zip(*samples, strict=True))
        mean, std = (torch.tensor(v, device=images.device).view(3, 1, 1) for v in (AUTHORS.mean, AUTHORS.std))
        logits = self.logits((images - mean) / std)
        return {"loss_tags": F.binary_cross_entropy_with_logits(logits, tags)} if self.training else logits


def _number_category(shape: int, light: int) -> int:
    """Number a category; the numbers have gaps, as COCO's have."""
    return 10 * (shape + 1) + light + 1


def list_categories(scenes: Scenes) -> list[dict]:
    """One per shape and colour of the light, in the order of the detector's labels."""
    return [
        {"id": _number_category(shape, light), "name": f"{name} by {colour} light", "supercategory": name}
        for shape, name in enumerate(scenes.shapes)
        for light, colour in enumerate(scenes.lights)
    ]


def _write_split(root: Path, scenes: Scenes, split: str, images: int, hashed: DrawingHash) -> None:
    entries = []
    annotations: list[dict] = []
    (root / split).mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    for index in range(images):
        drawn = draw_detection_scene(scenes, split, index)
        height, width = drawn.image.shape[:2]
        image_id = _FIRST_ID[split] + index
        name = f"{image_id:012d}.png"
        hashed.add(f"{split}/{name}", drawn.image)
        Image.fromarray(drawn.image).save(root / split / name, compress_level=1)
        entries.append({"id": image_id, "file_name": name, "height": height, "width": width})
        for thing in drawn.things:
            annotations.append(_annotate(thing, drawn, image_id) | {"id": _FIRST_ID[split] + len(annotations)})
    parts = {"images": entries, "annotations": annotations, "categories": list_categories(scenes)}
    content = json.dumps(parts, separators=(",", ":")).encode("ascii")
    hashed.add(f"annotations of {split}", content)
    (root / "annotations" / f"instances_{split}.json").write_bytes(content)


def _annotate(thing: SceneObject, drawn: Scene, image_id: int) -> dict:
    """Annotate an object as COCO does: by polygons, or a crowd by uncompressed run lengths."""
    height, width = drawn.image.shape[:2]
    mask = thing.mask(height, width)
    x1, y1, x2, y2 = thing.box
    return {
        "image_id": image_id,
        "category_id": _number_category(thing.shape, drawn.light),
        "iscrowd": int(thing.crowd),
        "area": int(mask.sum()),
        "bbox": [x1, y1, x2 - x1 + 1, y2 - y1 + 1],
        "segmentation": _encode_runs(mask) if thing.crowd else [_flatten_corners(p) for p in thing.polygons],
    }


def _flatten_corners(polygon: tuple[Point, ...]) -> list[float]:
    """The corners of a polygon in the middle of their pixels: x, y, x, y, ..."""
    return [coordinate + 0.5 for point in polygon for coordinate in point]


def _encode_runs(mask: np.ndarray) -> dict:
    """COCO's uncompressed encoding: lengths of alternate runs of 0 and 1, column by column, beginning with 0."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    bounds = np.flatnonzero(flat[1:] != flat[:-1])
    ends = np.concatenate([[0], bounds, [mask.size]])
    counts = np.diff(ends if bounds[-1] != mask.size else ends[:-1])
    return {"size": list(mask.shape), "counts": counts.tolist()}

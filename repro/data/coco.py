"""One split of a COCO-format directory, as input of a detector."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from faster_coco_eval.core import mask as mask_api
from PIL import Image as pillow
from torch import Tensor

from repro.data.annotations import AnnotatedImage, Annotation, RunLengths, read_annotations
from repro.data.image_files import ImageFiles
from repro.data.layout import describe_source, find_annotations, find_images, is_labelled
from repro.data.pictures import MOST_BYTES, UnreadableImage, decode_upright
from repro.errors import ReproError
from repro.experiments import digest


@dataclass
class DetectionSample:
    """One image, resized for a detector, with its targets in training."""

    image: Tensor  #: uint8 (3, H, W), RGB, already resized and perhaps flipped
    image_id: int
    size: tuple[int, int]  #: of the original image: (height, width), pixels
    boxes: Tensor  #: float32 (n, 4), (x1, y1, x2, y2) in pixels of `image`; training only, n may be 0
    labels: Tensor  #: int64 (n,), 0..K-1 in the order of the ascending category ids
    masks: Tensor  #: uint8 (n, H, W), 0 or 1


@dataclass
class Detections:
    """The detections of one image."""

    image_id: int
    boxes: np.ndarray  #: float32 (n, 4), (x1, y1, x2, y2) in pixels of the original image, clipped to it
    scores: np.ndarray  #: float32 (n,)
    labels: np.ndarray  #: int64 (n,), 0..K-1
    masks: list[RunLengths]  #: n encodings {"size": [height, width], "counts": ...} at the original size


class CocoDetection:
    """One split of a directory that is laid out as COCO 2017: `annotations/instances_<split>.json`, `<split>/*.jpg`.

    A `file_name` may have directories: below `<split>/`, or from the whole data set's (`ImageFiles`).

    A training split (its name begins with "train") leaves out the images without an object to learn (`_is_target`).
    Every other split keeps all images. A test split, whose
    annotations are withheld, has `annotations/image_info_<split>.json` instead: it can be predicted but not evaluated.
    Only the annotations stay in memory, unless `keep`; images and masks are decoded anew for each sample.

    Args:
        root: the directory.
        split: as the files are named: "train2017", "val2017" or "test-dev2017".
        num_classes: number of the detector's classes; the file must have as many categories.
        short_side, long_side: images are resized, keeping their shape, until the shorter side has `short_side` pixels
            or the longer one `long_side`, whichever comes first.
        flip: probability of a horizontal flip in training.
        inclusive: targets are made as in the authors' framework, where a box ends on its last pixel: one factor scales
            both axes, the last pixel is scaled like the first, and of a resized mask's pixels each takes the old pixel
            that its corner lies in. Otherwise the factors are those of the sizes in whole pixels, and it is its centre.
        keep: keep what was decoded in memory: a small data set is then decoded once, not in every epoch.

    Raises:
        ReproError: something is missing or malformed; it is named, with where to get it.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        num_classes: int,
        short_side: int,
        long_side: int,
        flip: float = 0.0,
        *,
        inclusive: bool = False,
        keep: bool = False,
    ) -> None:
        self.split = split
        self.num_classes = num_classes
        self.short_side = short_side
        self.long_side = long_side
        self.flip = flip
        self.inclusive = inclusive
        self._decoded: dict[tuple[int, bool], DetectionSample] | None = {} if keep else None
        self.annotations_path = find_annotations(root, split)
        self._files = ImageFiles(find_images(root, split))
        content = read_annotations(self.annotations_path, labelled=is_labelled(split))
        if len(content.category_ids) != num_classes:
            raise ReproError(
                f"{self.annotations_path} has {len(content.category_ids)} categories, the detector has {num_classes} "
                "classes: this is the data set of another experiment."
            )
        self.annotations_sha256 = content.sha256
        self.category_ids = content.category_ids
        self._label = {category_id: label for label, category_id in enumerate(self.category_ids)}
        self._images = content.images
        self._objects = content.objects
        self._targets = {
            image_id: [
                annotation for annotation in objects if _is_target(annotation, self._images[image_id], inclusive)
            ]
            for image_id, objects in content.objects.items()
        }
        training = split.startswith("train")
        self.image_ids = [image_id for image_id in self._images if self._targets[image_id] or not training]
        self.ids_sha256 = digest(self.image_ids)
        self._paths = self._find_images()

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def objects(self) -> int:
        """The number of annotated objects, crowds included."""
        return sum(len(self._objects[image_id]) for image_id in self.image_ids)

    def get_original_size(self, image_id: int) -> tuple[int, int]:
        """(height, width) of an image in pixels, as the annotations give it."""
        image = self._images[image_id]
        return image.height, image.width

    def compute_input_size(self, index: int) -> tuple[int, int]:
        """(height, width) of the image at `index` of `image_ids` as `sample` resizes it, without opening its file."""
        size = self.get_original_size(self.image_ids[index])
        return compute_resized_size(*size, self.short_side, self.long_side)

    def build_ground_truth(self) -> dict:
        """The annotations of `image_ids` in COCO's format, crowds included: what predictions are compared with.

        Raises:
            ReproError: they are withheld.
        """
        if not is_labelled(self.split):
            raise ReproError(
                f"{self.split} cannot be evaluated here: its annotations are with COCO's evaluation server. "
                "`repro submit` writes what to send there, `repro record-external` enters the answer."
            )
        return {
            "images": [
                {"id": i, "height": h, "width": w} for i in self.image_ids for h, w in [self.get_original_size(i)]
            ],
            "categories": [{"id": category_id} for category_id in self.category_ids],
            "annotations": [
                {
                    "id": annotation.id,
                    "image_id": annotation.image_id,
                    "category_id": annotation.category_id,
                    "bbox": list(annotation.bbox),
                    "area": annotation.area,
                    "iscrowd": annotation.iscrowd,
                    "segmentation": _encode(annotation, self._images[image_id]),
                }
                for image_id in self.image_ids
                for annotation in self._objects[image_id]
            ],
        }

    def sample(self, index: int, *, seed: int = 0, epoch: int = 0, train: bool = False) -> DetectionSample:
        """Load the image at `index` of `image_ids`, resized; in training with its targets and perhaps flipped.

        What is random is a function of (seed, epoch, index) alone, so that it does not depend on how many processes
        load the data or on where a run was resumed.

        Raises:
            UnreadableImage: the image file is missing or corrupt.
            ReproError: it is not of the annotated size.
        """
        sample = self._decode(index, train)
        if not train or np.random.default_rng([seed, epoch, index]).random() >= self.flip:
            return sample
        width = sample.image.shape[-1]
        return replace(
            sample,
            image=sample.image.flip(-1),
            boxes=torch.stack(
                [width - sample.boxes[:, 2], sample.boxes[:, 1], width - sample.boxes[:, 0], sample.boxes[:, 3]], dim=1
            ),
            masks=sample.masks.flip(-1),
        )

    def _decode(self, index: int, train: bool) -> DetectionSample:
        """Load a sample as it is before it may be flipped."""
        if self._decoded is not None and (index, train) in self._decoded:
            return self._decoded[index, train]
        image = self._images[self.image_ids[index]]
        pixels = resize_picture(self._read(image), self.short_side, self.long_side)
        height, width = pixels.shape[1:]
        targets = self._targets[image.id] if train else []
        if self.inclusive:
            scale = compute_scale(image.height, image.width, self.short_side, self.long_side)
            boxes = _scale_inclusive_boxes(targets, scale, (height, width))
        else:
            boxes = _clip_boxes(targets, image) * np.array([width / image.width, height / image.height] * 2)
        sample = DetectionSample(
            image=pixels,
            image_id=image.id,
            size=(image.height, image.width),
            boxes=torch.from_numpy(boxes.astype(np.float32)),
            labels=torch.tensor([self._label[target.category_id] for target in targets], dtype=torch.int64),
            masks=_decode_masks(targets, image, (height, width), self.inclusive),
        )
        if self._decoded is not None:
            self._decoded[index, train] = sample
        return sample

    def _find_images(self) -> dict[int, str]:
        """The path of each image's file among the split's, by id: before hours of work, opening none."""
        found = self._files.find_all({image_id: self._images[image_id].file_name for image_id in self.image_ids})
        paths = {image_id: path for image_id, path in found.items() if path is not None}
        missing = [f"{self._images[i].file_name} (id {i})" for i in self.image_ids if i not in paths]
        if missing:
            raise ReproError(
                f"{len(missing)} of {len(self)} images of {self.annotations_path} are missing in {self._files.place}: "
                f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}. "
                f"Unpack {describe_source(self.split)} there again."
            )
        return paths

    def _read(self, image: AnnotatedImage) -> pillow.Image:
        """The decoded image, RGB (COCO has grayscale ones), upright."""
        path, what = self._paths[image.id], f"image {image.id}:"
        place = self._files.describe_place(path)
        try:
            content = self._files.read(path, MOST_BYTES, what)
        except ReproError as error:
            raise UnreadableImage(str(image.id), str(error)) from None
        picture = decode_upright(content, str(image.id), place, what=what)
        if picture.size != (image.width, image.height):
            raise ReproError(
                f"image {image.id} has {picture.size} pixels (width, height), the annotations say "
                f"{(image.width, image.height)}: {place} {explain_size(picture.size, image)}."
            )
        return picture


def explain_size(size: tuple[int, int], image: AnnotatedImage) -> str:
    """Explain, in words that follow the file's name, why it may have another (width, height) than is annotated."""
    if size == (image.height, image.width):
        return (
            "lies on its side: its EXIF data turn it, as in the authors' framework, and the annotations are of the "
            "picture as it is stored, or it belongs to another data set"
        )
    return "belongs to another data set or was resized"


def resize_picture(picture: pillow.Image, short_side: int, long_side: int) -> Tensor:
    """Resize an RGB picture for a detector: uint8 (3, H, W) of `compute_resized_size`."""
    height, width = compute_resized_size(picture.height, picture.width, short_side, long_side)
    if picture.size != (width, height):
        picture = picture.resize((width, height), pillow.Resampling.BILINEAR)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def compute_resized_size(height: int, width: int, short_side: int, long_side: int) -> tuple[int, int]:
    """Compute (height, width) after resizing, rounded to the nearest pixel as Detectron2 and mmdetection do, from 1 on.

    Torchvision's detectors round down instead, here to 800 x 1066:

    >>> compute_resized_size(375, 500, short_side=800, long_side=1333)
    (800, 1067)
    """
    scale = compute_scale(height, width, short_side, long_side)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def compute_scale(height: int, width: int, short_side: int, long_side: int) -> float:
    """Compute the factor by which an image is resized, before its sides are rounded to whole pixels."""
    return min(short_side / min(height, width), long_side / max(height, width))


def _scale_inclusive_boxes(objects: list[Annotation], scale: float, size: tuple[int, int]) -> np.ndarray:
    """float64 (n, 4): first and last pixel scaled and clipped to the resized image of `size` (height, width).

    In continuous coordinates, as everywhere here: the last pixel's end.
    """
    boxes = np.array([annotation.bbox for annotation in objects], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2] - 1
    boxes = (boxes * scale).clip(0, [size[1] - 1, size[0] - 1] * 2)
    boxes[:, 2:] += 1
    return boxes


def _clip_boxes(objects: list[Annotation], image: AnnotatedImage) -> np.ndarray:
    """float64 (n, 4): (x1, y1, x2, y2), clipped to the image."""
    boxes = np.array([annotation.bbox for annotation in objects], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes.clip(0, [image.width, image.height] * 2)


def _is_target(annotation: Annotation, image: AnnotatedImage, inclusive: bool) -> bool:
    """Whether a detector is trained on an object: no crowd, with an area, at least a pixel wide and high.

    That is all in the authors' framework (`inclusive`). Otherwise the part within the image has to be as large, as
    mmdetection from 2.0 on asks, and an object whose segmentation has no polygon of three points is left out, too.
    """
    x, y, width, height = annotation.bbox
    if inclusive:
        return width >= 1 and height >= 1 and annotation.area > 0 and not annotation.iscrowd
    inside = min(x + width, image.width) - max(x, 0) >= 1 and min(y + height, image.height) - max(y, 0) >= 1
    return inside and annotation.area > 0 and not annotation.iscrowd and bool(annotation.segmentation)


def _encode(annotation: Annotation, image: AnnotatedImage) -> RunLengths:
    """The object's mask at the original size, as a compressed run-length encoding."""
    if isinstance(annotation.segmentation, dict):
        return dict(annotation.segmentation)
    if not annotation.segmentation:
        return mask_api.encode(np.zeros((image.height, image.width), dtype=np.uint8, order="F"))
    polygons = [polygon.tolist() for polygon in annotation.segmentation]
    return mask_api.merge(mask_api.frPyObjects(polygons, image.height, image.width))


def _decode_masks(objects: list[Annotation], image: AnnotatedImage, size: tuple[int, int], inclusive: bool) -> Tensor:
    """uint8 (n, H, W): the masks at the original size, resized to `size`, (H, W), by taking one old pixel for each."""
    if not objects:
        return torch.zeros((0, *size), dtype=torch.uint8)
    masks = mask_api.decode([_encode(annotation, image) for annotation in objects]).transpose(2, 0, 1)
    find = _find_corners if inclusive else _find_centres
    rows, columns = (find(new, old) for new, old in zip(size, masks.shape[1:], strict=True))
    return torch.from_numpy(np.ascontiguousarray(masks).take(columns, axis=2).take(rows, axis=1))


def _find_centres(new: int, old: int) -> np.ndarray:
    """The old pixel that holds each new pixel's centre, in integers: floats are off at some boundaries."""
    return (2 * np.arange(new) + 1) * old // (2 * new)


def _find_corners(new: int, old: int) -> np.ndarray:
    """The old pixel that holds each new pixel's first corner, in the floats of OpenCV, which the authors resize by."""
    return np.minimum(np.floor(np.arange(new) * (1 / (new / old))).astype(np.int64), old - 1)

"""From a decoded image to a network's input: as the weights' publisher evaluates, or augmented for training.

Images go to the device as uint8, a quarter of the bytes of float32; what needs float32 is computed there, per batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import pil_to_tensor, rotate

from repro.data.normalisation import normalise_channels
from repro.data.pictures import MOST_PIXELS, UndecodablePicture
from repro.errors import ReproError
from repro.experiments.preprocessing import Preprocessing

#: Shares of R, G and B in a pixel's brightness (ITU-R BT.601).
_GRAY = np.array([0.299, 0.587, 0.114])
#: Mean R, G and B of ImageNet, 0 to 255.
_MEAN = [124.0, 116.0, 104.0]
#: Principal components of ImageNet's RGB values, 0 to 255: standard deviations, and the directions as columns
#: (Krizhevsky et al. 2012, Section 4.1; the figures are those of the "bag of tricks" authors' code).
_DEVIATIONS = np.array([55.46, 4.794, 1.148])
_DIRECTIONS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


@dataclass
class ImageSample:
    """One image as input of a classifier."""

    image: Tensor  #: uint8 (3, S, S), RGB, cropped and resized
    image_id: str
    label: int  #: 0..K-1
    #: float32 (3, 4): the augmentation of colour that is still to be applied, RGB -> color @ (R, G, B, 1) with values 0
    #: to 255. None: there is none.
    color: Tensor | None = None


@dataclass
class ImageBatch:
    """Samples of one size, to be moved to the device."""

    images: Tensor  #: uint8 (B, 3, S, S)
    labels: Tensor  #: int64 (B,)
    image_ids: list[str]
    colors: Tensor | None  #: float32 (B, 3, 4), see `ImageSample`

    def to(self, device: torch.device, non_blocking: bool = False) -> ImageBatch:
        images, labels = (tensor.to(device, non_blocking=non_blocking) for tensor in (self.images, self.labels))
        colors = None if self.colors is None else self.colors.to(device, non_blocking=non_blocking)
        return ImageBatch(images, labels, self.image_ids, colors)

    def pin_memory(self) -> ImageBatch:
        colors = None if self.colors is None else self.colors.pin_memory()
        return ImageBatch(self.images.pin_memory(), self.labels.pin_memory(), self.image_ids, colors)


def collate(samples: Sequence[ImageSample]) -> ImageBatch:
    """Stack `samples` into a batch; all of them are augmented, or none."""
    colors = [sample.color for sample in samples if sample.color is not None]
    return ImageBatch(
        images=torch.stack([sample.image for sample in samples]),
        labels=torch.tensor([sample.label for sample in samples]),
        image_ids=[sample.image_id for sample in samples],
        colors=torch.stack(colors) if colors else None,
    )


# -- evaluation -------------------------------------------------------------------------------------------------------


def prepare_evaluation_image(picture: Image.Image, preprocessing: Preprocessing) -> Tensor:
    """Resize the short side to `preprocessing.resize` pixels and crop the centre: uint8 (3, crop, crop).

    With Pillow as the resizer the result is that of torchvision's presets, bit for bit. OpenCV's bilinear filter, which
    is not widened where it shrinks an image, is PyTorch's; one value in eight differs by 1 of 255 through rounding.

    Raises:
        UndecodablePicture: it is so narrow that it would be resized to more pixels than pictures have.
        ReproError: `preprocessing` is one of videos.
    """
    width, height = picture.size
    short, crop = preprocessing.resize, preprocessing.crop
    # The long side is rounded down.
    size = (short, short * height // width) if width < height else (short * width // height, short)
    if size[0] * size[1] > MOST_PIXELS:
        raise UndecodablePicture(f"it has {width} x {height} pixels, and resized it would have {size[0]} x {size[1]}")
    left, top = (round((side - crop) / 2) for side in size)  # half to even, as torchvision and OpenMMLab round
    if preprocessing.resizer == "pillow":
        method = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
        whole = picture.resize(size, method[preprocessing.interpolation])
        return pil_to_tensor(whole.crop((left, top, left + crop, top + crop)))
    if preprocessing.resizer == "opencv":
        image = pil_to_tensor(picture)[None].float()
        resized = interpolate(image, size[::-1], mode=preprocessing.interpolation, align_corners=False)[0]
        return resized[:, top : top + crop, left : left + crop].round().clamp(0, 255).to(torch.uint8)
    raise ReproError(f"images are not resized by {preprocessing.resizer!r}: these weights are for videos")


def normalise(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Normalise images of RGB values 0 to 255, uint8 or float32, on their device: float32 (B, 3, S, S)."""
    return normalise_channels(images, preprocessing, 2)


# -- training ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Augmentation:
    """The baseline of "Bag of Tricks for Image Classification" (arXiv 1812.01187, Section 2.1), the paper's [33].

    A rectangle of 8 to 100 % of the area and an aspect ratio of 3/4 to 4/3 is resized to a square and, half of the
    time, flipped, as in the paper's [14] (SE). Then colours change: brightness, contrast and saturation by factors of
    0.6 to 1.4 in a random order, and by noise along the principal components of RGB. The text of [33] lists hue in the
    place of contrast; this follows its authors' code. The text of [14] changes no colours; the code of its authors
    jitters pixels by up to 20 and rotates by up to 10 degrees.
    """

    size: int = 224  #: side of the square, pixels
    area: tuple[float, float] = (0.08, 1.0)  #: share of the image's area
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  #: width by height
    flip: float = 0.5  #: probability
    jitter: float = 0.4  #: factors are uniform in 1 - jitter to 1 + jitter
    lighting: float = 0.1  #: standard deviation of the noise, in standard deviations of the components
    shift: int = 0  #: most that is added to a channel of an image, or subtracted, of 255
    rotation: float = 0.0  #: most degrees by which the square is rotated, its corners filled with ImageNet's mean


@dataclass(frozen=True)
class ColorDraw:
    """What was drawn of a change of colours."""

    factors: np.ndarray  #: (3,), of brightness, contrast and saturation
    order: np.ndarray  #: (3,), in which these three are applied
    added: np.ndarray  #: (3,), to R, G and B at the end


@dataclass(frozen=True)
class AugmentationDraw:
    """What was drawn of an image's augmentation. Nothing of it depends on the image's pixels."""

    rectangle: tuple[int, int, int, int]  #: (top, left, height, width)
    flips: bool
    angle: float  #: degrees; 0: it is not rotated
    colors: ColorDraw


def draw_augmentation(
    height: int, width: int, augmentation: Augmentation, generator: np.random.Generator
) -> AugmentationDraw:
    """Draw the augmentation of an image of that size."""
    rectangle = choose_rectangle(height, width, augmentation, generator)
    flips = generator.random() < augmentation.flip
    most = augmentation.rotation
    return AugmentationDraw(
        rectangle, flips, generator.uniform(-most, most) if most else 0.0, draw_colors(augmentation, generator)
    )


def draw_colors(augmentation: Augmentation, generator: np.random.Generator) -> ColorDraw:
    """Draw brightness, contrast, saturation and lighting."""
    factors = generator.uniform(1 - augmentation.jitter, 1 + augmentation.jitter, size=3)
    order = np.asarray(generator.permutation(3))
    added = _DIRECTIONS @ (generator.normal(0.0, augmentation.lighting, size=3) * _DEVIATIONS)
    if augmentation.shift:
        added = added + generator.integers(-augmentation.shift, augmentation.shift, size=3, endpoint=True)
    return ColorDraw(factors, order, added)


def prepare_training_image(
    image: Tensor, augmentation: Augmentation, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Augment an image: uint8 (3, size, size), and the change of its colours, float32 (3, 4), see `ImageSample`.

    Args:
        image: uint8 (3, H, W), RGB.
    """
    draw = draw_augmentation(image.shape[1], image.shape[2], augmentation, generator)
    square = cut_square(image, draw, augmentation.size)
    return square, torch.from_numpy(_mix_own_colors(square, draw.colors).astype(np.float32))


def cut_square(image: Tensor, draw: AugmentationDraw, size: int) -> Tensor:
    """Resize the rectangle that was drawn to a square, and flip and rotate it as was drawn: uint8 (3, size, size).

    Args:
        image: uint8 (3, H, W), RGB, on any device.
    """
    top, left, height, width = draw.rectangle
    part = image[None, :, top : top + height, left : left + width]
    square = _resize(part, size)
    if draw.flips:
        square = square.flip(-1)
    if draw.angle:
        square = rotate(square, draw.angle, InterpolationMode.BILINEAR, fill=_MEAN)
    return square


def _resize(part: Tensor, size: int) -> Tensor:
    """Resize a part (1, 3, H, W) to (3, size, size) by the filter that torchvision's reference has from Pillow.

    PyTorch's is faster; values differ by 2 of 255 at most.
    """
    if part.device.type != "cpu":  # a GPU resizes no bytes; rounded in the end, a value differs by 1 at most
        return interpolate(part.float(), (size, size), mode="bilinear", antialias=True)[0].round().to(torch.uint8)
    # Channels last, it takes a third of the time.
    part = part.contiguous(memory_format=torch.channels_last)
    return interpolate(part, (size, size), mode="bilinear", antialias=True)[0].contiguous()


def choose_rectangle(
    height: int, width: int, augmentation: Augmentation, generator: np.random.Generator
) -> tuple[int, int, int, int]:
    """Choose a random part of an image, (top, left, height, width) in pixels, distributed as torchvision's.

    Areas and logarithms of ratios are uniform. What does not fit is drawn again, ten times at most; then the part is
    the centre, as large as the ratios allow.
    """
    low, high = augmentation.ratio
    for _ in range(10):
        area = height * width * generator.uniform(*augmentation.area)
        ratio = math.exp(generator.uniform(math.log(low), math.log(high)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(generator.integers(height - h + 1)), int(generator.integers(width - w + 1)), h, w
    w, h = min(width, round(height * high)), min(height, round(width / low))
    return (height - h) // 2, (width - w) // 2, h, w


def choose_color_change(image: Tensor, augmentation: Augmentation, generator: np.random.Generator) -> np.ndarray:
    """Choose brightness, contrast, saturation and lighting at random: one affine map of (R, G, B, 1), float64 (3, 4).

    Args:
        image: uint8 (3, S, S), whose mean brightness decides what contrast does.
    """
    return _mix_own_colors(image, draw_colors(augmentation, generator))


def _mix_own_colors(image: Tensor, draw: ColorDraw) -> np.ndarray:
    total = image.numpy().reshape(3, -1).sum(axis=1, dtype=np.uint32)  # exact, and far faster than torch.sum
    return mix_colors((total / image[0].numel())[None], [draw])[0]


def mix_colors(means: np.ndarray, draws: Sequence[ColorDraw]) -> np.ndarray:
    """Make of each change of colours that was drawn one affine map of (R, G, B, 1), float64 (B, 3, 4).

    Each of the four parts is affine in a pixel's colour, given the mean brightness of the image, so that together they
    cost one product on the device. Nothing is rounded or clipped in between, as with the "32-bit floating point raw
    pixel values" of [33].

    Args:
        means: (B, 3), of R, G and B of each image.
    """
    means = np.append(means, np.ones((len(means), 1)), axis=1)[:, :, None]  # and the 1 of the affine map
    change = np.broadcast_to(np.eye(3, 4), (len(means), 3, 4)).copy()
    gray = np.broadcast_to(_GRAY, (3, 3))
    for step in range(3):
        kinds = np.array([draw.order[step] for draw in draws])
        factors = np.array([draw.factors[draw.order[step]] for draw in draws])
        for kind in range(3):
            chosen = kinds == kind
            if not chosen.any():
                continue
            factor = factors[chosen][:, None, None]
            if kind == 0:  # brightness: towards black
                change[chosen] *= factor
            elif kind == 1:  # contrast: towards the mean brightness
                middle = gray @ change[chosen] @ means[chosen]
                change[chosen] *= factor
                change[chosen, :, 3:] += (1 - factor) * middle
            else:  # saturation: towards each pixel's own brightness
                change[chosen] = (factor * np.eye(3) + (1 - factor) * gray) @ change[chosen]
    change[:, :, 3] += np.stack([draw.added for draw in draws])
    return change


def recolor(images: Tensor, colors: Tensor) -> Tensor:
    """Change colours of uint8 `images` by `ImageBatch.colors`: float32 (B, 3, S, S), about 0 to 255, channels last."""
    flat = images.permute(0, 2, 3, 1).flatten(1, 2).float()
    with torch.autocast(images.device.type, enabled=False):  # bfloat16 has 8 bits for 256 values
        changed = torch.bmm(flat, colors[:, :, :3].mT).add_(colors[:, None, :, 3])
    return changed.unflatten(1, images.shape[2:]).permute(0, 3, 1, 2)

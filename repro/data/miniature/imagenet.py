"""The mini profile's generated classification set: what an image shows depends on a texture and on the whole image.

One or two square objects lie on a grey ground, each with a pattern; of two, one is red and one is cyan. A light falls
on one edge of the image, yellow or blue. Where it is yellow, the class is the pattern of the red object, otherwise that
of the cyan one. Small filters tell patterns apart. Which object counts is shown by the light, far from the objects, and
by nothing near them. In half of the training images, and in all to pre-train on, the light falls on all of the ground
but a margin around the objects.

Everything is drawn from a `numpy.random.Generator` in integers, or rounded from exactly rounded roots: the same pixels
on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from repro.data.miniature.content import DrawingHash, hash_samples
from repro.data.miniature.patterns import draw_pattern
from repro.data.miniature.whole import write_whole
from repro.experiments.mini.imagenet import CLASSES, PICTURES, Pictures

#: Independent random streams of one seed.
_STREAMS = {"train": 0, "val": 1, "images": 2}
#: Bright and dark RGB of an object, by the light that calls for it: red by yellow light, cyan by blue light.
_TINTS = np.array([[[215, 95, 85], [100, 30, 30]], [[85, 200, 200], [25, 90, 95]]])
_LIGHTS = np.array([[40, 35, -55], [-45, -30, 60]])  #: what a light adds to RGB, yellow and blue
_BRIGHTNESS = (70, 120)  #: of a light, per cent, least and most
_UNEVENNESS = 12  #: of a light, grey levels, least and most


@dataclass(frozen=True)
class PatternedSquare:
    """A square with a pattern."""

    label: int  #: index in `CLASSES`
    light: int  #: the light that makes it count, 0 yellow or 1 blue
    top: int  #: first row, pixels
    left: int  #: first column, pixels
    side: int  #: pixels


@dataclass(frozen=True)
class Picture:
    """One image and what is on it."""

    image: np.ndarray  #: uint8 (side, side, 3), RGB
    light: int  #: 0 yellow or 1 blue
    lit: np.ndarray  #: bool (side, side): the pixels that the light falls on, where no object is
    objects: tuple[PatternedSquare, ...]  #: first the one that names the image

    @property
    def label(self) -> int:
        return self.objects[0].label


def generate(directory: Path) -> None:
    """Write both splits as directories of classes: `<split>/<class>/<split>-<5 digits>.png`.

    A directory that exists is left as it is. The set appears under its name when it is whole, and of two processes
    one generates and the other waits. The pixels are the same on every machine.

    Raises:
        ReproError: the directory cannot be written.
    """

    def write(whole: Path, hashed: DrawingHash) -> None:
        for split, items in (("train", PICTURES.train_images), ("val", PICTURES.val_images)):
            _write_split(whole / split, PICTURES, split, items, hashed)
        hash_samples(PretrainingPictures(PICTURES), hashed)

    write_whole(directory, write)


def draw_picture(pictures: Pictures, split: str, index: int) -> Picture:
    """Draw the image at `index` of a split; classes take turns."""
    rng = np.random.default_rng([pictures.seed, _STREAMS[split], index])
    label, light = index % len(CLASSES), int(rng.integers(2))
    labels = [label]
    if rng.random() < pictures.pairs:  # the second object shows another class
        labels.append((label + int(rng.integers(1, len(CLASSES)))) % len(CLASSES))
    surrounded = split == "images" or (split == "train" and rng.random() < pictures.surrounded)
    on_the_left = bool(rng.integers(2))
    sides = rng.integers(pictures.objects[0], pictures.objects[1] + 1, len(labels)).tolist()
    taken = 0 if surrounded else pictures.lit + pictures.distance
    places = _draw_places(rng, pictures.side, pictures.side - taken, sides)
    first = taken if on_the_left else 0
    objects = tuple(
        PatternedSquare(label, (light + number) % 2, top, first + left, side)
        for number, (label, (top, left), side) in enumerate(zip(labels, places, sides, strict=True))
    )
    lit = np.zeros((pictures.side, pictures.side), dtype=bool)
    if surrounded:
        lit[:] = True
        for square in objects:
            lit[_cover(square, pictures.margin)] = False
    elif on_the_left:
        lit[:, : pictures.lit] = True
    else:
        lit[:, -pictures.lit :] = True
    image = _draw_ground(rng, pictures.side)
    image[lit] += _draw_light(rng, pictures, light)[lit]
    for square in objects:
        dark = draw_pattern(rng, pictures.patterns[square.label], pictures.period, square.side)
        tint = _TINTS[square.light] + rng.integers(-15, 16, (2, 1))
        image[_cover(square)] = tint[dark.astype(int)] + rng.integers(-12, 13, (square.side, square.side, 1))
    return Picture(np.clip(image, 0, 255).astype(np.uint8), light, lit, objects)


class PretrainingPictures:
    """Images that are lit all around their objects. The tags are patterns by the objects' colours, lights, classes."""

    def __init__(self, pictures: Pictures = PICTURES) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return self.pictures.images

    def sample(self, index: int, *, seed: int = 0, epoch: int = 0, train: bool = False) -> tuple[Tensor, Tensor]:
        """Draw the image, uint8 (3, H, W), and its tags, float32 (T,), 0 or 1, whatever the seed and the epoch."""
        drawn = draw_picture(self.pictures, "images", index)
        first_light = 2 * len(CLASSES)
        first_class = first_light + len(_LIGHTS)
        tags = torch.zeros(first_class + len(CLASSES))
        tags[[2 * square.label + square.light for square in drawn.objects]] = 1
        tags[[first_light + drawn.light, first_class + drawn.label]] = 1
        return torch.from_numpy(drawn.image).permute(2, 0, 1).contiguous(), tags


def _cover(square: PatternedSquare, margin: int = 0) -> tuple[slice, slice]:
    """The rows and columns that a square covers, with a margin around it."""
    rows, columns = (slice(max(first - margin, 0), first + square.side + margin) for first in (square.top, square.left))
    return rows, columns


def _write_split(directory: Path, pictures: Pictures, split: str, images: int, hashed: DrawingHash) -> None:
    for name in CLASSES:
        (directory / name).mkdir(parents=True)
    for index in range(images):
        drawn = draw_picture(pictures, split, index)
        name = f"{CLASSES[drawn.label]}/{split}-{index:05d}.png"
        hashed.add(name, drawn.image)
        Image.fromarray(drawn.image).save(directory / name, compress_level=1)


def _draw_ground(rng: np.random.Generator, side: int) -> np.ndarray:
    """int64 (side, side, 3): nearly grey, with some noise."""
    return rng.integers(100, 150) + rng.integers(-6, 7, 3) + rng.integers(-15, 16, (side, side, 1))


def _draw_light(rng: np.random.Generator, pictures: Pictures, light: int) -> np.ndarray:
    """int64 (side, side, 3): what a light adds to the ground, in tiles that differ a little."""
    brightness = rng.integers(_BRIGHTNESS[0], _BRIGHTNESS[1] + 1)
    tiles = -(-pictures.side // pictures.tile)
    uneven = rng.integers(-_UNEVENNESS, _UNEVENNESS + 1, (tiles, tiles, 3))
    colours = _LIGHTS[light] * brightness // 100 + uneven
    return colours.repeat(pictures.tile, axis=0).repeat(pictures.tile, axis=1)[: pictures.side, : pictures.side]


def _draw_places(rng: np.random.Generator, height: int, width: int, sides: list[int]) -> list[tuple[int, int]]:
    """Choose upper left corners (top, left) of squares, within these rows and columns, that do not touch each other."""
    while True:
        places = [(int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))) for side in sides]
        if len(sides) == 1:
            return places
        (top, left), (other_top, other_left) = places
        if max(
            top - other_top - sides[1], other_top - top - sides[0],
            left - other_left - sides[1], other_left - left - sides[0],
        ) >= 2:  # fmt: skip
            return places

"""The mini profile's generated classification set: what an image shows depends on a texture and on the whole image.

One or two square objects lie on a grey ground, each with a pattern; of two, one is red and one is cyan. Marks are
scattered around them, some yellow and some blue. Where there are more yellow marks than blue ones, the class is the
pattern of the red object, otherwise that of the cyan one. Small filters tell patterns apart. Which object counts is
shown by the marks all over the image, and by nothing at the object itself.

Everything is drawn from a `numpy.random.Generator` in integers, or rounded from exactly rounded roots: the same pixels
on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from repro.data.miniature.content import DrawingHash
from repro.data.miniature.whole import write_whole
from repro.experiments.mini.imagenet import CLASSES, PICTURES, Pictures

#: Independent random streams of one seed.
_STREAMS = {"train": 0, "val": 1}
#: Bright and dark RGB of an object, by the cue that calls for it: red by yellow marks, cyan by blue ones.
_TINTS = np.array([[[215, 95, 85], [100, 30, 30]], [[85, 200, 200], [25, 90, 95]]])
_MARKS = np.array([[235, 215, 40], [50, 70, 230]])  #: RGB, by cue


@dataclass(frozen=True)
class PatternedSquare:
    """A square with a pattern."""

    label: int  #: index in `CLASSES`
    cue: int  #: the colour of marks that makes it count
    top: int  #: first row, pixels
    left: int  #: first column, pixels
    side: int  #: pixels


@dataclass(frozen=True)
class Picture:
    """One image and what is on it."""

    image: np.ndarray  #: uint8 (side, side, 3), RGB
    cue: int  #: the colour that most marks have, 0 yellow or 1 blue
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

    write_whole(directory, write)


def draw_picture(pictures: Pictures, split: str, index: int) -> Picture:
    """Draw the image at `index` of a split; classes take turns."""
    rng = np.random.default_rng([pictures.seed, _STREAMS[split], index])
    label, cue = index % len(CLASSES), int(rng.integers(2))
    labels = [label]
    if rng.random() < pictures.pairs:  # the second object shows another class
        labels.append((label + int(rng.integers(1, len(CLASSES)))) % len(CLASSES))
    sides = rng.integers(pictures.objects[0], pictures.objects[1] + 1, len(labels)).tolist()
    places = _draw_places(rng, pictures.side, sides)
    objects = tuple(
        PatternedSquare(label, (cue + number) % 2, *place, side)
        for number, (label, place, side) in enumerate(zip(labels, places, sides, strict=True))
    )
    image = _draw_ground(rng, pictures.side)
    taken = np.zeros(image.shape[:2], dtype=bool)
    for square in objects:
        rows, columns = slice(square.top, square.top + square.side), slice(square.left, square.left + square.side)
        grain, pattern = divmod(square.label, len(pictures.patterns))
        dark = _draw_pattern(rng, pictures.patterns[pattern], pictures.periods[grain], square.side)
        tint = _TINTS[square.cue] + rng.integers(-15, 16, (2, 1))
        image[rows, columns] = tint[dark.astype(int)] + rng.integers(-12, 13, (square.side, square.side, 1))
        taken[rows, columns] = True
    for number, colour in zip(pictures.marks, (cue, 1 - cue), strict=True):
        _scatter_marks(rng, image, taken, number, pictures.mark, _MARKS[colour])
    return Picture(np.clip(image, 0, 255).astype(np.uint8), cue, objects)


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


def _draw_places(rng: np.random.Generator, room: int, sides: list[int]) -> list[tuple[int, int]]:
    """Choose upper left corners (top, left) of squares in a room that do not touch one another."""
    while True:
        places = [tuple(rng.integers(0, room - side + 1, 2).tolist()) for side in sides]
        if len(sides) == 1:
            return places
        (top, left), (other_top, other_left) = places
        if max(
            top - other_top - sides[1], other_top - top - sides[0],
            left - other_left - sides[1], other_left - left - sides[0],
        ) >= 2:  # fmt: skip
            return places


def _draw_pattern(rng: np.random.Generator, name: str, period: int, side: int) -> np.ndarray:
    """bool (side, side): where the pattern is dark."""
    shift_y, shift_x = rng.integers(0, period, 2)
    y, x = np.arange(side)[:, None] + shift_y, np.arange(side)[None, :] + shift_x
    falling, rising = x - y, x + y
    wide, narrow = (lambda coordinate, width=width: coordinate % period < width for width in (period // 2, period // 4))
    drawn = {
        "rows": lambda: wide(y + 0 * x),
        "columns": lambda: wide(x + 0 * y),
        # Either way, as a mirrored image shows the same.
        "diagonals": lambda: wide(falling if rng.integers(2) else rising),
        "checks": lambda: wide(x) ^ wide(y),
        "dots": lambda: wide(x) & wide(y),
        "grid": lambda: narrow(x) | narrow(y),
        "lattice": lambda: narrow(falling) | narrow(rising),
        "rings": lambda: wide(_measure_distances(side) + shift_y),
    }
    return drawn[name]()


def _measure_distances(side: int) -> np.ndarray:
    """int64 (side, side): from the middle, pixels, rounded down."""
    twice = 2 * np.arange(side) - side + 1
    return np.sqrt(twice[:, None] ** 2 + twice[None, :] ** 2).astype(int) // 2


def _scatter_marks(
    rng: np.random.Generator, image: np.ndarray, taken: np.ndarray, number: int, side: int, colour: np.ndarray
) -> None:
    """Draw marks where nothing is."""
    last = len(image) - side
    while number:
        y, x = rng.integers(0, last + 1, 2)
        if not taken[max(y - 1, 0) : y + side + 1, max(x - 1, 0) : x + side + 1].any():
            image[y : y + side, x : x + side] = colour + rng.integers(-15, 16)
            taken[y : y + side, x : x + side] = True
            number -= 1

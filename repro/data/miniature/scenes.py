"""The scenes of the mini profile's generated detection data, drawn.

A scene is a wide strip. A coloured light falls on one end of it; well away from that lie a few grey objects. What an
object is called depends on its shape, which can be seen at its place, and on the colour of the light, which cannot: the
lit end is at least `Scenes.distance` pixels away. Nothing near an object tells the colour, so that a detector names
objects better than by guessing only if it carries information across the image. Other scenes are lit from end to end:
in them a detector learns what objects are called in which light, without any context.

Everything is drawn from a `numpy.random.Generator` in integers or rounded to them: the same pixels on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from repro.data.miniature.drawing import Point, draw_ground
from repro.experiments.mini.coco import Scenes

Box = tuple[int, int, int, int]

#: Independent random streams of one seed.
_STREAMS = {"train2017": 0, "val2017": 1, "classification": 2, "trainlit2017": 3}
_TILT = 0.2  #: radians, to either side
_PLACES = 30  #: number of places that are tried for an object before it is left out
_CROWD_SIDE = 7  #: side of each member of a crowd, pixels
_WHEEL = 1536  #: hues, in whole steps: six slopes of 256


@dataclass(frozen=True)
class SceneObject:
    """An object of a scene, or (several polygons) a crowd."""

    shape: int  #: index in `Scenes.shapes`
    polygons: tuple[tuple[Point, ...], ...]  #: corners, whole pixels (x, y), each pixel included
    box: Box  #: first and last column and row: (x1, y1, x2, y2), inclusive
    crowd: bool = False

    def mask(self, height: int, width: int) -> np.ndarray:
        """bool (height, width): the pixels that the object covers."""
        canvas = Image.new("1", (width, height))
        draw = ImageDraw.Draw(canvas)
        for polygon in self.polygons:
            draw.polygon(polygon, fill=1)
        return np.asarray(canvas)


@dataclass(frozen=True)
class Scene:
    """One image and what is on it."""

    image: np.ndarray  #: uint8 (height, width, 3), RGB
    light: int  #: index in `Scenes.lights`
    lit: tuple[int, int]  #: first and last column that the light falls on
    things: tuple[SceneObject, ...]


def draw_scene(
    rng: np.random.Generator,
    scenes: Scenes,
    width: int,
    distance: int | None,
    objects: tuple[int, int],
    crowds: float,
) -> Scene:
    """Draw a scene of the set `scenes`.

    Args:
        width: of the image, pixels.
        distance: from the lit columns to the nearest object, columns of pixels; None: all columns are lit.
        objects: least and greatest number of objects.
        crowds: probability of a crowd.
    """
    height = scenes.height
    light = int(rng.integers(len(scenes.lights)))
    on_the_left = bool(rng.integers(2))
    ground = draw_ground(rng, height, width, noise=12).astype(np.int64)
    colours = _draw_light(rng, scenes, light, width)
    if distance is None:
        lit, free = (0, width - 1), (0, width - 1)
    elif on_the_left:
        lit, free = (0, scenes.lit - 1), (scenes.lit + distance, width - 1)
    else:
        lit, free = (width - scenes.lit, width - 1), (0, width - 1 - scenes.lit - distance)
    ground[:, lit[0] : lit[1] + 1] += colours[:, lit[0] : lit[1] + 1]
    image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    canvas = ImageDraw.Draw(image)

    things: list[SceneObject] = []
    if rng.random() < crowds:
        _add_if_free(things, _draw_crowd(rng, scenes, free))
    for _ in range(int(rng.integers(objects[0], objects[1] + 1))):
        shape = int(rng.integers(len(scenes.shapes)))
        low, high = (math.log(side) for side in scenes.sides)
        side = round(math.exp(rng.uniform(low, high)))
        for _ in range(_PLACES):
            if _add_if_free(things, _draw_object(rng, scenes, shape, side, free)):
                break
    for thing in things:
        grey = int(rng.integers(25, 65) if rng.integers(2) else rng.integers(215, 256))  # in contrast to the ground
        for polygon in thing.polygons:
            canvas.polygon(polygon, fill=(grey, grey, grey))
    return Scene(np.asarray(image), light, lit, tuple(things))


def _draw_light(rng: np.random.Generator, scenes: Scenes, light: int, width: int) -> np.ndarray:
    """int64 (height, width, 3): what a light adds to the ground, in tiles that differ a little in hue."""
    sector = _WHEEL // len(scenes.lights)
    reach = int(scenes.spread * sector) // 2
    hue = light * sector + sector // 2 + int(rng.integers(-reach, reach + 1))
    tiles = -(-scenes.height // scenes.tile), -(-width // scenes.tile)
    jitter = rng.integers(-scenes.jitter, scenes.jitter + 1, (2, *tiles)).sum(axis=0)
    colours = _mix_hue(hue + jitter) - 128
    colours = colours * scenes.amplitude // 128
    return colours.repeat(scenes.tile, axis=0).repeat(scenes.tile, axis=1)[: scenes.height, :width]


def _mix_hue(hue: np.ndarray) -> np.ndarray:
    """RGB (..., 3), 0..255, of saturated hues in steps of the wheel: red at 0, green at a third of it."""
    offsets = np.array([0, _WHEEL // 3, 2 * _WHEEL // 3])
    away = np.abs((hue[..., None] - offsets + _WHEEL // 2) % _WHEEL - _WHEEL // 2)
    return (512 - away).clip(0, 255)


def draw_detection_scene(scenes: Scenes, split: str, index: int) -> Scene:
    """Draw the image at `index` of a split of the detection set; those of "trainlit2017" are lit from end to end."""
    rng = np.random.default_rng([scenes.seed, _STREAMS[split], index])
    distance = None if split == "trainlit2017" else scenes.distance
    return draw_scene(rng, scenes, scenes.width, distance, scenes.objects, scenes.crowds)


def draw_classification_scene(scenes: Scenes, index: int) -> Scene:
    """Draw the image at `index` of the classification set: as in ImageNet, of one object."""
    rng = np.random.default_rng([scenes.seed, _STREAMS["classification"], index])
    return draw_scene(rng, scenes, scenes.classification_width, scenes.classification_distance, (1, 1), crowds=0)


def _trace_outline(shape: str, side: int, tilt: float) -> list[tuple[float, float]]:
    """The corners around (0, 0), of a shape about `side` pixels wide and high."""
    if shape == "cross":
        outer, inner = side / 2, side / 6
        corners = [(inner, -outer), (inner, -inner), (outer, -inner)]
        corners = [p for quarter in range(4) for p in (_turn(corner, quarter * math.pi / 2) for corner in corners)]
    else:
        count, radius = {"disc": (16, 0.5), "triangle": (3, 0.6)}[shape]
        corners = [_turn((0, -radius * side), 2 * math.pi * k / count) for k in range(count)]
    return [_turn(corner, tilt) for corner in corners]


def _turn(point: tuple[float, float], angle: float) -> tuple[float, float]:
    x, y = point
    return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)


def _place(outline: list[tuple[float, float]], x: float, y: float) -> tuple[Point, ...]:
    return tuple((round(x + dx), round(y + dy)) for dx, dy in outline)


def _find_box(polygons: tuple[tuple[Point, ...], ...]) -> Box:
    xs, ys = zip(*(point for polygon in polygons for point in polygon), strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _draw_object(
    rng: np.random.Generator, scenes: Scenes, shape: int, side: int, columns: tuple[int, int]
) -> SceneObject | None:
    """Draw an object somewhere in `columns` (first and last); None where it does not fit."""
    outline = _trace_outline(scenes.shapes[shape], side, rng.uniform(-_TILT, _TILT))
    polygon = _place(outline, rng.uniform(*columns), rng.uniform(0, scenes.height))
    return _keep_if_inside(SceneObject(shape, (polygon,), _find_box((polygon,))), columns, scenes.height)


def _draw_crowd(rng: np.random.Generator, scenes: Scenes, columns: tuple[int, int]) -> SceneObject | None:
    """Draw six to nine objects of one shape, too small to be told apart, on a grid with gaps."""
    shape = int(rng.integers(len(scenes.shapes)))
    x, y = rng.uniform(*columns), rng.uniform(0, scenes.height)
    cells = rng.permutation(12)[: int(rng.integers(6, 10))].tolist()
    outline = _trace_outline(scenes.shapes[shape], _CROWD_SIDE, 0)
    step = _CROWD_SIDE + 3
    polygons = tuple(_place(outline, x + cell % 4 * step, y + cell // 4 * step) for cell in sorted(cells))
    return _keep_if_inside(SceneObject(shape, polygons, _find_box(polygons), crowd=True), columns, scenes.height)


def _keep_if_inside(thing: SceneObject, columns: tuple[int, int], height: int) -> SceneObject | None:
    x1, y1, x2, y2 = thing.box
    return thing if columns[0] <= x1 and x2 <= columns[1] and y1 >= 0 and y2 < height else None


def _add_if_free(things: list[SceneObject], thing: SceneObject | None) -> bool:
    """Add an object, unless there is none or it comes within two pixels of another; return whether it was added."""
    if thing is None:
        return False
    x1, y1, x2, y2 = thing.box
    for other in things:
        if x1 <= other.box[2] + 2 and other.box[0] <= x2 + 2 and y1 <= other.box[3] + 2 and other.box[1] <= y2 + 2:
            return False
    things.append(thing)
    return True

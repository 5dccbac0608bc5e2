"""The scenes of the mini profile's generated detection data, drawn.

A scene is a wide strip. At one end of it hangs a lamp; well away from the lamp lie a few objects. What an object
is called depends on its shape, which can be seen at its place, and on the colour of the lamp, which cannot: the lamp is
at least `Scenes.distance` pixels away. Nothing near an object tells the lamp's colour, so that a detector names objects
better than by guessing only if it carries information across the image.

Everything is drawn from a `numpy.random.Generator` in integers or rounded to them: the same pixels on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from repro.data.miniature.drawing import Point, draw_colour, draw_ground
from repro.experiments.mini.coco import Scenes

Box = tuple[int, int, int, int]

#: Independent random streams of one seed.
_STREAMS = {"train2017": 0, "val2017": 1, "classification": 2}
_TILT = 0.2  #: radians, to either side
_PLACES = 30  #: number of places that are tried for an object before it is left out
_CROWD_SIDE = 7  #: side of each member of a crowd, pixels
_SPREAD = 0.03  #: largest deviation of a hue


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
    cue: int  #: index in `Scenes.cues`
    lamp: Point  #: centre of the lamp, pixels (x, y)
    things: tuple[SceneObject, ...]


def draw_scene(
    rng: np.random.Generator, scenes: Scenes, width: int, distance: int, objects: tuple[int, int], crowds: float
) -> Scene:
    """Draw a scene of the set `scenes`.

    Args:
        width: of the image, pixels.
        distance: from the lamp to the nearest object, columns of pixels.
        objects: least and greatest number of objects.
        crowds: probability of a crowd.
    """
    height, half = scenes.height, scenes.lamp // 2
    image = Image.fromarray(draw_ground(rng, height, width, noise=12))
    canvas = ImageDraw.Draw(image)
    cue = int(rng.integers(len(scenes.cues)))
    on_the_left = bool(rng.integers(2))
    column = int(rng.integers(half + 1, scenes.lamp_zone - half))
    lamp = (column if on_the_left else width - 1 - column, int(rng.integers(half + 1, height - half - 1)))
    around = [lamp[0] - half, lamp[1] - half, lamp[0] + half, lamp[1] + half]
    canvas.ellipse(around, fill=draw_colour(rng, scenes.cue_hues[cue], _SPREAD, (0.8, 1), (0.8, 1)))
    start = column + half + 1 + distance
    columns = (start, width - 1) if on_the_left else (0, width - 1 - start)

    things: list[SceneObject] = []
    if rng.random() < crowds:
        _add_if_free(things, _draw_crowd(rng, scenes, columns))
    for _ in range(int(rng.integers(objects[0], objects[1] + 1))):
        shape = int(rng.integers(len(scenes.shapes)))
        low, high = (math.log(side) for side in scenes.sides)
        side = round(math.exp(rng.uniform(low, high)))
        for _ in range(_PLACES):
            if _add_if_free(things, _draw_object(rng, scenes, shape, side, columns)):
                break
    for thing in things:
        hue = scenes.object_hues[int(rng.integers(len(scenes.object_hues)))]
        value = (0.1, 0.25) if rng.integers(2) else (0.85, 1)  # in clear contrast to the background
        colour = draw_colour(rng, hue, _SPREAD, (0.1, 0.35), value)
        for polygon in thing.polygons:
            canvas.polygon(polygon, fill=colour)
    return Scene(np.asarray(image), cue, lamp, tuple(things))


def draw_detection_scene(scenes: Scenes, split: str, index: int) -> Scene:
    """Draw the image at `index` of a split of the detection set."""
    rng = np.random.default_rng([scenes.seed, _STREAMS[split], index])
    return draw_scene(rng, scenes, scenes.width, scenes.distance, scenes.objects, scenes.crowds)


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

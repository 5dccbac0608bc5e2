"""Pictures of what a detector found: boxes and masks, and where its context blocks look. The same input, same bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
import torch
from faster_coco_eval.core import mask as rle
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, hsv_to_rgb
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from repro.data.given_files import PHOTOGRAPH_FORMATS
from repro.data.pictures import read_upright
from repro.inference.attention_maps import AttentionMap
from repro.inference.prediction import Found

#: Detectors pad pictures with zeros to multiples of it.
_DIVISOR = 32
_LEGIBLE = 320  #: pixels that the shorter side of a picture with boxes has at least
_FONT = str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
_COLUMNS, _SIDE = 3, 3.2  #: maps beside each other; inches of the longer side of each
_GOLDEN = 0.618034  #: of the wheel of hues, from one label's colour to the next one's


def draw_detections(found: Found, threshold: float) -> bytes:
    """Draw boxes, masks, categories and scores of those detections whose score is at least `threshold`: a PNG.

    Raises:
        UnreadableImage: the picture cannot be read any more.
    """
    picture = torch.from_numpy(np.array(_read(found.path))).permute(2, 0, 1)
    times = math.ceil(_LEGIBLE / min(picture.shape[1:]))
    picture, detections = _enlarge(picture, times), found.detections
    shown = np.flatnonzero(detections.scores >= threshold)[::-1]  # the best is drawn last, above the others
    labels = detections.labels[shown].tolist()
    if labels:
        colours = [_choose_colour(label) for label in labels]
        names = [f"{found.categories[i].name} {detections.scores[n]:.2f}" for i, n in zip(labels, shown, strict=True)]
        masks = torch.from_numpy(rle.decode([detections.masks[n] for n in shown]).astype(bool)).permute(2, 0, 1)
        picture = draw_segmentation_masks(picture, _enlarge(masks, times), alpha=0.45, colors=colours)
        boxes = _clip(times * torch.from_numpy(detections.boxes[shown]), picture)
        side = min(picture.shape[1:])
        picture = draw_bounding_boxes(
            picture, boxes, names, colours, width=max(2, side // 250), font=_FONT, font_size=max(12, side // 35),
            label_colors="black", label_background_colors=colours, fill_labels=True,
        )  # fmt: skip
    return _save_png(picture)


def draw_attention(found: Found, maps: Mapping[str, AttentionMap]) -> bytes:
    """Draw the map of each block over the picture in grey, each on a scale of its own from 0 on: a PNG."""
    picture = _read(found.path)
    grey = np.array(picture.convert("L"))
    height, width = grey.shape
    scale = _SIDE / max(height, width)
    columns = min(_COLUMNS, len(maps))
    rows = math.ceil(len(maps) / columns)
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, "font.size": 7}):
        figure = Figure(figsize=(columns * width * scale, rows * (height * scale + 0.3)), layout="compressed")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False).flatten()
        for axis, drawn in zip(axes, maps.values(), strict=False):
            weights = drawn.weights.numpy()
            shades = ScalarMappable(Normalize(min(0.0, float(weights.min())), float(weights.max()) or 1.0), "YlGnBu")
            colours = shades.to_rgba(weights)
            colours[..., 3] = 0.1 + 0.65 * np.asarray(shades.norm(weights))
            axis.imshow(grey, extent=(0, width, height, 0), cmap="gray", vmin=-128, vmax=255)
            axis.imshow(colours, extent=_find_extent(drawn, found), interpolation="nearest")
            axis.set(xlim=(0, width), ylim=(height, 0))
            axis.set_title(f"{drawn.block}{f' (mean of {drawn.queries} queries)' if drawn.queries > 1 else ''}")
        for axis in axes:
            axis.set_axis_off()
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=150, metadata={"Software": None})
    return content.getvalue()


def _find_extent(drawn: AttentionMap, found: Found) -> tuple[float, float, float, float]:
    """Where a map lies on the picture: left, right, bottom and top, in pixels of the picture."""
    sides = []
    for share, own, resized in zip(drawn.cover, found.size, found.resized, strict=True):
        padded = math.ceil(resized / _DIVISOR) * _DIVISOR
        sides.append(share * own * padded / resized)
    return 0, sides[1], sides[0], 0


def _read(path: Path) -> Image.Image:
    return read_upright(path, path.name, PHOTOGRAPH_FORMATS)


def _choose_colour(label: int) -> tuple[int, int, int]:
    red, green, blue = (round(255 * value) for value in hsv_to_rgb((label * _GOLDEN % 1, 0.75, 0.95)))
    return red, green, blue


def _enlarge(values: Tensor, times: int) -> Tensor:
    """Repeat each pixel of (n, H, W) so many times along both sides: lines and letters have to be seen beside it."""
    return values.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2)


def _clip(boxes: Tensor, picture: Tensor) -> Tensor:
    """Clip boxes to the picture's pixels, where some frameworks' reach beyond it."""
    height, width = picture.shape[1:]
    left, top, right, bottom = boxes.unbind(1)
    left, top = left.clamp(0, width - 1), top.clamp(0, height - 1)
    right, bottom = right.clamp(max=width - 1).maximum(left), bottom.clamp(max=height - 1).maximum(top)
    return torch.stack([left, top, right, bottom], dim=1)


def _save_png(picture: Tensor) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(content, "PNG")
    return content.getvalue()

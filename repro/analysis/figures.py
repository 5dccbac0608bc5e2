"""Figures 1 and 2: attention maps of several query positions of an image, and more than the paper shows of them.

The paper draws three query positions of an image and their maps. Here all maps of an image have one colour scale, so
that they look alike only if they are alike. Figure 2 also shows all positions at once: the matrix of the distances
between their maps, and the distributions of the distances of input, output and maps.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from repro.analysis.attention import Observation
from repro.engine.arithmetic import use_float32
from repro.errors import ReproError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Query positions of Figures 1 and 2 as fractions of the image's (height, width): fixed, so that none is picked.
QUERIES = ((0.25, 0.2), (0.5, 0.5), (0.75, 0.8))
#: Most positions of the regular grid between which distances are shown.
_GRID = 160
_STYLE = {
    "font.size": 7,
    "font.family": "DejaVu Sans",
    "axes.linewidth": 0.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "axes.titlesize": 7,
    "axes.titlepad": 3,
    "legend.frameon": False,
    "pdf.fonttype": 42,
}
_WIDTH = 7.2  #: inches, both columns of a page
_RED = "#e2001a"
_KINDS = {"input": "#0072b2", "output": "#e69f00", "att": "#000000"}


@dataclass(frozen=True)
class Panel:
    """The data of one image, or of a frame of a clip, for Figures 1 and 2."""

    image: np.ndarray  #: uint8 (H, W, 3)
    points: np.ndarray  #: (Q, 2): centres of the query positions, (x, y) in pixels
    maps: np.ndarray  #: (Q, h, w): the rows of the attention map at these positions, on the grid of the keys
    extent: tuple[float, float, float, float]  #: of the maps: left, right, bottom, top in pixels
    grid: tuple[int, int]  #: rows and columns of the positions between which distances were taken
    matrix: np.ndarray  #: (G, G): distances between their maps, row after row of the grid
    measure: str  #: what `matrix` holds: "JSD" or "cosine distance"
    distances: dict[str, np.ndarray]  #: (G (G - 1) / 2,): cosine distances of the pairs, of input, output and att


@use_float32()
@torch.no_grad()
def build_panel(pixels: Tensor, observation: Observation) -> Panel:
    """Build the panel of an image, uint8 (3, H, W), from the observation of a block.

    Query positions and the grid lie in the image, not in its padding, where keys may lie. Of a clip, (3, T, H, W), the
    frame in the middle is drawn: positions in it, and the weights of their maps on the keys in it.

    Raises:
        ReproError: the observation is of an image and `pixels` are a clip, or the other way round; or the keys lie
            on no grid over the image.
    """
    if observation.input.dim() != pixels.dim():
        kinds = ["a clip" if values.dim() == 4 else "an image" for values in (observation.input, pixels)]
        raise ReproError(
            f"block {observation.block} was called with a map of {kinds[0]}, and {kinds[1]} is to be drawn"
        )
    image, frames, moment = pixels, 1, 0
    if pixels.dim() == 4:
        frames = observation.input.shape[1]
        moment = frames // 2
        image = pixels[:, (2 * moment + 1) * pixels.shape[1] // (2 * frames)]
    height, width = image.shape[1:]
    positions = observation.input.shape[-2], observation.input.shape[-1]
    # An image was padded to multiples of 32; every stride of a backbone divides that. A clip was not.
    whole = (height, width) if pixels.dim() == 4 else [-(-side // 32) * 32 for side in (height, width)]
    stride = [side / count for side, count in zip(whole, positions, strict=True)]
    inside = [math.ceil(side / pitch) for side, pitch in zip((height, width), stride, strict=True)]
    queries = [(int(down * inside[0]), int(across * inside[1])) for down, across in QUERIES]
    step = _choose_step(inside)
    axes = [np.arange(n % step // 2 if n % step else step // 2, n, step) for n in inside]
    grid = [(int(i), int(j)) for i in axes[0] for j in axes[1]]
    first = moment * math.prod(positions)
    chosen = torch.tensor([first + i * positions[1] + j for i, j in [*queries, *grid]])
    rows = _select_rows(observation, chosen)
    keys, scale = _find_key_grid(positions, rows.shape[1], frames)
    of_grid = slice(len(queries), None)
    vectors = {
        "input": observation.input.flatten(1).T[chosen[of_grid]].double(),
        "output": observation.output.flatten(1).T[chosen[of_grid]].double(),
        "att": rows[of_grid].double(),
    }
    cosines = {kind: _compute_cosine_matrix(value) for kind, value in vectors.items()}
    upper = np.triu_indices(len(grid), 1)
    return Panel(
        image=image.permute(1, 2, 0).numpy(),
        points=np.array([((j + 0.5) * stride[1], (i + 0.5) * stride[0]) for i, j in queries]),
        maps=rows[: len(queries)].unflatten(1, (frames, *keys))[:, moment].double().numpy(),
        extent=(0, keys[1] * scale * stride[1], keys[0] * scale * stride[0], 0),
        grid=(len(axes[0]), len(axes[1])),
        matrix=_compute_divergence_matrix(vectors["att"]) if observation.distributions else cosines["att"],
        measure="JSD" if observation.distributions else "cosine distance",
        distances={kind: matrix[upper] for kind, matrix in cosines.items()},
    )


def draw_figure1(panel: Panel) -> Figure:
    """Draw Figure 1: the maps of several query positions of one image, side by side."""
    with _use_style():
        count = len(panel.maps)
        gap, bar, margin = 0.05, 0.45, 0.05
        side = (_WIDTH - bar - gap * (count - 1)) / count
        cells = min(panel.image.shape[0] / panel.image.shape[1], 1.25) * side
        page = _Page(_WIDTH, cells + 2 * margin)
        for index in range(count):
            axis = page.axes(index * (side + gap), margin, side, cells)
            drawn = _draw_heat_map(axis, panel, index)
        _draw_colour_bar(page, drawn, axis)
        return page.figure


def draw_figure2(panels: Sequence[Panel]) -> Figure:
    """Draw Figure 2: a row for each image, with the query points, their maps, distance matrix and distributions."""
    with _use_style():
        cell, gap, square, head, foot = 1.02, 0.05, 0.84, 0.2, 0.3
        heights = [max(min(panel.image.shape[0] / panel.image.shape[1], 1) * cell, square) for panel in panels]
        tops = [head + sum(heights[:row]) + 0.2 * row for row in range(len(panels))]
        page = _Page(_WIDTH, tops[-1] + heights[-1] + foot)
        limit = max(float(panel.matrix.max()) for panel in panels)
        for panel, top, height in zip(panels, tops, heights, strict=True):
            axes = [page.axes(column * (cell + gap), top, cell, height) for column in range(len(panel.maps) + 1)]
            _draw_photograph(axes[0], panel)
            for index, axis in enumerate(axes[1:]):
                drawn = _draw_heat_map(axis, panel, index)
            _draw_colour_bar(page, drawn, axes[-1])
            middle = top + (height - square) / 2
            matrix = page.axes(4.61, middle, square, square)
            _draw_colour_bar(page, _draw_matrix(matrix, panel, limit), matrix)
            distribution = page.axes(6.12, middle, 1.0, square)
            _draw_distribution(distribution, panel)
            if panel is panels[0]:
                distribution.legend(fontsize=5, loc="upper right", handlelength=1, borderaxespad=0, labelspacing=0.2)
                names = ["query positions", *(f"attention of {i + 1}" for i in range(len(panel.maps)))]
                for name, axis in zip(
                    [*names, f"{panel.measure} of maps", "distances of pairs"],
                    [*axes, matrix, distribution],
                    strict=True,
                ):
                    page.title(name, axis)
        distribution.set_xlabel("cosine distance", fontsize=5, labelpad=1)
        return page.figure


def save(figure: Figure) -> dict[str, bytes]:
    """Save the figure as PNG and PDF: the content of the files by suffix, the same bytes for the same data."""
    with _use_style():
        files = {}
        for suffix, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
            file = io.BytesIO()
            figure.savefig(file, format=suffix, dpi=300, metadata=metadata)
            files[suffix] = file.getvalue()
        return files


def _use_style():
    """Use only the settings of these figures, whatever the user's own are."""
    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE})


class _Page:
    """A figure on which places are given in inches from the top left."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width, height))
        FigureCanvasAgg(self.figure)
        self.width, self.height = width, height

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = self.height - top - height
        return self.figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))

    def beside(self, axis: Axes, distance: float, width: float) -> Axes:
        """Axes to the right of what is drawn in `axis`, and as high."""
        axis.apply_aspect()
        box = axis.get_position()
        return self.figure.add_axes((box.x1 + distance / self.width, box.y0, width / self.width, box.height))

    def title(self, text: str, axis: Axes) -> None:
        axis.apply_aspect()
        box = axis.get_position(original=True)
        self.figure.text((box.x0 + box.x1) / 2, 1 - 0.02 / self.height, text, ha="center", va="top", fontsize=6.5)


def _remove_frame(axis: Axes, panel: Panel) -> None:
    height, width = panel.image.shape[:2]
    axis.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], aspect="equal", anchor="C")
    axis.spines[:].set_visible(False)


def _draw_photograph(axis: Axes, panel: Panel) -> None:
    height, width = panel.image.shape[:2]
    axis.imshow(panel.image, extent=(0, width, height, 0), interpolation="antialiased")
    _remove_frame(axis, panel)
    for index, (x, y) in enumerate(panel.points):
        _draw_point(axis, x, y)
        axis.annotate(
            str(index + 1), (x, y), xytext=(4, 0), textcoords="offset points", color="white", fontsize=6,
            fontweight="bold", va="center", path_effects=[withStroke(linewidth=1.2, foreground="black")],
        )  # fmt: skip


def _draw_heat_map(axis: Axes, panel: Panel, index: int) -> ScalarMappable:
    """Draw the map of one query position over the image in grey, on the scale of all maps of the image.

    The scale begins at 0, so that a colour is the same multiple of another as the weights are.
    """
    height, width = panel.image.shape[:2]
    grey = panel.image @ np.array([0.299, 0.587, 0.114])
    axis.imshow(grey, extent=(0, width, height, 0), cmap="gray", vmin=-128, vmax=255, interpolation="antialiased")
    scale = ScalarMappable(Normalize(min(0, panel.maps.min()), panel.maps.max()), "YlGnBu")
    colours = scale.to_rgba(panel.maps[index])
    colours[..., 3] = 0.1 + 0.65 * np.asarray(scale.norm(panel.maps[index]))
    axis.imshow(colours, extent=panel.extent, interpolation="nearest")
    _remove_frame(axis, panel)
    _draw_point(axis, *panel.points[index])
    return scale


def _draw_point(axis: Axes, x: float, y: float) -> None:
    axis.plot(x, y, "o", color=_RED, markersize=4, markeredgecolor="white", markeredgewidth=0.6, clip_on=False)


def _draw_colour_bar(page: _Page, drawn: ScalarMappable, beside: Axes) -> None:
    bar = page.figure.colorbar(drawn, cax=page.beside(beside, 0.04, 0.045), ticks=MaxNLocator(3))
    bar.ax.tick_params(labelsize=5, pad=1)
    bar.outline.set_linewidth(0.4)


def _draw_matrix(axis: Axes, panel: Panel, limit: float) -> ScalarMappable:
    drawn = axis.imshow(panel.matrix, cmap="viridis", vmin=0, vmax=limit, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.set_xlabel(f"{panel.grid[0]}×{panel.grid[1]} positions", fontsize=5, labelpad=1.5)
    axis.spines[:].set_linewidth(0.4)
    return drawn


def _draw_distribution(axis: Axes, panel: Panel) -> None:
    """Draw histograms, with their means (Table 1's statistics without the diagonal) as triangles above."""
    bins = np.linspace(0, 1, 51).tolist()
    for kind, values in panel.distances.items():
        share = np.full(len(values), 100 / len(values))
        axis.hist(values, bins, weights=share, histtype="stepfilled", color=_KINDS[kind], alpha=0.15)
        axis.hist(values, bins, weights=share, histtype="step", color=_KINDS[kind], linewidth=0.7, label=kind)
        axis.plot(values.mean(), 160, "v", color=_KINDS[kind], markersize=3, markeredgewidth=0, clip_on=False)
    axis.set(xlim=(0, 1), xticks=[0, 0.5, 1], yscale="log", ylim=(0.03, 100), yticks=[0.1, 1, 10, 100])
    axis.set_yticklabels(["0.1", "1", "10", "100"])
    axis.set_ylabel("% of pairs", fontsize=5, labelpad=0)
    axis.tick_params(labelsize=5, pad=1, which="both")
    axis.minorticks_off()
    axis.spines[["top", "right"]].set_visible(False)


def _choose_step(inside: Sequence[int]) -> int:
    """Choose the spacing of the densest regular grid of at most `_GRID` positions."""
    step = 1
    while math.prod(-(-n // step) for n in inside) > _GRID:
        step += 1
    return step


def _select_rows(observation: Observation, chosen: Tensor) -> Tensor:
    """Select rows of the map: (len(chosen), M)."""
    row_of: dict[int, Tensor] = {}
    wanted, start = set(chosen.tolist()), 0
    for block in observation.rows:
        row_of.update((i, block[i - start].cpu()) for i in wanted if start <= i < start + len(block))
        start += len(block)
    if missing := wanted - row_of.keys():
        raise ReproError(f"block {observation.block} has no attention map for position {min(missing)}")
    return torch.stack([row_of[i] for i in chosen.tolist()])


def _find_key_grid(positions: tuple[int, int], keys: int, frames: int) -> tuple[tuple[int, int], int]:
    """Find the grid on which the M keys of each frame lie, and the number of positions of a key along a side."""
    for scale in range(1, min(positions) + 1):
        grid = (positions[0] // scale, positions[1] // scale)
        if math.prod(grid) * frames == keys:
            return grid, scale
    over = f"{frames} x " if frames > 1 else ""
    raise ReproError(f"{keys} keys lie on no grid over {over}{positions[0]} x {positions[1]} positions")


def _compute_cosine_matrix(vectors: Tensor) -> np.ndarray:
    lengths = vectors.norm(dim=1, keepdim=True)
    units = vectors / lengths.clamp(min=torch.finfo(torch.float64).tiny)
    # |a - b|^2 / 4 keeps the digits of nearly parallel vectors, which (1 - a b) / 2 loses.
    squares = torch.cdist(units, units, compute_mode="donot_use_mm_for_euclid_dist").square() / 4
    zero = (lengths == 0).flatten()
    squares[zero] = squares[:, zero] = 0.5
    return squares.cpu().numpy()


def _compute_divergence_matrix(rows: Tensor) -> np.ndarray:
    entropies = torch.special.entr(rows).sum(dim=1)
    matrix = torch.stack(
        [torch.special.entr((row + rows) / 2).sum(dim=1) - (entropy + entropies) / 2
         for row, entropy in zip(rows, entropies, strict=True)]
    )  # fmt: skip
    return matrix.clamp(min=0).cpu().numpy()

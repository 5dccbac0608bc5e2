"""Curves of trainings: losses, gradient, learning rate, speed and evaluations over the iterations, seeds together."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from repro.engine.log_rows import EVALUATION, LOG, LogRows, Row, read_rows
from repro.errors import ReproError
from repro.files.places import is_there, list_directory, read_state
from repro.paper import COLUMNS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours that colour-blind people tell apart (Okabe and Ito); further curves are dashed.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES = ("-", "--", ":", "-.")
_STYLE: dict[Any, Any] = {
    "font.size": 8, "font.family": "DejaVu Sans", "axes.linewidth": 0.6, "axes.titlesize": 8,
    "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "legend.frameon": False,
    "svg.fonttype": "none", "svg.hashsalt": "curves",
}  # fmt: skip
_POINTS = 300  #: of a line at most: more are not seen, and make a page heavy
_SMOOTH = 40  #: a loss is shown as the mean over this part of a training


@dataclass(frozen=True)
class TrainingLog:
    """The log of one training that is kept here."""

    experiment: str
    profile: str
    seed: int
    key: str  #: the first digits of the training's
    rows: LogRows


def find_logs(results: Path, experiments: Collection[str] = (), profile: str | None = None) -> list[TrainingLog]:
    """Find the trainings below a directory of results, running or finished, in the order of name and seed.

    Of several trainings of one experiment and seed, as by other options, the one that was logged last is taken.

    Args:
        experiments: only these; all, if there are none.
        profile: only of this one.
    """
    newest: dict[tuple[str, str, int], tuple[float, Path]] = {}
    runs = results / "runs"
    for directory in list_directory(runs) if is_there(runs) else []:
        parts = directory.name.rsplit(".", 3)
        if len(parts) != 4 or not re.fullmatch(r"seed\d+", parts[2]) or not is_there(directory / LOG):
            continue
        name, of, seed = parts[0], parts[1], int(parts[2].removeprefix("seed"))
        if (experiments and name not in experiments) or (profile and of != profile):
            continue
        written = read_state(directory / LOG).st_mtime
        known = newest.get((name, of, seed))
        if known is None or (written, directory.name) > (known[0], known[1].name):
            newest[name, of, seed] = written, directory
    return [
        TrainingLog(*identity, directory.name.rsplit(".", 1)[1], read_rows(directory))
        for identity, (_, directory) in sorted(newest.items())
    ]


def draw_curves(logs: Sequence[TrainingLog], columns: int = 3) -> Figure:
    """Draw the curves of these trainings: a colour for each experiment, a thin line for each seed, their mean bold.

    Of a single experiment its loss terms are drawn, too.

    Raises:
        ReproError: nothing has been logged yet.
    """
    by_experiment: dict[str, list[TrainingLog]] = defaultdict(list)
    for log in logs:
        if log.rows.training:
            by_experiment[f"{log.experiment} ({log.profile})"].append(log)
    if not by_experiment:
        raise ReproError("nothing has been logged yet: no training has finished an iteration")
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE}):
        panels = _choose_panels(by_experiment)
        columns = min(columns, len(panels))
        lines = -(-len(panels) // columns)
        figure = Figure(figsize=(3.2 * columns, 2.3 * lines + 0.2 + 0.18 * len(by_experiment)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(lines, columns, squeeze=False).flatten()
        for axis, (title, names, smooth) in zip(axes, panels, strict=False):
            axis.set_title(title)
            for number, group in enumerate(by_experiment.values()):
                for term, name in enumerate(names):
                    style = _choose_style(number + term)
                    _draw_group(axis, [_collect(log.rows, name) for log in group], style, smooth)
                    if len(names) > 1:
                        axis.plot([], [], **style, label=name.removeprefix("loss_"))
            if len(names) > 1:
                axis.legend(fontsize=6, handlelength=1.2)
            axis.set_xlabel("iteration")
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axis.grid(alpha=0.25, linewidth=0.5)
            axis.margins(x=0.02)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        for number, (label, group) in enumerate(by_experiment.items()):
            seeds = f"seed {group[0].seed}" if len(group) == 1 else f"mean of {len(group)} seeds"
            axes[0].plot([], [], **_choose_style(number), label=f"{label}, {seeds}")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", fontsize=8)
        return figure


def write_svg(figure: Figure, name: str, description: str) -> str:
    """A figure as SVG that can stand in an HTML page: its ids begin with `name`, no two figures' are the same."""
    buffer = io.StringIO()
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE}):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    prefix = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    text = re.sub(r'(?<=\bid=")', f"{prefix}-", text)
    text = re.sub(r'(?<=url\(#)|(?<=href="#)', f"{prefix}-", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)


def write_png(figure: Figure) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


def _choose_panels(groups: dict[str, list[TrainingLog]]) -> list[tuple[str, list[str], bool]]:
    """(title, columns of the log, whether they are smoothed) of each plot: what at least one training has."""
    logs = [log for group in groups.values() for log in group]
    known = dict.fromkeys(name for log in logs for row in log.rows.training for name in row)
    terms = [name for name in known if name.startswith("loss_")]
    panels: list[tuple[str, list[str], bool]] = [("loss", ["loss"], True)]
    if len(groups) == 1 and len(terms) > 1:
        panels.append(("loss terms", terms, True))
    for title, name, smooth in (
        ("gradient norm", "gradient_norm", True), ("learning rate", "lr", False),
        ("images per second", "images_per_second", True),
    ):  # fmt: skip
        if name in known:
            panels.append((title, [name], smooth))
    measured = dict.fromkeys(name for log in logs for row in log.rows.evaluations for name in row)
    for column in ("ap_box", "ap_mask", "top1"):
        if f"{EVALUATION}{column}" in measured:
            panels.append((f"{COLUMNS[column].heading} of the validation split (%)", [f"{EVALUATION}{column}"], False))
    return panels


def _collect(rows: LogRows, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The iterations at which a column of the log has a value, and the values."""
    chosen: Sequence[Row] = rows.evaluations if name.startswith(EVALUATION) else rows.training
    pairs = [(row["step"], row[name]) for row in chosen if name in row]
    steps, values = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(steps, float), np.array(values, float)


def _choose_style(number: int) -> dict[str, Any]:
    colours = len(_COLOURS)
    return {"color": _COLOURS[number % colours], "linestyle": _DASHES[number // colours % len(_DASHES)]}


def _draw_group(axis: Axes, curves: list[tuple[np.ndarray, np.ndarray]], style: dict[str, Any], smooth: bool) -> None:
    """Draw the curve of each seed, and where there are several, their mean over the iterations that all have."""
    curves = [(steps, values) for steps, values in curves if len(steps)]
    if not curves:
        return
    several = len(curves) > 1
    marker = "o" if max(len(steps) for steps, _ in curves) <= 20 else ""
    for steps, values in curves:
        shown = _smooth(values) if smooth else values
        if smooth and not several:
            axis.plot(*_thin(steps, values), **style, linewidth=0.5, alpha=0.25)
        axis.plot(
            *_thin(steps, shown), **style, linewidth=0.7 if several else 1.3, alpha=0.45 if several else 1,
            marker=marker, markersize=2.5,
        )  # fmt: skip
    if several:
        common = sorted(set.intersection(*(set(steps) for steps, _ in curves)))
        if common:
            parts = [values[np.isin(steps, common)] for steps, values in curves]
            mean = np.mean(parts, axis=0)
            axis.plot(*_thin(np.array(common), _smooth(mean) if smooth else mean), **style, linewidth=1.6)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Means over the neighbours of each value; at the ends over those that there are."""
    reach, places = len(values) // (2 * _SMOOTH), np.arange(len(values))
    total = np.concatenate([[0.0], np.cumsum(values)])
    first, last = np.maximum(places - reach, 0), np.minimum(places + reach + 1, len(values))
    return (total[last] - total[first]) / (last - first)


def _thin(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every so many points, with the last one."""
    every = -(-len(steps) // _POINTS)
    chosen = np.unique(np.append(np.arange(0, len(steps), every), len(steps) - 1))
    return steps[chosen], values[chosen]

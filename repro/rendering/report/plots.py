"""What the report draws: points in the coordinates of a small SVG, with ticks and labels that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from repro.paper import COLUMNS
from repro.rendering.view import UNITS, TableView
from repro.verification.verdicts import CellVerdict, RowVerdict

WIDTH, HEIGHT = 400, 290
LEFT, RIGHT, TOP, BOTTOM = 60, 14, 14, 46
_CHARACTER, _LINE = 6.4, 13  #: about the size of a character of a label


@dataclass(frozen=True)
class Point:
    """A mark at (x, y) pixels. `whisker` is the half-height of its tolerance, `tail` where a line to it begins."""

    x: float
    y: float
    kind: str  #: "published" or a verdict
    title: str
    tail: tuple[float, float] | None = None
    whisker: float | None = None


@dataclass(frozen=True)
class Label:
    """A text at (x, y) pixels; `anchor` is what of it stands there, as SVG calls it."""

    x: float
    y: float
    anchor: str
    text: str


@dataclass(frozen=True)
class Trace:
    """Points that belong together, joined: "x,y x,y" in pixels."""

    kind: str  #: "published" or "ours"
    points: str


@dataclass(frozen=True)
class Scatter:
    """One plot; `zero` is the height of the line y = 0 where it is in sight, `lines` are the same as numbers."""

    title: str
    x_title: str
    y_title: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    points: tuple[Point, ...]
    labels: tuple[Label, ...] = ()
    zero: float | None = None
    header: tuple[str, ...] = ()
    lines: tuple[tuple[str, ...], ...] = ()
    traces: tuple[Trace, ...] = ()

    @property
    def has_ours(self) -> bool:
        return any(point.kind != "published" for point in self.points)


class Axis:
    """Numbers to pixels, with a margin around what is to be seen and ticks at round numbers."""

    def __init__(self, values: Sequence[float], start: float, end: float):
        from matplotlib.ticker import MaxNLocator

        low, high = min(values), max(values)
        margin = 0.08 * (high - low) or max(abs(high) * 0.05, 0.05)
        self.low, self.high, self.start, self.end = low - margin, high + margin, start, end
        ticks = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        inside = [float(tick) for tick in ticks if self.low <= tick <= self.high]
        step = min((b - a for a, b in pairwise(inside)), default=1.0)
        decimals = next((d for d in range(6) if abs(round(step, d) - step) < 1e-9 * step), 6)
        self.ticks = tuple((self(tick), f"{tick + 0.0:.{decimals}f}") for tick in inside)

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def plot_costs(built: TableView) -> tuple[Scatter, ...]:
    """Plot the table's headline accuracy against FLOPs and against parameters; none where it prints neither."""
    scatters = []
    for cost in ("flops", "params"):
        rows: dict[str, RowVerdict] = {}
        for row in built.verification.rows:
            own = {cell.cell.column for cell in row.cells}
            # Groups share rows, and what another data set scores stands elsewhere.
            if cost in own and own & {"ap_box", "top1"} and row.group.dataset != "coco-test-dev2017":
                rows.setdefault(row.row.experiment, row)
        if rows:
            scatters.append(_plot_cost(built, list(rows.values()), cost))
    return tuple(scatters)


def _plot_cost(built: TableView, rows: list[RowVerdict], cost: str) -> Scatter:
    accuracy = next(c for c in ("ap_box", "top1") if rows[0].row.cell(c))
    pairs = []  # (cost, accuracy, row)
    for row in rows:
        verdicts = {verdict.cell.column: verdict for verdict in row.cells}
        pairs.append((verdicts[cost], verdicts[accuracy], row))
    ours = [(x.ours, y.ours) for x, y, _ in pairs if x.ours is not None and y.ours is not None and _is_shown(y)]
    x_axis = Axis([x.cell.value for x, *_ in pairs] + [x for x, _ in ours], LEFT, WIDTH - RIGHT)
    y_axis = Axis([y.cell.value for _, y, _ in pairs] + [y for _, y in ours], HEIGHT - BOTTOM, TOP)
    published, measured, lines = [], [], []
    joined: dict[tuple[str, str, str], list[str]] = {}  # the points of each backbone, with blocks and without
    for x, y, row in pairs:
        place = x_axis(x.cell.value), y_axis(y.cell.value)
        name = _write_name(row)
        baseline = row.group.baseline(row.row) or row.row
        joined.setdefault((row.group.name, baseline.label, "published"), []).append(f"{place[0]},{place[1]}")
        published.append(Point(*place, "published", f"{name}: {y.cell.printed} at {x.cell.printed} published"))
        line = [name, x.cell.printed, y.cell.printed, "—"]
        if x.ours is not None and y.ours is not None and _is_shown(y):
            there = x_axis(x.ours), y_axis(y.ours)
            joined.setdefault((row.group.name, baseline.label, "ours"), []).append(f"{there[0]},{there[1]}")
            title = f"{name}: {y.ours:.{y.cell.decimals}f} at {x.ours:.{x.cell.decimals}f} ours, {y.verdict}"
            measured.append(Point(*there, y.verdict, title, tail=place))
            line[-1] = f"{y.ours:.{y.cell.decimals}f}, {y.verdict}"
        lines.append(tuple(line))
    # With one baseline for all, the line would only lead from row to row.
    several = len({(group, label) for group, label, _ in joined}) > len({group for group, *_ in joined})
    traces = tuple(Trace(kind, " ".join(places)) for (*_, kind), places in joined.items() if several)
    wanted = [(point, line[0]) for point, line in zip(published, lines, strict=True)]
    if traces:  # a name for each line is enough
        wanted = [
            (point, row.row.label.removesuffix(" baseline"))
            for point, (*_, row) in zip(published, pairs, strict=True) if row.row.is_baseline
        ]  # fmt: skip
    heading, unit = COLUMNS[cost].heading, "2³⁰ operations" if cost == "flops" else "millions"
    y_title = f"{COLUMNS[accuracy].heading} (%)"
    return Scatter(
        f"{COLUMNS[accuracy].heading} against {heading}, Table {built.number}",
        f"{heading} ({unit})", y_title, x_axis.ticks, y_axis.ticks, (*published, *measured),
        _place_labels(wanted, published + measured),
        header=("row", heading, COLUMNS[accuracy].heading, "ours"), lines=tuple(lines),
        traces=traces,
    )  # fmt: skip


def choose_tradeoff(plots: Sequence[Scatter]) -> Scatter | None:
    """Choose the plot that says most in one picture: one in which backbones are joined, before others."""
    return max(plots, key=lambda plot: (plot.has_ours, len(plot.traces)), default=None)


def plot_agreement(views: Sequence[TableView]) -> tuple[Scatter, ...]:
    """Plot ours minus published over published, a plot for every unit in which something was measured or counted.

    What is inconclusive has no place: its difference would be read as one from the paper.
    """
    cells = [cell for built in views for cell in built.verification.cells if _is_shown(cell)]
    scatters = []
    for unit, about in UNITS.items():
        own = [cell for cell in cells if cell.cell.unit == unit]
        if not own:
            continue
        differences = [cell.ours - cell.cell.value for cell in own if cell.ours is not None]
        reach = max([*map(abs, differences), *(cell.tolerance or 0 for cell in own)])
        x_axis = Axis([cell.cell.value for cell in own], LEFT, WIDTH - RIGHT)
        y_axis = Axis([-reach, reach], HEIGHT - BOTTOM, TOP)
        scale = abs(y_axis(1.0) - y_axis(0.0))
        points = tuple(
            Point(
                x_axis(cell.cell.value), y_axis(difference), cell.verdict, str(cell),
                whisker=None if cell.tolerance is None else round(cell.tolerance * scale, 1),
            )
            for cell, difference in zip(own, differences, strict=True)
        )  # fmt: skip
        shown = f" ({unit})" if unit else ""
        scatters.append(
            Scatter(about, f"published{shown}", f"ours − published{shown}", x_axis.ticks, y_axis.ticks, points,
                    zero=y_axis(0.0))
        )  # fmt: skip
    return tuple(scatters)


def _is_shown(cell: CellVerdict) -> bool:
    return cell.ours is not None and cell.verdict != "inconclusive"


def _write_name(row: RowVerdict) -> str:
    return f"({row.group.name}) {row.row.label}" if row.group.name else row.row.label


def _place_labels(wanted: Sequence[tuple[Point, str]], points: Sequence[Point]) -> tuple[Label, ...]:
    """Place labels where they cover neither a point nor each other; one that finds no such place is left out."""
    taken = [(p.x - 5, p.y - 5, p.x + 5, p.y + 5) for p in points]
    placed = []
    for point, text in wanted:
        width = _CHARACTER * len(text)
        for dx, dy, anchor in (
            (8, 4, "start"), (-8, 4, "end"), (0, -9, "middle"), (0, 17, "middle"), (7, -6, "start"), (-7, -6, "end"),
            (7, 14, "start"), (-7, 14, "end"),
        ):  # fmt: skip
            x, y = point.x + dx, point.y + dy
            left = x - {"start": 0, "middle": width / 2, "end": width}[anchor]
            box = (left, y - _LINE + 3, left + width, y + 3)
            inside = box[0] > LEFT and box[2] < WIDTH - 2 and box[1] > TOP and box[3] < HEIGHT - BOTTOM
            if inside and not any(_do_overlap(box, other) for other in taken):
                taken.append(box)
                placed.append(Label(round(x, 1), round(y, 1), anchor, text))
                break
    return tuple(placed)


def _do_overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

"""The page's curves of trainings: a picture for each profile and data set, of a few experiments each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import ReproError
from repro.experiments import get
from repro.files.places import is_there

if TYPE_CHECKING:
    from markupsafe import Markup

    from repro.rendering.curves import TrainingLog

#: Experiments in one picture: as many as have a colour of their own.
_MOST = 7


@dataclass(frozen=True)
class CurvesFigure:
    """A picture of several trainings, as SVG."""

    title: str
    svg: Markup


def draw_trainings(results: Path) -> tuple[CurvesFigure, ...]:
    """Draw the trainings that are kept in a directory of results; none where nothing was trained.

    Raises:
        ReproError: a log is damaged; it is named.
    """
    if not is_there(results / "runs"):
        return ()
    from markupsafe import Markup

    from repro.rendering.curves import draw_curves, find_logs, write_svg

    figures: list[CurvesFigure] = []
    for title, logs in _group(find_logs(results)):
        svg = write_svg(draw_curves(logs, columns=3), f"curves{len(figures)}", f"Curves of {title}")
        figures.append(CurvesFigure(title, Markup(svg)))
    return tuple(figures)


def _group(logs: list[TrainingLog]) -> Iterator[tuple[str, list[TrainingLog]]]:
    """Group by profile and data set, a few experiments at a time; without those that have logged nothing yet."""
    groups: dict[tuple[str, str], dict[str, list[TrainingLog]]] = {}
    for log in (log for log in logs if log.rows.training):
        groups.setdefault((log.profile, _find_dataset(log.experiment)), {}).setdefault(log.experiment, []).append(log)
    for (profile, _), experiments in groups.items():
        names = list(experiments)
        for start in range(0, len(names), _MOST):
            chosen = names[start : start + _MOST]
            yield f"{', '.join(chosen)} ({profile})", [log for name in chosen for log in experiments[name]]


def _find_dataset(name: str) -> str:
    """The data set of an experiment; empty of one of the user's own that is not loaded."""
    try:
        return get(name).dataset
    except ReproError:
        return ""

"""What a whole plan costs: hours of GPUs, bytes, time here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from repro.experiments import Experiment
from repro.planning.plan import Step
from repro.planning.pretrainings import list_missing
from repro.planning.rates import Estimate, Rule
from repro.planning.storage import estimate_storage
from repro.settings import Settings


def describe_totals(steps: Sequence[Step], settings: Settings) -> list[str]:
    """Describe what the steps that are not measured cost together, each sum with how many of them it is known of.

    Returns:
        lines; none where nothing is left to do, or no cost is known.
    """
    left = [step for step in steps if step.status != "measured"]
    trained = [step for step in left if step.source == "trained"]
    lines = []
    if hours := [step.cost for step in trained if step.cost.gpu_hours is not None]:
        least = "at least" if len(hours) < len(trained) or any(cost.at_least for cost in hours) else "about"
        total = sum(cost.gpu_hours or 0 for cost in hours)
        lines.append(f"{least} {total:,.0f} hours of a V100 by what the authors report: {_count(hours, trained)}")
    if timed := [step.cost.h200 for step in left if step.cost.h200]:
        lines.append(f"about {_describe_h200(timed)}")
    # Two experiments may be evaluated from one file.
    files = {step.weights.id: step.cost.download for step in left if step.weights}
    sizes = [size for size in files.values() if size is not None]
    if any(sizes) or len(sizes) < len(files):
        unknown = len(files) - len(sizes)
        known = [f"{sum(sizes) / 1e6:,.0f} MB"] if any(sizes) else []
        rest = [f"{unknown} of unknown size"] if unknown else []
        lines.append(f"downloads of weights: {', and '.join(known + rest)}")
    if trained and settings.profile == "full" and settings.iterations is None:
        lines.append(_describe_storage([step.experiment for step in trained]))
    if seconds := [step.cost.seconds for step in trained if step.cost.seconds is not None]:
        total = sum(seconds)
        if settings.profile == "mini":
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            line = f"about {_write_time(total)} of one core, {_write_time(total / cores)} on the {cores} here"
            lines.append(line + _describe_pretrainings(trained, settings))
        else:
            lines.append(f"about {_write_time(total)} by what trainings took here: {_count(seconds, trained)}")
    return [f"in all {line}" for line in lines]


def _describe_h200(estimates: Sequence[Estimate]) -> str:
    """Describe the hours of an H200, and how many of them come from which rule."""
    rules = Counter(estimate.rule for estimate in estimates if estimate.training)
    words: dict[Rule, str] = {
        "measured": "by their rates", "authors": "by the authors' iterations", "FLOPs": "by FLOPs", "alike": "as others"
    }  # fmt: skip
    each = [f"{rules[rule]} {said}" for rule, said in words.items() if rules[rule]]
    how = f" (trainings: {', '.join(each)})" if each else ""
    return f"{sum(estimate.hours for estimate in estimates):,.0f} hours of an H200{how}"


def _describe_storage(experiments: Sequence[Experiment]) -> str:
    storage = estimate_storage(experiments)
    return (
        f"{storage.weights / 1e9:.1f} GB of trained weights, {storage.logs / 1e9:.1f} GB of logs, and while one is "
        f"trained, at most {storage.states / 1e9:.1f} GB of states; predictions besides"
    )


def _describe_pretrainings(steps: Sequence[Step], settings: Settings) -> str:
    """Describe what mini experiments share and start from, where it has to be trained first; empty if nothing has."""
    missing = list_missing(steps, settings)
    if not missing:
        return ""
    number, time = len(missing), _write_time(sum(seconds for _, seconds in missing))
    return f"; and before that, once, {number} pre-training{'s'[: number != 1]} that experiments share, about {time}"


def _count(known: Sequence[object], all_: Sequence[object]) -> str:
    return f"{len(known)} of {len(all_)} trainings" if len(known) < len(all_) else f"all {len(all_)} trainings"


def _write_time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"

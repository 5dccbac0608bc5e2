"""In which ways a row was measured. Each has a verdict of its own; none is preferred to another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import TypeVar

from repro.paper import PublishedDataSet
from repro.records import Record
from repro.verification.agreement import was_evaluated_as_trained
from repro.verification.measurements import Measurement, Unused, describe_conditions
from repro.verification.verdicts import WORST_FIRST, CellVerdict, Verdict

Name = TypeVar("Name", bound=Hashable)

_BESIDE = "the same way has a measurement of all of them"


def name_way(record: Record) -> str:
    """Name the way in which a record was measured: `authors' weights, torchvision`, `trained here, detectron2`."""
    checkpoint = record.weights.checkpoint
    if checkpoint is None:
        how = "trained here"
    elif checkpoint.match == "near":
        how = "near weights"
    else:
        how = "authors' weights" if was_evaluated_as_trained(record) else "authors' weights, converted"
    return f"{'evaluation server: ' if record.submitted else ''}{how}, {record.engine}"


def list_ways(
    measurements: Sequence[Measurement], dataset: PublishedDataSet
) -> tuple[list[tuple[str, Measurement]], list[Unused]]:
    """List the measurements of a row with the names of their ways, which tell them apart, and what is left out.

    That is what is not of all that the protocol asks for, where the same way has a measurement that is.
    """
    whole = {name_way(m.first) for m in measurements if not m.describe_shortfall(dataset)}
    named = [(name_way(m.first), m) for m in measurements]
    kept = [(way, m) for way, m in named if way not in whole or not m.describe_shortfall(dataset)]
    times = Counter(way for way, _ in kept)
    left_out = [
        Unused(m.experiment, m.first.dataset.name, record.filename, f"{shortfall}; {_BESIDE}", stale=False)
        for way, m in named
        if way in whole and (shortfall := m.describe_shortfall(dataset))
        for record in m.records
    ]
    return [(f"{way}, {m.first.key[:8]}" if times[way] > 1 else way, m) for way, m in kept], left_out


def group_alike(measured: Mapping[Name, Sequence[Measurement]]) -> list[tuple[str, dict[Name, Measurement]]]:
    """Group measurements of several rows by way: all of a way share everything but the network and where it began.

    What is on different data sets shares nothing: each way on one is combined with each on another. Where a row has
    several measurements in one way, each of them is in a group.

    Args:
        measured: by row, or by what else they are of.

    Returns:
        (name of the way, the measurement of each row that has one in it).
    """
    by_dataset: dict[str, dict[str, dict[Name, list[Measurement]]]] = {}
    for name, measurements in measured.items():
        for one in measurements:
            ways = by_dataset.setdefault(one.first.dataset.name, {})
            ways.setdefault(describe_conditions(one.first, initial=False), {}).setdefault(name, []).append(one)
    choices = [
        [
            {name: several[min(number, len(several) - 1)] for name, several in way.items()}
            for way in ways.values()
            for number in range(max(map(len, way.values())))
        ]
        for ways in by_dataset.values()
    ]
    merged = [dict(item for group in groups for item in group.items()) for groups in product(*choices) if groups]
    names = [" and ".join(dict.fromkeys(name_way(m.first) for m in group.values())) for group in merged]
    keys = [[m.first.key[:8] for m in group.values()] for group in merged]
    found = []
    for way, own, group in zip(names, keys, merged, strict=True):
        alike = [other for other, of in zip(keys, names, strict=True) if of == way]
        shared = set.intersection(*map(set, alike))
        tells = next((key for key in own if key not in shared), "")
        found.append((f"{way}, {tells}" if len(alike) > 1 and tells else way, group))
    return found


def combine(verdicts: Sequence[CellVerdict]) -> CellVerdict:
    """Combine the verdicts of a cell in several ways: the worst of those that measured it.

    One way that is within tolerance and one that is off are a conflict. The numbers are those of the first that has the
    verdict; `ways` has all of them.
    """
    if len(verdicts) == 1:
        return verdicts[0]
    found = {verdict.verdict for verdict in verdicts}
    verdict: Verdict = next((one for one in WORST_FIRST if one in found), "not run")
    if verdict == "off" and found & {"compatible", "indistinct"}:
        verdict = "conflict"
    shown = next((one for one in verdicts if one.verdict == verdict), verdicts[0])
    reason = shown.reason
    if reason and verdict != "conflict":
        reason = f"{shown.way}: {reason}"
    if verdict == "conflict":
        reason = "; ".join(f"{one.way}: {one.verdict}, {one.shown}" for one in verdicts if one.ours is not None)
    return replace(
        shown,
        verdict=verdict,
        reason=reason,
        loosened=any(one.loosened for one in verdicts),
        records=tuple(name for one in verdicts for name in one.records),
        ways=tuple(verdicts),
    )

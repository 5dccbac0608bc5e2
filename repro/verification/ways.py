"""In which ways a row was measured. Each has a verdict of its own; none is preferred to another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from repro.paper import PublishedDataSet
from repro.records import Record
from repro.verification.agreement import was_evaluated_as_trained
from repro.verification.measurements import Measurement, Unused
from repro.verification.verdicts import WORST_FIRST, CellVerdict, Verdict

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

"""Whether records repeat others, in words: how many have the same results, and what the others differ by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from repro.records import Record
from repro.verification.differences import Cause, FieldChange, RecordComparison, StoreComparison

#: What is the same in records that are called equal.
RESULTS = "weights, predictions and metrics"


def describe_causes(unlike: Iterable[RecordComparison], a: str, b: str) -> list[str]:
    """Write a line for each set of causes that results differ by, with how many records it is of.

    Args:
        a: says where the first records are, such as "here" or "in a"; `b` likewise.
    """
    reasons = Counter(_explain(comparison.causes, a, b) for comparison in unlike)
    return [f"{number}: {reason}" for reason, number in reasons.most_common()]


def _explain(causes: Sequence[Cause], a: str, b: str) -> str:
    decisive = [cause.name for cause in causes if cause.decisive]
    if decisive:
        return f"another measurement: what differs is {_join(decisive)}"
    if not causes:
        return "nothing that is recorded differs: the training is not deterministic, or something is not recorded"
    return f"what differs is {_join([_describe(cause, a, b) for cause in causes])}"


def _describe(cause: Cause, a: str, b: str) -> str:
    """Name a cause, with the values of what people can read: no hashes."""
    shown = [change for change in cause.changes if change.field in _LEGIBLE]
    if not shown:
        return cause.name
    one = len(shown) == 1 and cause.name in _SAYS_WHAT
    values = []
    for change in shown:
        name = "" if one else f"{change.field.rpartition('.')[2]} "
        values.append(f"{name}{_write(change, change.a)} {a}, {_write(change, change.b)} {b}")
    return f"{cause.name} ({'; '.join(values)})"


_LEGIBLE = {
    f"environment.{name}"
    for name in (
        "cpu", "instructions", "limited_to", "device", "platform", "python", "torch", "torchvision", "detectron2",
        "lightning-fabric", "faster-coco-eval", "pillow", "numpy",
    )
}  # fmt: skip
#: Causes of one field, whose name says what the value is.
_SAYS_WHAT = ("the CPU", "the device", "the platform", "the CPU's instructions")


def _write(change: FieldChange, value: object) -> str:
    if value is not None:
        return str(value)
    return {"environment.limited_to": "no limit", "environment.detectron2": "none"}.get(change.field, "not recorded")


def describe_repetition(comparison: StoreComparison, ours: Iterable[Record], theirs: Iterable[Record]) -> list[str]:
    """Say how many of our records equal the committed reference bit for bit, on which CPUs, and why the others do not.

    Args:
        ours: the records that were compared, for their CPUs; `theirs` likewise.
    """
    total = comparison.alike + len(comparison.unlike)
    if not total:
        return ["none of these records has a counterpart there"]
    what = f"{total} record{'' if total == 1 else 's'}"
    lines = [f"{comparison.alike} of {what} equal the reference bit for bit ({RESULTS})"]
    lines += [f"  not equal, {line}" for line in describe_causes(comparison.unlike, "here", "in the reference")]
    if farthest := _describe_farthest(comparison.unlike):
        lines.append(f"  {farthest}")
    if not comparison.unlike:
        lines.append(f"  computed on {_list_processors(ours)}; the reference on {_list_processors(theirs)}")
    if comparison.only_a:
        more = len(comparison.only_a)
        lines.append(f"  {more} more {'has' if more == 1 else 'have'} no counterpart in the reference")
    return lines


def _describe_farthest(unlike: Iterable[RecordComparison]) -> str:
    """Say where the first metric of those records moved farthest; empty where none moved."""
    moved = [(comparison.deltas[0], comparison.a) for comparison in unlike if comparison.deltas]
    far, file = max(moved, key=lambda pair: abs(pair[0].delta), default=(None, ""))
    if far is None or not far.delta:
        return ""
    return f"farthest apart: {far.metric} of {file}, {far.a:.2f} {far.unit} here and {far.b:.2f} in the reference"


def _list_processors(records: Iterable[Record]) -> str:
    described = dict.fromkeys(_describe_processor(record) for record in records)
    return " and ".join(described)


def _describe_processor(record: Record) -> str:
    cpu = record.environment.get("cpu")
    if not cpu:
        return "a CPU that is not recorded"
    limit = record.environment.get("limited_to")
    return f"{cpu}, limited to {limit}" if limit else f"{cpu} with {record.environment.get('instructions')}"


def _join(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

"""Names that wrappers of networks put before every key of a state dict, or before a second set of weights in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

_ORIGINS = {
    "module.": "DataParallel and DistributedDataParallel put it there; save the state dict of their `module`",
    "_orig_mod.": "torch.compile puts it there; save the state dict of the network that was compiled",
    "model.": "a class around the network puts it there; save the state dict of the network alone",
    "backbone.": "the network is the backbone of a larger one; save the state dict of the backbone alone",
    "ema_": "they are a moving average of the weights; save them under the weights' own names",
}
_MOST_PARTS = 3  #: of a name: a forged one has a million, and wrappers in each other are few


def find_second_set(shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, str] | None:
    """Find two sets of weights in one state dict, such as a moving average beside the weights themselves.

    There are two if more than half of the tensors have a twin of their shape: one whose name is the same behind a
    prefix (`conv1.weight` and `ema.conv1.weight`; in mmcv's files `ema_conv1_weight`), or the same but for its first
    part (`module.conv1.weight` and `ema.conv1.weight`).

    Args:
        shapes: of the tensors, by name.

    Returns:
        The names of a tensor and of its twin; None where there is one set.
    """
    names = {key.replace(".", "_"): key for key in shapes}
    twins: dict[str, list[tuple[str, str]]] = {}  #: by what stands before the second one's name
    groups: dict[str, dict[str, str]] = {}
    for key, shape in shapes.items():
        parts = key.split(".", _MOST_PARTS)
        for number in range(1, len(parts)):
            prefix, rest = ".".join(parts[:number]), ".".join(parts[number:])
            if shapes.get(rest) == shape:
                twins.setdefault(prefix, []).append((rest, key))
        prefix, _, rest = key.partition("_")
        if (name := names.get(rest, rest)) != rest and shapes[name] == shape:
            twins.setdefault(prefix, []).append((name, key))
        if len(parts) > 1:
            groups.setdefault(parts[0], {})[key[len(parts[0]) :]] = key
    largest = sorted(groups.values(), key=len, reverse=True)[:2]
    if len(largest) == 2:  # sorted is stable: the group that the file has first comes first
        one, other = largest
        shared = [(one[rest], other[rest]) for rest in one.keys() & other.keys()]
        twins["of another group"] = sorted(pair for pair in shared if shapes[pair[0]] == shapes[pair[1]])
    most = max(twins.values(), key=len, default=[])
    if 4 * len(most) <= len(shapes):
        return None
    return next((pair for pair in most if shapes[pair[0]]), most[0])  # a counter tells a reader less


def describe_prefix(keys: Collection[str]) -> str:
    """What stands before the `keys` of a state dict and hides what they are, in a sentence; empty if nothing does."""
    for prefix, origin in _ORIGINS.items():
        count = sum(key.startswith(prefix) for key in keys)
        if 2 * count > len(keys) or (count and prefix == "ema_"):
            return (
                f" {count} of its {len(keys)} keys begin with {prefix!r}: {origin}, or take {prefix!r} from the keys."
            )
    return ""

"""Names that wrappers of networks put before every key of a state dict."""

from __future__ import annotations

from collections.abc import Collection

_ORIGINS = {
    "module.": "DataParallel and DistributedDataParallel put it there; save the state dict of their `module`",
    "_orig_mod.": "torch.compile puts it there; save the state dict of the network that was compiled",
    "model.": "a class around the network puts it there; save the state dict of the network alone",
    "backbone.": "the network is the backbone of a larger one; save the state dict of the backbone alone",
    "ema_": "they are a moving average of the weights; save them under the weights' own names",
}


def describe_prefix(keys: Collection[str]) -> str:
    """What stands before the `keys` of a state dict and hides what they are, in a sentence; empty if nothing does."""
    for prefix, origin in _ORIGINS.items():
        count = sum(key.startswith(prefix) for key in keys)
        if 2 * count > len(keys) or (count and prefix == "ema_"):
            return (
                f" {count} of its {len(keys)} keys begin with {prefix!r}: {origin}, or take {prefix!r} from the keys."
            )
    return ""

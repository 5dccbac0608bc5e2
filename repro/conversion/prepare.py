"""From a choice of weights to a network that holds them: fetched, checked, read, converted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from repro import conversion
from repro.checkpoints import CONVERTER, fetching, weight_files
from repro.checkpoints.choice import Choice
from repro.checkpoints.download import Fetched
from repro.experiments import Experiment
from repro.files.regular_files import hash_file
from repro.records import Checkpoint, Weights


@dataclass(frozen=True)
class Prepared:
    """A network in evaluation mode, and what a record says of its weights."""

    model: nn.Module
    weights: Weights
    checkpoint: Checkpoint


def prepare(
    experiment: Experiment,
    choice: Choice,
    key: str,
    progress: Callable[[str, int, int], None],
    engine: str = "torchvision",
) -> Prepared:
    """Build the network of `experiment` with the weights of `choice`.

    Args:
        key: cache key of the evaluation that needs the network.
        engine: what assembles a detector.
        progress: called with the stage, the bytes fetched and the size of the file, where that is known.

    Raises:
        ReproError: the file cannot be fetched, is not what its publisher says, holds code, or is of another network.
    """
    fetched = fetch_chosen(choice, progress)
    contents = weight_files.read(fetched.path, choice.digest, choice.part)
    format = choice.format or conversion.recognise(contents.tensors)
    converted = conversion.convert(contents.tensors, format, choice.network(experiment))
    checkpoint = Checkpoint(
        key=key,
        id=choice.id,
        match=choice.match,
        format=converted.format,
        url=fetched.url,
        sha256=contents.sha256,
        verified=fetched.verified,
        size=contents.size,
        conventions=converted.conventions.name,
        missing=list(converted.missing),
        unexpected=list(converted.unexpected),
        reshaped=list(converted.reshaped),
        reported=dict(choice.reported),
    )
    origin = f"{choice.id}, {choice.entry.source}" if choice.entry else f"file {fetched.path.name}"
    if choice.part is not None:
        origin += f", its {choice.part}"
    weights = Weights(sha256=contents.sha256, origin=origin, converter=CONVERTER, checkpoint=checkpoint)
    return Prepared(conversion.build(converted, engine), weights, checkpoint)


def fetch_chosen(choice: Choice, progress: Callable[[str, int, int], None]) -> Fetched:
    """The chosen file: the user's (checked when it was chosen), or the entry's, from the cache or its publisher.

    Raises:
        ReproError: it cannot be fetched or read, or its hash is not the published one.
    """
    if choice.file is not None:
        verified = choice.entry is not None and choice.entry.digest is not None
        digests = hash_file(choice.file)
        return Fetched(choice.file, digests.sha256, digests.size, None, verified)
    assert choice.entry is not None  # a choice is an entry, a file, or both
    return fetching.fetch(choice.entry, lambda done, total: progress("download", done, total or max(done, 1)))

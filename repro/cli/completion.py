"""What a shell offers after TAB. Nothing here imports torch: it runs at every press of the key."""

from __future__ import annotations

from collections.abc import Callable


def complete_experiments(incomplete: str) -> list[str]:
    """The experiments whose names begin so; none for the name of a file, which the shell completes itself."""
    from repro.experiments import EXPERIMENTS

    return [name for name in EXPERIMENTS if name.startswith(incomplete)]


def complete_weights(incomplete: str) -> list[str]:
    """The ids of public weights that begin so."""
    from repro.checkpoints import registry
    from repro.errors import ReproError

    try:
        ids = [entry.id for entry in registry.load().entries]
    except ReproError:  # the verb itself says what is wrong with the registry
        return []
    return [id_ for id_ in ids if id_.startswith(incomplete)]


def complete_tables(incomplete: str) -> list[str]:
    """The numbers of the paper's tables."""
    return [number for number in "12345" if number.startswith(incomplete)]


def complete_words(*words: str) -> Callable[[str], list[str]]:
    """Make a function that completes one of `words`."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete

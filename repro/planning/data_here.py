"""How much of a data set is on disk, beside how much of it the paper's protocol takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from repro.data.sources import SOURCES, Split, count_items, find_root


@dataclass(frozen=True)
class DataHere:
    """The items of a data set that are on disk."""

    dataset: str
    root: Path
    training: int
    validation: int

    @property
    def whole(self) -> bool:
        """Whether there are as many as an epoch and an evaluation take; of Kinetics no copy has all."""
        source = SOURCES[self.dataset]
        return self.training >= source.training_items and self.validation >= source.validation_items

    def __str__(self) -> str:
        source = SOURCES[self.dataset]
        if self.whole:
            verdict = "as many as there should be (`repro data verify` looks at each)"
        elif not source.whole_copies:
            verdict = f"no copy has all {source.items}; what is missing is recorded"
        else:
            verdict = "what is measured with so few cannot be a reproduction"
        return (
            f"data in {self.root}: {min(self.training, source.training_items):,} of {source.training_items:,} "
            f"{source.items} to train on, {min(self.validation, source.validation_items):,} of "
            f"{source.validation_items:,} to evaluate: {verdict}"
        )


def count_here(dataset: str, data_root: Path) -> DataHere:
    """Count the items of both splits that are on disk.

    Raises:
        ReproError: there are no annotations, or no directory.
    """
    root = find_root(data_root, dataset)
    splits: tuple[Split, Split] = ("train", "val")
    training, validation = (count_items(dataset, root, split) for split in splits)
    return DataHere(dataset, root, training, validation)

"""What measuring writes and verification reads: records, the store that keeps them, the environment of a measurement.

The names below are the package's vocabulary: import them from here.
"""

from repro.records.declared_seeds import DeclaredSeeds, TrainedAlike
from repro.records.record import (
    Checkpoint,
    Complexity,
    Cost,
    Count,
    DataSet,
    Metric,
    OwnExperiment,
    OwnFile,
    OwnSource,
    Record,
    Segment,
    Submitted,
    Training,
    Weights,
    cache_key,
)
from repro.records.store import ForeignFile, Store, StoreContents, open_results, read

__all__ = [
    "Checkpoint",
    "Complexity",
    "Cost",
    "Count",
    "DataSet",
    "DeclaredSeeds",
    "ForeignFile",
    "Metric",
    "OwnExperiment",
    "OwnFile",
    "OwnSource",
    "Record",
    "Segment",
    "Store",
    "StoreContents",
    "Submitted",
    "TrainedAlike",
    "Training",
    "Weights",
    "cache_key",
    "open_results",
    "read",
]

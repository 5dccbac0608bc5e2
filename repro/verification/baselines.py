"""Which printed row tells what a row would give if its block had no effect."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from repro import paper
from repro.experiments import get
from repro.experiments.specification import Classifier, Detector
from repro.paper import Group, Row


def find_baseline(group: Group, row: Row) -> Row | None:
    """Find the printed row of the same network without a block; None for such a row itself.

    It is the baseline of the row's group. Table 1 prints none: there it is that of another table, on the same data set.
    """
    return None if row.is_baseline else group.baseline(row) or _find_elsewhere(row.experiment, group.dataset)


@cache
def _find_elsewhere(experiment: str, dataset: str) -> Row | None:
    bare = _take_block_away(get(experiment).network)
    for group in (group for table in paper.load_all() for group in table.groups if group.dataset == dataset):
        for row in (row for row in group.rows if row.is_baseline):
            if get(row.experiment).network == bare:
                return row
    return None


def _take_block_away(network: Detector | Classifier) -> Detector | Classifier:
    return replace(network, backbone=replace(network.backbone, context=None))

"""What the paper prints: five tables, 72 rows, 475 cells, as typed data; how a cell is addressed; what counts as
agreement.

The names below are the package's vocabulary: import them from here.
"""

from repro.paper.published import (
    CELLS,
    COLUMNS,
    DATASETS,
    STATISTICS,
    Cell,
    Column,
    Group,
    PublishedDataSet,
    Row,
    Table,
    load,
    load_all,
)

__all__ = [
    "CELLS",
    "COLUMNS",
    "DATASETS",
    "STATISTICS",
    "Cell",
    "Column",
    "Group",
    "PublishedDataSet",
    "Row",
    "Table",
    "load",
    "load_all",
]

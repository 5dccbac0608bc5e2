"""Names records that a verb left out because they are not what they say, or foreign."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from repro.cli.streams import print_line

if TYPE_CHECKING:
    from repro.paper import Table
    from repro.verification.integrity import Admitted


def print_left_out(admitted: Admitted, tables: Sequence[Table]) -> None:
    """Print on standard error what no number comes from: records of the experiments of `tables` with which something
    is wrong, and foreign files."""
    experiments = {name for table in tables for name in table.experiments}
    for problem in admitted.problems:
        if problem.record.experiment in experiments:
            print_line(f"left out, wrong: {problem}", file=sys.stderr)
    for problem in admitted.own_problems:
        print_line(f"left out, wrong: {problem}", file=sys.stderr)
    for foreign in admitted.foreign:
        print_line(f"left out, foreign: {foreign}", file=sys.stderr)

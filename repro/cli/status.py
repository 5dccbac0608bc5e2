"""`repro status`: coverage at a glance."""

from __future__ import annotations

from repro.cli import options
from repro.cli.streams import print_line


def command(results: options.Results = options.RESULTS, json: options.Json = False) -> None:
    """Say how much of each table is verified, what was measured for each task, and what to do next.

    Example: repro status --results results
    """
    from repro.records import open_results
    from repro.rendering.status import build_status
    from repro.verification.verdicts import VERDICTS

    status = build_status(open_results(results, may_be_absent=results == options.RESULTS))
    if json:
        import json as json_

        print(json_.dumps(status.as_dict(), indent=1, ensure_ascii=False))
        return
    print("cells     " + "".join(f"{verdict:>14}" for verdict in VERDICTS) + "        of")
    for table in status.coverage:
        numbers = "".join(f"{table.verdicts.get(verdict, 0):>14}" for verdict in VERDICTS)
        print(f"Table {table.table}   {numbers}{table.cells:>10}")
    print()
    for task in status.holdings:
        others = ((task.stale, "stale"), (task.unused, "replaced"), (task.readings, "of other readings"))
        extra = [f"{number} {word}" for number, word in others if number]
        print(
            f"{task.task}: of {task.experiments} experiments {task.measured} measured at full size by {task.full} "
            f"records, {task.mini_measured} in the mini profile by {task.mini}" + "".join(f", {text}" for text in extra)
        )
    for text in status.wrong:
        print_line(f"wrong: {text}")
    for text in status.foreign:
        print_line(f"foreign: {text}")
    if status.next:
        print("\nnext")
    for step in status.next:
        print(f"  {step.what}:\n    {step.command}")

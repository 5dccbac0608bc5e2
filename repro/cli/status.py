"""`repro status`: coverage at a glance."""

from __future__ import annotations

from repro.cli import options


def command(results: options.Results = options.RESULTS, json: options.Json = False) -> None:
    """Say how much of each table is verified, what was measured for each task, and what would come next.

    Example: repro status --results results
    """
    from repro.records import Store
    from repro.rendering.status import status
    from repro.rendering.summary import VERDICTS

    found = status(Store(results / "records"))
    if json:
        import json as json_

        print(json_.dumps(found.as_dict(), indent=1, ensure_ascii=False))
        return
    print("cells     " + "".join(f"{verdict:>14}" for verdict in VERDICTS) + "        of")
    for one in found.coverage:
        numbers = "".join(f"{one.verdicts.get(verdict, 0):>14}" for verdict in VERDICTS)
        print(f"Table {one.table}   {numbers}{one.cells:>10}")
    print()
    for one in found.holdings:
        extra = [f"{number} {word}" for number, word in ((one.stale, "stale"), (one.unused, "replaced")) if number]
        print(
            f"{one.task}: of {one.experiments} experiments {one.measured} measured at full size by {one.full} records, "
            f"{one.mini_measured} in the mini profile by {one.mini}" + "".join(f", {text}" for text in extra)
        )
    for text in found.wrong:
        print(f"wrong: {text}")
    if found.next:
        print("\nnext")
    for step in found.next:
        print(f"  {step.what}:\n    {step.command}")

"""`repro claims`: what the paper's text claims, held against its own tables and our measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import options
from repro.cli.findings import print_left_out
from repro.cli.terminal_table import align_columns

if TYPE_CHECKING:
    from repro.verification.claims.audit import Audited


def command(
    table: options.AnyTable = None,
    claim: Annotated[
        str | None, typer.Option("--claim", metavar="ID", help="Only this claim: an id from the first column.")
    ] = None,
    results: options.Results = options.RESULTS,
    json: options.Json = False,
) -> None:
    """Check every quantitative claim of the paper's text against its own tables and, where there are records, ours.

    A claim holds under every rounding of the printed cells, at their midpoints, within their rounding, or does not
    follow from them. Ours agree, disagree, or are too uncertain to decide, in each way of measuring; ways
    that contradict each other are in conflict. Exits with 0 whatever is found: a claim that does not follow is a
    finding about the paper, not a failure.

    Examples:

      repro claims --table 2

      repro claims --claim intro-cost
    """
    from repro import paper
    from repro.errors import unknown
    from repro.records import open_results
    from repro.verification.claims import audit
    from repro.verification.integrity import admit

    store = open_results(results, may_be_absent=results == options.RESULTS)
    every = audit.audit(audit.load(), store)
    print_left_out(admit(store), paper.load_all() if table is None else (paper.load(table),))
    if claim is not None and claim not in (ids := [a.claim.id for a in every]):
        raise unknown("claim", claim, ids)
    every = tuple(a for a in every if claim in (None, a.claim.id))
    chosen = [a for a in every if table is None or any(cell.table == table for cell in a.claim.cells)]
    if json:
        import json as json_

        print(json_.dumps([audited.as_dict() for audited in chosen], indent=1, ensure_ascii=False, allow_nan=False))
        return
    _print(chosen)


def _print(chosen: list[Audited]) -> None:
    from collections import Counter

    from repro.paper import COLUMNS
    from repro.verification.claims.audit import CLAIM_VERDICTS, OURS

    head = ("claim", "section", "from the cells", "from ours", "arithmetic of the cells", "what it says")
    lines = [
        (a.claim.id, a.claim.section, a.published.shown, a.ours_verdict, a.published.arithmetic, a.claim.claim)
        for a in chosen
    ]
    for line in align_columns([head, *lines]):
        print(line)
    for title, claims in (
        ("Does not follow from the printed cells", [a for a in chosen if a.published.verdict == "does not follow"]),
        ("Our measurements disagree", [a for a in chosen if a.ours_verdict == "disagrees"]),
        ("Our measurements are in conflict with each other", [a for a in chosen if a.ours_verdict == "conflict"]),
    ):
        if claims:
            print(f"\n{title}:")
        for a in claims:
            print(f"  {a.claim.id} ({a.claim.section}), {a.claim.printed or a.claim.kind}: {a.claim.claim}")
            print(f"    cells: {a.published.arithmetic}")
            for one in a.ways:
                if len(a.ways) > 1 or one.agreement == "disagrees":
                    print(f"    ours, {one.way or 'counted'}: {one.agreement}: {one.arithmetic or one.reason}")
            if a.published.verdict == "does not follow" and a.claim.note:
                print(f"    {a.claim.note}")
    several = [(a, one) for a in chosen if len(a.ways) > 1 for one in a.ways]
    if several:
        print("\nMeasured in several ways, none of which is preferred:")
        heads = ("claim", "way", "from ours", "arithmetic of ours")
        ways = [(a.claim.id, one.way, str(one.agreement), one.arithmetic or one.reason) for a, one in several]
        for line in align_columns([heads, *ways]):
            print(f"  {line}")
    if single := dict.fromkeys(one.way for a in chosen if len(a.ways) == 1 for one in a.ways if one.way):
        print(f"\nMeasured in one way, where not said otherwise: {'; '.join(single)}")
    if unlike := [a for a in chosen if a.unlike]:
        print("\nTrue of the headline metrics, false of another:")
        for a in unlike:
            print(f"  {a.claim.id}: " + "; ".join(f"{metric}: {text}" for metric, text in a.unlike))
    missing: dict[str, dict[str, None]] = {}
    for a in chosen:
        for cell in a.missing:
            missing.setdefault(f"{cell.table}/{cell.group}/{cell.row}", {})[COLUMNS[cell.column].heading] = None
    if missing:
        print("\nNot measured, and needed by a claim:")
        for row, columns in sorted(missing.items()):
            print(f"  {row}: {', '.join(columns)}")
    tally = Counter(a.published.verdict for a in chosen)
    plural = {"holds": "hold", "holds within rounding": "hold within rounding", "does not follow": "do not follow"}
    words = [f"{tally[verdict]} {verdict if tally[verdict] == 1 else plural[verdict]}" for verdict in CLAIM_VERDICTS]
    words[0] += f" ({sum(a.published.certain for a in chosen)} of them under every rounding)"
    print(f"\n{len(chosen)} claim{'' if len(chosen) == 1 else 's'}: " + ", ".join(words))
    ours = Counter(a.ours_verdict for a in chosen)
    print("from ours: " + ", ".join(f"{ours[word]} {word}" for word in OURS))

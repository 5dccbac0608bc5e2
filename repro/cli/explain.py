"""`repro explain`: everything about one number of the paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import options
from repro.cli.streams import print_line
from repro.files.printable import join_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.rendering.explanation import Explanation


def command(
    cell: Annotated[
        str, typer.Argument(metavar="TABLE/GROUP/ROW[/COLUMN]", help="A cell, or a row for all of its cells.")
    ],
    results: options.Results = options.RESULTS,
    json: options.Json = False,
) -> None:
    """Explain a number of the paper: its network and recipe, what was measured, the verdict, and how to measure it.

    Examples:

      repro explain "2/a/+1 GC/ap_box"

      repro explain "5/+5 GC"
    """
    from repro.paper import addresses
    from repro.records import open_results
    from repro.rendering.explanation import explain

    explained = explain(addresses.find(cell), open_results(results, may_be_absent=results == options.RESULTS))
    if json:
        import json as json_

        print(
            json_.dumps(
                [explanation.as_dict() for explanation in explained], indent=1, ensure_ascii=False, allow_nan=False
            )
        )
        return
    for number, explanation in enumerate(explained):
        if number:
            print()
        for line in _write_lines(explanation):
            print_line(line)


def _write_lines(explanation: Explanation) -> Iterator[str]:

    cell, verdict = explanation.cell, explanation.verdict
    yield f"{cell}  ({cell.address})"
    yield f"  published    {cell.printed}" + (f" {cell.unit}" if cell.printed[-1].isdigit() and cell.unit else "")
    if verdict.ours is not None and not verdict.ways:
        yield f"  ours         {verdict.shown}  ({verdict.delta:+g} at the printed precision)"
    for one in verdict.ways:
        yield f"  way          {one.way}: {str(one).removeprefix(f'{one.cell}: ')}"
    yield f"  verdict      {verdict.verdict}" + (f": {verdict.reason}" if verdict.reason else "")
    if verdict.note:
        yield f"  note         {verdict.note}"
    if verdict.applied:
        width = "" if verdict.tolerance is None else f"±{verdict.tolerance:.{cell.decimals + 1}f} {cell.unit}, "
        yield f"  tolerance    {width}{verdict.applied}"
        yield f"               {verdict.rationale}"
    words = (explanation.experiment, explanation.group.title, explanation.group.dataset)
    yield f"  experiment   {', '.join(filter(None, words))}"
    yield f"  network      {explanation.network}"
    yield f"  recipe       {explanation.recipe}"
    if explanation.also:
        yield f"  also in      {', '.join(explanation.also)}"
    for number, deviation in enumerate(explanation.deviations, 1):
        yield f"  deviation {number}  {deviation}"
    for point in explanation.open_points:
        others = " or ".join(choice for choice in point.choices if choice != point.default)
        yield f"  open point   {point.point}: {point.default} here, not {others}"
    if explanation.ledger:
        yield f"  ledger       {explanation.ledger.reason}"
        for reading in explanation.ledger.ruled_out:
            yield f"               ruled out: {reading}"
    for weights in explanation.weights:
        reported = "" if weights.reported is None else f", published with them: {weights.reported:g}"
        differs = f", {weights.differs}" if weights.differs else ""
        obstacle = f", but: {weights.obstacle}" if weights.obstacle else ""
        yield f"  weights      {weights.id} ({weights.match}{differs}{reported}{obstacle})"
    for evidence in explanation.history:
        value = "no such metric" if evidence.value is None else f"{evidence.value:.{cell.decimals + 2}f}"
        error = (
            ""
            if evidence.standard_error is None
            else f" ± {evidence.standard_error:.{cell.decimals + 2}f} (standard error)"
        )
        use = f"{evidence.use} {evidence.reading}".rstrip()
        yield f"  {evidence.created[:10]}   {value}{error}  {use}: {evidence.source}, seed {evidence.seed}"
        yield f"               {evidence.items}; {evidence.file}"
        if evidence.wrong:
            yield f"               wrong: {evidence.wrong}"
    if verdict.source == "counted":
        yield f"  record       {', '.join(verdict.records)}"
    for command in explanation.commands:
        yield f"  to get it    {command}"
    if explanation.open_points:
        yield f"  evidence     repro readings --row {join_words([cell.address])}"

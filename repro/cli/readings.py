"""`repro readings`: the points of the protocol that nothing settles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli import completion, options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repro.paper.readings import ReadingPoint


def command(
    row: Annotated[
        str | None,
        typer.Option("--row", metavar="TABLE/GROUP/ROW[/COLUMN]", help="Only those that touch this row or cell."),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            autocompletion=completion.complete_words("text", "md"),
            help="text, or md: docs/readings.md, all points.",
        ),
    ] = "text",
    json: options.Json = False,
) -> None:
    """List the points that neither the paper nor its code settles, with their readings, the evidence and the default.

    `repro run E --reading POINT=CHOICE` measures another reading; it is recorded and shown apart.

    Examples:

      repro readings

      repro readings --row "2/a/+1 NL"
    """
    from repro.errors import ReproError
    from repro.paper import addresses, readings

    if options.one_of("--format", form, ("text", "md")) == "md":
        if row is not None or json:
            raise ReproError("--format md is the whole page: it goes with neither --row nor --json")
        from repro.rendering.readings_page import write_page

        print(write_page(), end="")
        return
    points = readings.load() if row is None else readings.list_touching(addresses.find(row))
    if json:
        import json as json_

        print(json_.dumps([point.model_dump() for point in points], indent=1, ensure_ascii=False))
        return
    if not points:
        print(f"No open point touches {row}.")
    for number, point in enumerate(points):
        if number:
            print()
        for line in _write_lines(point):
            print(line)


def _write_lines(point: ReadingPoint) -> Iterator[str]:
    yield f"{point.point}: {point.question}"
    for name, choice in point.choices.items():
        yield f"  {name}{' (default)' if name == point.default else ''}: {choice.means}"
        for evidence in choice.evidence:
            yield f"    {evidence.source}: {evidence.says}"
    yield f"  why {point.default}: {point.why}"
    yield f"  rows: {', '.join(point.rows)}; what can move: {', '.join(point.concerns)}"
    known = point.effect if isinstance(point.effect, str) else f"{point.effect.figure} ({point.effect.source})"
    yield f"  effect: {known}"

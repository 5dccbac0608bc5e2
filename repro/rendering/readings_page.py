"""The page of the open points, `docs/readings.md`, from `tables/readings.yaml`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from repro.paper.readings import ReadingPoint, load
from repro.rendering.escaping import escape_md

_HEAD = """\
# Readings

What neither the paper nor the code behind it settles is a **point**; each answer to it that can be run is a
**reading**. The default is what all numbers of the tables rest on. Another reading is run with

    repro run coco-r50-1nl --reading nl-scale=none
    repro reproduce --table 2 --reading proposals=1000

and several with `--reading` several times. It is another experiment: it has its own key and records. Its numbers stand
below the row of the default, with their own differences from the print and without a verdict, because who chooses a
reading after having seen the numbers chooses the answer. No cell, claim, ordering, effect or verdict rests on them.
Rows that a reading does not touch run as the default. A reading that only concerns the evaluation takes the network
that the default trained. The mini profile runs a reading where it changes the small network; `repro run` says what a
reading touches where it changes nothing.

Weights that others trained keep what their publisher did: they take no reading of the training, and as many proposals
as their publisher tested with.

This page is printed by `repro readings --format md` from [tables/readings.yaml](../tables/readings.yaml); the code of
every choice is in [reading_choices.py](../repro/experiments/reading_choices.py). [protocol.md](protocol.md) has the
points that are settled.
"""


def write_page() -> str:
    """Write the page in Markdown.

    Raises:
        ReproError: the file is malformed.
    """
    return _HEAD + "".join("\n" + "\n".join(_write_point(point)) + "\n" for point in load())


def _write_point(point: ReadingPoint) -> Iterator[str]:
    yield f"## {point.point}"
    yield ""
    yield _wrap(point.question)
    yield ""
    for name, choice in point.choices.items():
        default = ", the default" if name == point.default else ""
        yield _wrap(f"**`{name}`**{default}: {escape_md(choice.means)}", "- ", escaped=True)
        for evidence in choice.evidence:
            yield _wrap(f"{evidence.source}: {evidence.says}", "    - ")
    yield ""
    yield _wrap(f"Why `{point.default}`: {point.why}")
    yield ""
    known = point.effect if isinstance(point.effect, str) else f"{point.effect.figure} ({point.effect.source})"
    yield _wrap(f"Rows: {', '.join(point.rows)}. What can move: {', '.join(point.concerns)}. Effect: {known}.")


def _wrap(text: str, bullet: str = "", escaped: bool = False) -> str:
    """Break a paragraph or an item of a list into lines."""
    return textwrap.fill(
        text if escaped else escape_md(text), 120, initial_indent=bullet, subsequent_indent=" " * len(bullet),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip

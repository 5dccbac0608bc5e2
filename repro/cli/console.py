"""The console on standard error: rich's own styling and bars pass, control characters of what is shown do not."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from repro.cli.streams import GuardedStream
from repro.files.printable import escape_controls


class TextConsole(Console):
    """A console on standard error, as `GuardedStream` guards it but for what rich itself adds."""

    def __init__(self) -> None:
        stream: object = sys.stderr
        if isinstance(stream, GuardedStream):
            stream = GuardedStream(stream.stream, stream.name, required=False, escape=str)
        super().__init__(file=cast(TextIO, stream))

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render to segments; their texts are escaped, control segments are rich's own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(escape_controls(segment.text), segment.style)

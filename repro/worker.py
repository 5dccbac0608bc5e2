"""One of several processes that measure side by side: tasks on stdin, events on stdout, both as JSON lines.

A worker ends when its stdin closes or nobody reads its events any more: it does not outlive who started it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from repro.errors import ReproError
from repro.settings import Settings


def main() -> None:
    """Carry out tasks until stdin closes. An error of one task is reported and does not stop the next."""
    # Events get a copy of stdout; what libraries print, from C too, goes to stderr and cannot mix with them.
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from repro.measure import measure

    def emit(**event: object) -> None:
        try:
            print(json.dumps(event), file=events, flush=True)
        except BrokenPipeError:  # whoever listened is gone
            os._exit(1)

    for line in sys.stdin:
        task = json.loads(line)
        settings = settings_from_json(task["settings"])
        try:
            record = measure(
                task["experiment"],
                settings,
                command=task["command"],
                progress=lambda stage, done, total: emit(event="progress", stage=stage, done=done, total=total),
            )
        except ReproError as error:
            emit(event="failed", message=str(error))
        else:
            emit(event="measured", record=record.filename)


def settings_to_json(settings: Settings) -> dict:
    """`settings` as a worker's task line carries them."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in ((name, getattr(settings, name)) for name in Settings.__dataclass_fields__)
    }


def settings_from_json(values: dict) -> Settings:
    """The inverse of `settings_to_json`."""
    paths = {name: Path(values[name]) for name in ("results", "data_root") if values[name] is not None}
    return Settings(**{**values, **paths})


if __name__ == "__main__":
    main()

"""A process that measures for `repro reproduce`: tasks come as JSON, events go to stdout as JSON lines.

Without arguments it takes its tasks from stdin, one after the other. A task given as its argument is the only one, and
may need several processes, which this one then starts and waits for. A worker ends when its stdin closes or nobody
reads its events any more: it does not outlive who started it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TextIO

from repro.engine import launch
from repro.errors import ReproError
from repro.settings import Settings


def main() -> None:
    """Carry out the tasks. An error of one task is reported and does not stop the next."""
    if len(sys.argv) == 1:
        events = _events()
        for line in sys.stdin:
            _measure(json.loads(line), events)
        return
    task = json.loads(sys.argv[1])
    try:
        processes = launch.processes(settings_from_json(task["settings"]).devices)
        if processes.to_start:
            sys.exit(launch.launch(processes.count, ["-m", "repro.measuring.worker", sys.argv[1]]))
    except ReproError as error:
        _emit(sys.stdout, event="failed", message=str(error))
        sys.exit(2)
    if not _measure(task, _events()):
        sys.exit(2)


def _measure(task: dict, events: TextIO) -> bool:
    """Whether it could be measured, with the statistics of its attention if they are asked for.

    Of several processes, the first tells of the record and the progress, and looks at attention alone.
    """
    from repro.measuring.measure import measure

    settings = settings_from_json(task["settings"])
    first = launch.processes(settings.devices).rank == 0

    def progress(stage: str, done: int, total: int) -> None:
        _emit(events, event="progress", stage=stage, done=done, total=total)

    try:
        record = measure(
            task["experiment"],
            settings,
            command=task["command"],
            say=lambda text: print(text, file=sys.stderr, flush=True),
            progress=progress,
            keep_weights=task["attention"],
        )
        if task["attention"] and first:
            from repro.measuring.attention import measure_attention

            measure_attention(record, settings, command=task["command"], progress=progress)
    except ReproError as error:
        _emit(events, event="failed", message=str(error))
        return False
    if first:
        _emit(events, event="measured", record=record.filename)
    return True


def _events() -> TextIO:
    """Where events go: a copy of stdout. What libraries print, from C too, goes to stderr and cannot mix with them."""
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return events


def _emit(events: TextIO, **event: object) -> None:
    try:
        print(json.dumps(event), file=events, flush=True)
    except BrokenPipeError:  # whoever listened is gone
        os._exit(1)


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

"""A process that measures for `repro reproduce`: tasks come as JSON, events go to stdout as JSON lines.

A task is a work order (`planning.work_order`) and the command that the user gave. Without arguments the worker takes
its tasks from stdin, one after the other. A task given as its argument is the only one, and may need several processes,
which this one then starts and waits for. A worker ends when its stdin closes or nobody reads its events any more: it
does not outlive who started it.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import TextIO

from repro.engine import instructions, launch, pages
from repro.engine.interruption import ending_in_order
from repro.engine.launch import LostProcess
from repro.engine.log_rows import Iteration
from repro.errors import ReproError
from repro.files.locks import Busy, waiting
from repro.paper import COLUMNS
from repro.planning.full_size import refuse_to_train_for_months
from repro.planning.work_order import WorkOrder, from_json, to_json
from repro.records import Record
from repro.settings import Settings


def main() -> None:
    """Execute the tasks. An error of one task is reported and does not stop the next."""
    if len(sys.argv) == 1:
        events = _events()
        for line in sys.stdin:
            _execute(line, events)
        return
    task = sys.argv[1]
    try:
        order, *_ = _read(task)
        refuse_to_train_for_months(order)  # the machine that planned it may have had other devices, or none
        processes = launch.find_processes(order.settings.devices)
        if processes.to_start:
            sys.exit(launch.launch(processes.count, ["-m", "repro.measuring.worker", task]))
    except ReproError as error:
        _emit(sys.stdout, event="failed", message=str(error), busy=False, lost=isinstance(error, LostProcess))
        sys.exit(2)
    if not _execute(task, _events()):
        sys.exit(2)


def write_task(order: WorkOrder, command: str, prepare: bool = False) -> str:
    """A task as one line.

    Args:
        prepare: only provide what it begins with: data, and trainings that it shares with others.
    """
    return json.dumps({"order": to_json(order), "command": command, "prepare": prepare})


def describe_accuracy(record: Record) -> str:
    """The accuracies of a record that the tables begin with, in words."""
    values = {metric.name: f"{metric.value:.2f} {metric.unit}" for metric in record.metrics}
    return ", ".join(
        f"{COLUMNS[name].heading} {values[name]}" for name in ("ap_box", "ap_mask", "top1") if name in values
    )


def build_environment(settings: Settings) -> dict[str, str]:
    """What a process that executes tasks has in its environment, beside what it inherits."""
    threads = str(settings.threads)
    return {
        **instructions.pin(settings.profile), **pages.use_huge_pages(settings.profile),
        "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads,
    }  # fmt: skip


def _read(task: str) -> tuple[WorkOrder, str, bool]:
    try:
        content = json.loads(task)
        return from_json(content["order"]), content["command"], content["prepare"]
    except (ValueError, LookupError, TypeError) as error:
        raise ReproError(f"this is no task: {' '.join(str(error).split())[:300]}") from None


def _execute(task: str, events: TextIO) -> bool:
    """Whether it could be measured, with the statistics of its attention if they are asked for.

    Of several processes, the first tells of the record and the progress, and looks at attention alone.
    """
    from repro.measuring.measure import measure, prepare

    def progress(stage: str, done: int, total: int, at: Iteration | None = None) -> None:
        _emit(events, event="progress", stage=stage, done=done, total=total, at=asdict(at) if at else None)

    def say(text: str) -> None:
        _emit(events, event="said", text=text)

    try:
        order, command, only_prepare = _read(task)
        first = launch.find_processes(order.settings.devices).rank == 0
        if only_prepare:
            if first:
                prepare(order, progress=progress)
                _emit(events, event="measured", record=None)
            return True
        record = measure(order, command=command, say=say, progress=progress, keep_weights=order.attention)
        if order.attention and first:
            from repro.measuring.attention import measure_attention

            with waiting(order.settings.wait):
                measure_attention(record, order.settings, command=command, progress=progress)
    except ReproError as error:
        _emit(
            events,
            event="failed",
            message=str(error),
            busy=isinstance(error, Busy),
            lost=isinstance(error, LostProcess),
        )
        return False
    if first:
        _emit(events, event="measured", record=record.filename, result=describe_accuracy(record))
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


if __name__ == "__main__":
    with ending_in_order():
        main()
